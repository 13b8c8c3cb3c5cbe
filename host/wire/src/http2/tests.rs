//! What a connection may say, frame by frame, however its bytes are cut.

use proptest::{collection::vec, prelude::*};

use super::{trailers::GUARD, *};

const END_STREAM: u8 = frame::END_STREAM;
const END_HEADERS: u8 = frame::END_HEADERS;
const PADDED: u8 = frame::PADDED;
const PRIORITY: u8 = frame::PRIORITY;

fn write(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Head::new(kind, flags, stream, payload.len()).write(&mut out);
    [out.as_slice(), payload].concat()
}

fn settings() -> Vec<u8> {
    write(Kind::SETTINGS, 0, 0, b"")
}

fn headers(stream: u32, flags: u8) -> Vec<u8> {
    write(Kind::HEADERS, flags, stream, b"\x82\x86\x84")
}

fn data(stream: u32, flags: u8) -> Vec<u8> {
    write(Kind::DATA, flags, stream, b"data")
}

fn reset(stream: u32, code: u8) -> Vec<u8> {
    write(Kind::RST_STREAM, 0, stream, &[0, 0, 0, code])
}

/// What comes out of a connection that says this after its SETTINGS, in pieces of a size.
fn receive(connection: &mut Connection, frames: &[Vec<u8>], piece: usize) -> (Vec<u8>, Option<Refusal>) {
    let (mut held, mut out) = (Vec::new(), Vec::new());
    for bytes in [PREFACE, &settings(), &frames.concat()].concat().chunks(piece) {
        held.extend_from_slice(bytes);
        loop {
            let Step { passed, next } = connection.receive(&held);
            out.extend(held.drain(..passed));
            match next {
                Next::More => break,
                Next::Trailers(length) => guarded_trailers(&held.drain(..length).collect::<Vec<_>>(), &mut out),
                Next::Refused(refusal) => return (out, Some(refusal)),
            }
        }
    }
    (out, None)
}

/// The code that the last of these frames is refused with; none when it is not.
#[track_caller]
fn check(frames: &[Vec<u8>], expected: Option<Reason>) {
    let good = [PREFACE, &settings(), &frames[..frames.len() - usize::from(expected.is_some())].concat()].concat();
    for piece in [1, 2, 7, 10, usize::MAX] {
        let (out, refusal) = receive(&mut Connection::default(), frames, piece);
        assert_eq!(refusal.map(|refusal| refusal.reason), expected, "{refusal:?}");
        assert_eq!(out, good, "what is good passes as it is");
    }
}

#[test]
fn lawful_frames_pass() {
    let end = END_HEADERS | END_STREAM;
    check(&[headers(1, end)], None);
    check(&[headers(1, END_HEADERS), data(1, 0), data(1, END_STREAM), headers(3, end)], None);
    check(&[headers(1, END_STREAM), write(Kind::CONTINUATION, 0, 1, b""), write(Kind::CONTINUATION, 4, 1, b"")], None);
    check(&[headers(1, end), reset(1, 8), reset(1, 8)], None);
    check(&[write(Kind::HEADERS, end | PADDED | PRIORITY, 1, b"\x02\0\0\0\x03\x10\x82\x84\0\0")], None);
    check(&[write(Kind::PRIORITY, 0, 7, b"\0\0\0\x01\x10"), headers(5, end)], None);
    check(&[headers(1, end), write(Kind::PRIORITY, 0, 1, b"\x80\0\0\x03\x10")], None);
    check(&[headers(1, end), write(Kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])], None);
    check(
        &[write(Kind::PING, 0xff, 0, &[0; 8]), write(Kind::GOAWAY, 0, 0, &[0; 30]), write(Kind(0x77), 3, 9, b"x")],
        None,
    );
    check(&[write(Kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0x40, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]), settings()], None);
    check(&[headers(1, END_HEADERS), write(Kind::DATA, PADDED | END_STREAM, 1, b"\x03\0\0\0")], None);
}

