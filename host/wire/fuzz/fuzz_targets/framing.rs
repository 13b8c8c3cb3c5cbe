//! Pieces make no difference, and httparse reads every head that passes, to the same end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_wire::framing::{Framing, Rules, Step, Verdict};

fuzz_target!(|input: &[u8]| {
    let Some((&cut, stream)) = input.split_first() else { return };
    let whole = Framing::new(Rules::default()).advance(stream);
    assert!(whole.passed <= stream.len());
    for size in [1, usize::from(cut).max(1)] {
        assert_eq!(in_pieces(stream, size), whole);
    }
});

fn in_pieces(stream: &[u8], size: usize) -> Step {
    let mut framing = Framing::new(Rules::default());
    let (mut start, mut end) = (0, 0);
    loop {
        end = stream.len().min(end + size);
        let heads = framing.heads();
        let step = framing.advance(&stream[start..end]);
        if size == 1 && framing.heads() > heads {
            same_to_httparse(&stream[start..start + step.passed]);
        }
        start += step.passed;
        if end == stream.len() || step.verdict != Verdict::More {
            return Step { passed: start, ..step };
        }
    }
}

fn same_to_httparse(head: &[u8]) {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut headers);
    assert_eq!(request.parse(head), Ok(httparse::Status::Complete(head.len())));
    let count = |name: &str| request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).count();
    assert!(count("content-length") + count("transfer-encoding") <= 1);
    assert!(count("host") <= 1 && (count("host") == 1 || request.version == Some(0)));
    assert!(head.windows(2).all(|pair| (pair[0] == b'\r') == (pair[1] == b'\n')));
}
