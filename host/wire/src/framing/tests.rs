//! Tests of the whole check. Good and bad heads, bodies, and properties that hold for all.

mod bodies;
mod heads;
mod http2;
mod meaning;
mod properties;
mod stream;

use super::{Framing, Phase, Rules, Step, Verdict, Violation};

/// What comes of a stream given at once: what passes of it, and the verdict.
fn whole(rules: Rules, stream: &[u8]) -> Step {
    Framing::new(rules).advance(stream)
}

/// What comes of a stream given in pieces, as a caller gives it: what did not pass is shown again.
fn in_pieces(rules: Rules, pieces: &[&[u8]]) -> (Step, Framing) {
    let mut framing = Framing::new(rules);
    let (mut passed, mut held) = (0, Vec::new());
    let mut verdict = Verdict::More;
    for piece in pieces {
        held.extend_from_slice(piece);
        let step = framing.advance(&held);
        held.drain(..step.passed);
        passed += step.passed;
        verdict = step.verdict;
        if verdict != Verdict::More {
            break;
        }
    }
    (Step { passed, verdict }, framing)
}

/// A stream that passes whole, at once and byte by byte, and ends between two requests.
fn passes(stream: &str) {
    let bytes = stream.as_bytes();
    let expected = Step { passed: bytes.len(), verdict: Verdict::More };
    assert_eq!(whole(Rules::default(), bytes), expected, "{stream:?}");
    let (step, framing) = in_pieces(Rules::default(), &bytes.chunks(1).collect::<Vec<_>>());
    assert_eq!((step, framing.phase()), (expected, Phase::Idle), "{stream:?} byte by byte");
}

/// A stream that is refused, at once and byte by byte, after the same bytes have passed.
fn refused_by(rules: Rules, stream: &[u8], violation: Violation) -> usize {
    let shown = stream.escape_ascii();
    let step = whole(rules, stream);
    assert_eq!(step.verdict, Verdict::Refused(violation), "{shown}");
    let (slow, framing) = in_pieces(rules, &stream.chunks(1).collect::<Vec<_>>());
    assert_eq!((slow, framing.phase()), (step, Phase::Ended), "{shown} byte by byte");
    step.passed
}

fn refused(stream: impl AsRef<[u8]>, violation: Violation) {
    refused_by(Rules::default(), stream.as_ref(), violation);
}

/// A request with this header is refused.
fn header_refused(lines: impl AsRef<[u8]>, violation: Violation) {
    let (before, after) = (b"GET / HTTP/1.1\r\nHost: a\r\n".as_slice(), b"\r\n\r\n".as_slice());
    refused([before, lines.as_ref(), after].concat(), violation);
}