#[test]
fn unlawful_frames_end_the_connection_with_the_code_that_the_rfc_names() {
    use Reason::{FlowControl, FrameSize, Protocol, StreamClosed};
    let end = END_HEADERS | END_STREAM;
    let refused = |frames: &[Vec<u8>], reason| check(frames, Some(reason));
    for idle in [data(1, 0), reset(1, 8), write(Kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), headers(2, end)] {
        refused(&[idle], Protocol);
    }
    for late in [data(1, 0), headers(1, end)] {
        refused(&[headers(1, end), late.clone()], StreamClosed);
        refused(&[headers(1, END_HEADERS), data(1, END_STREAM), late.clone()], StreamClosed);
        refused(&[headers(1, END_HEADERS), reset(1, 8), late], StreamClosed);
    }
    refused(&[headers(1, end), write(Kind::CONTINUATION, 4, 1, b"")], Protocol);
    refused(&[headers(1, END_STREAM), headers(3, end)], Protocol);
    refused(&[headers(1, END_STREAM), write(Kind(0x77), 0, 0, b"")], Protocol);
    refused(&[headers(1, END_STREAM), write(Kind::CONTINUATION, 4, 3, b"")], Protocol);
    refused(&[headers(5, end), headers(3, end)], Protocol);
    refused(&[headers(1, END_HEADERS), headers(1, END_HEADERS)], Protocol);
    refused(&[write(Kind::HEADERS, end | PRIORITY, 1, b"\0\0\0\x01\x10\x82")], Protocol);
    refused(&[write(Kind::HEADERS, end | PRIORITY, 1, b"\0\0\0")], FrameSize);
    refused(&[write(Kind::HEADERS, end | PADDED, 1, b"\x04\x82\x84\x86")], Protocol);
    refused(&[write(Kind::HEADERS, end | PADDED | PRIORITY, 1, b"\x02\0\0\0\x03\x10\x82")], Protocol);
    refused(&[write(Kind::HEADERS, end | PADDED, 1, b"")], FrameSize);
    refused(&[headers(0, end)], Protocol);
    refused(&[write(Kind::HEADERS, end, 1, &[0; 16_385])], FrameSize);
    refused(&[data(0, 0)], Protocol);
    refused(&[headers(1, END_HEADERS), write(Kind::DATA, PADDED, 1, b"\x04\0\0\0")], Protocol);
    refused(&[write(Kind::PRIORITY, 0, 0, b"\0\0\0\x01\x10")], Protocol);
    refused(&[write(Kind::PRIORITY, 0, 3, b"\x80\0\0\x03\x10")], Protocol);
    refused(&[write(Kind::PRIORITY, 0, 3, b"\0\0\0\x01")], FrameSize);
    refused(&[reset(0, 8)], Protocol);
    refused(&[headers(1, end), write(Kind::RST_STREAM, 0, 1, b"\0\0\0")], FrameSize);
    refused(&[write(Kind::SETTINGS, frame::ACK, 0, &[0; 6])], FrameSize);
    refused(&[write(Kind::SETTINGS, 0, 1, b"")], Protocol);
    refused(&[write(Kind::SETTINGS, 0, 0, &[0; 7])], FrameSize);
    for (setting, value, reason) in [
        (2, 2, Protocol),
        (8, 2, Protocol),
        (4, 0x8000_0000, FlowControl),
        (5, 16_383, Protocol),
        (5, 1 << 24, Protocol),
    ] {
        let payload = [&[0, setting][..], &u32::to_be_bytes(value)].concat();
        refused(&[write(Kind::SETTINGS, 0, 0, &payload)], reason);
    }
    refused(&[write(Kind::PING, 0, 1, &[0; 8])], Protocol);
    refused(&[write(Kind::PING, 0, 0, &[0; 6])], FrameSize);
    refused(&[write(Kind::GOAWAY, 0, 1, &[0; 8])], Protocol);
    refused(&[write(Kind::GOAWAY, 0, 0, &[0; 7])], FrameSize);
    refused(&[write(Kind::WINDOW_UPDATE, 0, 0, &[0x80, 0, 0, 0])], Protocol);
    refused(&[headers(1, end), write(Kind::WINDOW_UPDATE, 0, 1, &[0; 4])], Protocol);
    refused(&[write(Kind::WINDOW_UPDATE, 0, 0, &[0; 3])], FrameSize);
    refused(&[write(Kind::PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])], Protocol);
}

#[test]
fn the_first_frame_is_settings() {
    for first in [headers(1, 5), write(Kind::SETTINGS, frame::ACK, 0, b""), write(Kind::PING, 0, 0, &[0; 8])] {
        let step = Connection::default().receive(&[PREFACE, &first].concat());
        assert_eq!(step.passed, PREFACE.len());
        assert!(matches!(step.next, Next::Refused(Refusal { reason: Reason::Protocol, .. })), "{step:?}");
    }
}

