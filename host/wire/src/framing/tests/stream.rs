use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn heads_are_counted_and_phases_told() {
    let mut framing = Framing::new(Rules::default());
    assert_eq!((framing.heads(), framing.phase()), (0, Phase::Idle));
    assert_eq!(framing.advance(b""), Step { passed: 0, verdict: Verdict::More });
    assert_eq!(framing.advance(b"G").passed, 0);
    assert_eq!((framing.heads(), framing.phase()), (0, Phase::Head));
    assert_eq!(framing.advance(GET).passed, GET.len());
    assert_eq!((framing.heads(), framing.phase()), (1, Phase::Idle));
    let posts = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab";
    assert_eq!(framing.advance(posts).passed, posts.len());
    assert_eq!((framing.heads(), framing.phase()), (3, Phase::Body));
    // An empty line is not a request's beginning.
    assert_eq!(framing.advance(b"c\r").passed, 1);
    assert_eq!(framing.phase(), Phase::Idle);
    assert_eq!(framing.advance(b"\r\n").passed, 0);
    assert_eq!(framing.phase(), Phase::Idle);
    assert_eq!(framing.advance(b"\r\nG").passed, 0);
    assert_eq!(framing.phase(), Phase::Head);
}

#[test]
fn what_came_before_a_violation_passes() {
    let stream = [GET, GET, b"GET /\x00"].concat();
    let mut framing = Framing::new(Rules::default());
    let step = framing.advance(&stream);
    assert_eq!(step, Step { passed: 2 * GET.len(), verdict: Verdict::Refused(Violation::BadTarget) });
    assert_eq!(framing.heads(), 2);
    // Nothing passes after it, whatever is tried.
    framing.passthrough();
    assert_eq!(framing.advance(GET), Step { passed: 0, ..step });
}

#[test]
fn everything_passes_after_an_upgrade() {
    let mut framing = Framing::new(Rules::default());
    let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(framing.advance(upgrade).passed, upgrade.len());
    assert_eq!(framing.advance(b"B").passed, 0);
    framing.passthrough();
    assert_eq!(framing.phase(), Phase::Tunnel);
    assert_eq!(framing.advance(b"B\0\xff\n"), Step { passed: 4, verdict: Verdict::More });
}

#[test]
fn http2_is_told_from_a_request() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for cut in 1..preface.len() {
        let mut framing = Framing::new(Rules::default());
        assert_eq!(framing.advance(&preface[..cut]), Step { passed: 0, verdict: Verdict::More }, "{cut}");
        assert_eq!(framing.phase(), Phase::Head);
        assert_eq!(
            framing.advance(&[preface, b"more".as_slice()].concat()),
            Step { passed: 0, verdict: Verdict::Http2 }
        );
        assert_eq!(framing.phase(), Phase::Ended);
    }
    refused("PRI * HTTP/1.1\r\nHost: a\r\n\r\n", Violation::BadMethod);
    refused("PRI * HTTP/2.0\r\n\r\nSN", Violation::BadMethod);
    refused([GET, preface].concat(), Violation::BadMethod);
    refused(b"\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Violation::BadMethod);
}

#[test]
fn a_caller_who_forgets_the_beginning_does_no_harm() {
    let mut framing = Framing::new(Rules::default());
    assert_eq!(framing.advance(&GET[..20]).passed, 0);
    assert_eq!(framing.advance(b"\r\n"), Step { passed: 0, verdict: Verdict::More });
    assert_eq!(framing.advance(GET).passed, GET.len());
}

#[test]
fn labels_are_short_and_their_own() {
    use std::collections::HashSet;
    let all = [Violation::BareLf, Violation::BadChunkEnd, Violation::MissingHost, Violation::AliasName];
    let labels: HashSet<&str> = all.iter().map(|violation| violation.label()).collect();
    assert_eq!(labels.len(), all.len());
    assert!(all.iter().all(|violation| violation.status() == 400));
}