#[test]
fn trailers_get_a_guard_and_lose_their_padding() {
    let trailers = write(Kind::HEADERS, END_STREAM | END_HEADERS | PADDED | PRIORITY, 1, b"\x01\0\0\0\x03\x10block\0");
    let before = [headers(1, END_HEADERS), data(1, 0)];
    let guarded = [write(Kind::HEADERS, END_STREAM, 1, GUARD), write(Kind::CONTINUATION, END_HEADERS, 1, b"block")];
    for piece in [1, 13, usize::MAX] {
        let frames = [&before[..], &[trailers.clone(), headers(3, 5)]].concat();
        let (out, refusal) = receive(&mut Connection::default(), &frames, piece);
        assert_eq!(refusal, None);
        let expected = [&before[..], &guarded, &[headers(3, 5)]].concat().concat();
        assert_eq!(out, [PREFACE, &settings(), &expected].concat());
    }
    // Without its last flag, more of the block follows.
    let frames =
        [&before[..], &[headers(1, END_STREAM), write(Kind::CONTINUATION, END_HEADERS, 1, b"x"), headers(3, 5)]]
            .concat();
    assert_eq!(receive(&mut Connection::default(), &frames, 3).1, None);
}

#[test]
fn what_was_on_its_way_when_this_side_ended_a_stream_passes() {
    let mut connection = Connection::default();
    receive(&mut connection, &[headers(1, END_HEADERS)], usize::MAX);
    connection.sent(&reset(1, 2));
    for frame in [data(1, 0), data(1, END_STREAM)] {
        assert_eq!(connection.receive(&frame), Step { passed: frame.len(), next: Next::More });
    }
    assert!(matches!(connection.receive(&data(1, 0)).next, Next::Refused(_)), "but not after its end");
}

#[test]
fn what_has_gone_out_of_an_answer_is_known_until_all_has() {
    let mut connection = Connection::default();
    receive(&mut connection, &[headers(1, END_HEADERS), headers(3, 5), headers(5, 5)], usize::MAX);
    for pieces in 0..3 {
        assert_eq!((connection.pieces_sent(3), connection.pieces_sent(1)), (Some(pieces), Some(0)));
        connection.sent(&data(3, 0));
    }
    connection.sent(&data(3, END_STREAM));
    connection.sent(&data(1, END_STREAM));
    connection.receive(&reset(5, 8));
    assert_eq!([1, 3, 5, 7].map(|stream| connection.pieces_sent(stream)), [None; 4]);
}

#[test]
fn streams_that_clients_never_end_are_forgotten_and_not_held_against_them() {
    let mut connection = Connection::default();
    receive(&mut connection, &[], usize::MAX);
    for stream in (1..3000).step_by(2) {
        assert_eq!(connection.receive(&headers(stream, END_HEADERS)).next, Next::More);
        connection.sent(&reset(stream, 0));
        assert!(connection.streams.remote(stream) == Remote::Open);
    }
    assert_eq!(connection.receive(&data(1, 0)).next, Next::More);
    assert_eq!(connection.receive(&data(2999, 0)).next, Next::More);
}

#[test]
fn a_block_that_cant_be_decoded_gets_its_own_code() {
    let goaway = |code: u8| write(Kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, code]);
    let said = |block: &[u8], written: &[u8]| {
        let mut connection = Connection::default();
        let frame = write(Kind::HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &[&[1], block, &[0]].concat());
        receive(&mut connection, &[headers(1, END_STREAM | END_HEADERS)], usize::MAX);
        let Step { next, .. } = connection.receive(&[&frame[..5], &[0, 0, 0, 3], &frame[9..]].concat());
        assert_eq!(next, Next::More);
        connection.corrected(written)
    };
    let before = headers(1, END_HEADERS);
    assert_eq!(said(b"\x80", &[&before[..], &goaway(1)].concat()), Some([&before[..], &goaway(9)].concat()));
    assert_eq!(said(b"\x80", &goaway(1)), Some(goaway(9)));
    assert_eq!(said(b"\x80", &goaway(3)), None, "another code");
    assert_eq!(said(b"\0\x01X\0", &goaway(1)), None, "a bad name");
    assert_eq!(said(b"\x82", &goaway(1)), None, "nothing is wrong with it");
    assert_eq!(said(b"\x80", &write(Kind::DATA, 0, 1, &goaway(1))), None, "it is data");
}

/// How many times something goes on before the connection is given up for it.
fn endures(mut connection: Connection, frames: &[Vec<u8>]) -> Option<usize> {
    (0..5000).find(|_| {
        frames.iter().any(|frame| match connection.receive(frame).next {
            Next::Refused(refusal) => {
                assert_eq!(refusal.reason, Reason::EnhanceYourCalm);
                true
            }
            _ => false,
        })
    })
}

#[test]
fn frames_for_their_own_sake_run_out() {
    let greeted = || {
        let mut connection = Connection::default();
        receive(&mut connection, &[headers(1, END_HEADERS)], usize::MAX);
        connection
    };
    let small = [
        write(Kind::PING, 0, 0, &[0; 8]),
        write(Kind::PRIORITY, 0, 1, b"\0\0\0\x03\x10"),
        write(Kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        write(Kind(0x77), 0, 0, b""),
        write(Kind::DATA, 0, 1, b""),
        write(Kind::DATA, PADDED, 1, b"\x02\0\0"),
        reset(1, 8),
    ];
    for frame in small {
        assert!(endures(greeted(), &[frame]).is_some_and(|times| (900..1001).contains(&times)));
    }
    assert_eq!(endures(greeted(), &[settings()]), Some(49));
    // A byte and more at a time is what a client may send.
    assert_eq!(endures(greeted(), &[write(Kind::DATA, 0, 1, b"x")]), None);
    let mut connection = greeted();
    assert!((1..).step_by(2).skip(1).take(500).any(|stream| {
        connection.receive(&headers(stream, 5));
        matches!(connection.receive(&reset(stream, 8)).next, Next::Refused(_))
    }));
}

#[test]
fn who_makes_this_side_reset_streams_runs_out() {
    let run = |code: u8| {
        let mut connection = Connection::default();
        receive(&mut connection, &[], usize::MAX);
        (1..).step_by(2).take(500).any(|stream| {
            let step = connection.receive(&headers(stream, 5));
            connection.sent(&reset(stream, code));
            matches!(step.next, Next::Refused(_))
        })
    };
    assert!(run(1));
    assert!(!run(7) && !run(0));
}

#[test]
fn who_asks_and_reads_never_runs_out() {
    let mut connection = Connection::default();
    receive(&mut connection, &[], usize::MAX);
    let update = |stream| write(Kind::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 100]);
    for stream in (1..20_000).step_by(2) {
        connection.receive(&headers(stream, END_STREAM | END_HEADERS));
        connection.sent(&[headers(stream, END_HEADERS), write(Kind::DATA, 1, stream, &[0; 100])].concat());
        for frame in [update(0), update(stream), write(Kind::PING, 0, 0, &[0; 8])] {
            assert_eq!(connection.receive(&frame).next, Next::More);
        }
        if stream % 4 == 1 {
            assert_eq!(connection.receive(&headers(stream + 2, 5)).next, Next::More);
        }
    }
}

#[test]
fn a_farewell_names_the_newest_stream() {
    let mut connection = Connection::default();
    receive(&mut connection, &[headers(7, 5)], usize::MAX);
    assert_eq!(connection.farewell(Reason::FrameSize), *b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x07\0\0\0\x06");
    let frame = headers(7, 4);
    assert!(connection.may_speak());
    connection.sent(&frame[..10]);
    assert!(!connection.may_speak());
    connection.sent(&frame[10..]);
    assert!(connection.may_speak());
}

/// Bytes that are frames more often than not: of any kind, on a few streams, with short payloads.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let frame = (0_u8..12, any::<u8>(), 0_u32..6, vec(any::<u8>(), 0..12));
    let frame = frame.prop_map(|(kind, flags, stream, payload)| write(Kind(kind), flags, stream, &payload));
    vec(prop_oneof![20 => frame, 1 => vec(any::<u8>(), 0..20)], 0..20).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn whatever_comes_is_judged_the_same_however_it_is_cut(bytes in frames(), piece in 1_usize..40) {
        let run = |piece| receive(&mut Connection::default(), std::slice::from_ref(&bytes), piece);
        let (whole, cut) = (run(usize::MAX), run(piece));
        prop_assert_eq!(&whole.1, &cut.1);
        // Of a frame whose head is good, what has come passes.
        prop_assert!(whole.0 == cut.0);
    }

    #[test]
    fn what_is_sent_is_walked_the_same_however_it_is_cut(bytes in frames(), piece in 1_usize..40) {
        let run = |piece| {
            let mut connection = Connection::default();
            bytes.chunks(piece).for_each(|bytes| connection.sent(bytes));
            (connection.may_speak(), format!("{:?}", connection.streams))
        };
        prop_assert_eq!(run(usize::MAX), run(piece));
    }

    #[test]
    fn no_block_is_too_odd_to_be_looked_at(bytes in vec(any::<u8>(), 0..60)) {
        let _ = block::look(&bytes);
    }
}
