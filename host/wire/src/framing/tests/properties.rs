use proptest::prelude::*;

use super::*;

/// Bytes that parsers stumble on, and pieces of requests.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&[u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"POST /a?b HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.0\r\n",
        b"CONNECT a:443 HTTP/1.1\r\n",
        b"GET http://a/ HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X-Y:  z \r\n",
        b"a_b:\r\n",
        b"\r\n",
        b"hello",
        b"5\r\nhello\r\n",
        b"0\r\n",
        b"0\r\n\r\n",
        b"1;a\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"\xff",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    prop_oneof![8 => prop::sample::select(known).prop_map(<[u8]>::to_vec), 1 => prop::collection::vec(any::<u8>(), 1..4)]
}

/// Heads with lines that other heads have, too, some of them not in order.
fn alike() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "GET /b HTTP/1.1\r\n",
        "\r\nGET /b HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "TRACE / HTTP/1.1\r\n",
        "GET http://a/ HTTP/1.1\r\n",
        "GET http://b/ HTTP/1.1\r\n",
        "CONNECT a:443 HTTP/1.1\r\n",
    ]);
    let lines = prop::sample::select(vec![
        "Host: a\r\n\r\n",
        "Host: b\r\n\r\n",
        "Host: a:443\r\n\r\n",
        "Host: a\r\nX: 1\r\n\r\n",
        "Host: a\r\n",
        "Host: a\r\nContent-Length: 5\r\n\r\n",
        "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "X: 1\r\n\r\n",
        "Host: a\nX: 1\r\n\r\n",
        "\r\n",
    ]);
    (line, lines).prop_map(|(line, lines)| [line, lines].concat().into_bytes())
}

/// Requests in order, one behind the other.
fn requests() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let line = prop::sample::select(vec![
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "\r\nPOST /b HTTP/1.1\r\nHost: a:80\r\n",
        "GET http://a/c?d HTTP/1.1\r\nhost:\ta\r\n",
        "OPTIONS * HTTP/1.0\r\n",
        "BREW /\" HTTP/1.1\r\nHost:\r\n",
    ]);
    let header = ("[!#-'*+.0-9A-Z^a-z|~-]{1,12}", "[ \t]{0,2}[ -~\t]{0,30}")
        .prop_filter("a name of its own", |(name, _)| {
            name.len() != 4 && name.len() != 10 && name.len() != 14 && name.len() != 17
        })
        .prop_map(|(name, value)| format!("{name}:{value}\r\n"));
    let chunk = prop::collection::vec(any::<u8>(), 1..40)
        .prop_map(|data| [format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat());
    let body = prop_oneof![
        Just(b"\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(|data| [
            format!("Content-Length: {}\r\n\r\n", data.len()).as_bytes(),
            &data
        ]
        .concat()),
        prop::collection::vec(chunk, 0..4).prop_map(|chunks| {
            [b"Transfer-Encoding: chunked\r\n\r\n".as_slice(), &chunks.concat(), b"0\r\nA-Trailer: 1\r\n\r\n"].concat()
        }),
    ];
    let request = (line, prop::collection::vec(header, 0..6), body)
        .prop_filter("no coding in HTTP/1.0", |(line, _, body)| !line.contains("1.0") || !body.starts_with(b"T"))
        .prop_map(|(line, headers, body)| [line.as_bytes(), headers.concat().as_bytes(), &body].concat());
    prop::collection::vec(request, 1..5)
}

/// Where each message of a stream ends, by httparse and by its own decoder of chunk sizes.
fn ends_by_httparse(stream: &[u8]) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 0);
    while at < stream.len() {
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut headers);
        at += request.parse(&stream[at..]).unwrap().unwrap();
        let find = |name: &str| request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        if let Some(length) = find("content-length") {
            at += str::from_utf8(length.value).unwrap().parse::<usize>().unwrap();
        } else if find("transfer-encoding").is_some() {
            loop {
                let (line, size) = httparse::parse_chunk_size(&stream[at..]).unwrap().unwrap();
                at += line;
                if size == 0 {
                    let mut trailers = [httparse::EMPTY_HEADER; 10];
                    at += httparse::parse_headers(&stream[at..], &mut trailers).unwrap().unwrap().0;
                    break;
                }
                at += size as usize + 2;
            }
        }
        ends.push(at);
    }
    ends
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn pieces_make_no_difference(fragments in prop::collection::vec(fragment(), 0..20), sizes in prop::collection::vec(1_usize..20, 1..10)) {
        let stream = fragments.concat();
        let expected = whole(Rules::default(), &stream);
        let mut pieces = Vec::new();
        let mut rest = stream.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(in_pieces(Rules::default(), &pieces).0, expected);
        for cut in 0..stream.len() {
            let (front, back) = stream.split_at(cut);
            prop_assert_eq!(in_pieces(Rules::default(), &[front, back]).0, expected, "cut at {}", cut);
        }
    }

    #[test]
    fn what_came_before_makes_no_difference(heads in prop::collection::vec(alike(), 1..12)) {
        let mut framing = Framing::new(Rules::default());
        for head in heads {
            // Each by itself, and twice on a connection that has seen the others.
            let expected = whole(Rules::default(), &head);
            for _ in 0..2 {
                let before = framing.clone();
                prop_assert_eq!(framing.advance(&head), expected, "{}", head.escape_ascii());
                prop_assert_eq!(framing.phase(), { let mut fresh = Framing::new(Rules::default()); fresh.advance(&head); fresh.phase() });
                if framing.phase() != Phase::Idle {
                    framing = before;
                }
            }
        }
    }

    #[test]
    fn tight_limits_make_no_difference_either(fragments in prop::collection::vec(fragment(), 0..20), limit in 1_usize..60) {
        let rules = Rules {
            request_line_bytes: limit, header_bytes: limit, header_count: 2, chunk_line_bytes: 4, trailer_bytes: limit,
            trailer_count: 1, ..Rules::default()
        };
        let stream = fragments.concat();
        let (slow, _) = in_pieces(rules, &stream.chunks(1).collect::<Vec<_>>());
        prop_assert_eq!(slow.verdict, whole(rules, &stream).verdict);
        prop_assert_eq!(slow.passed, whole(rules, &stream).passed);
    }

    #[test]
    fn what_is_in_order_passes_and_messages_end_where_httparse_says(requests in requests()) {
        let stream = requests.concat();
        prop_assert_eq!(whole(Rules::default(), &stream), Step { passed: stream.len(), verdict: Verdict::More });
        let mut framing = Framing::new(Rules::default());
        let (mut ends, mut start, mut was_idle) = (Vec::new(), 0, true);
        for end in 1..=stream.len() {
            start += framing.advance(&stream[start..end]).passed;
            let is_idle = framing.phase() == Phase::Idle && start == end;
            if is_idle && !was_idle {
                ends.push(end);
            }
            was_idle = is_idle;
        }
        prop_assert_eq!(framing.heads(), requests.len() as u64);
        prop_assert_eq!(ends, ends_by_httparse(&stream));
    }

    #[test]
    fn a_head_that_passes_is_the_same_to_httparse(requests in requests(), place: prop::sample::Index, byte: u8) {
        let mut stream = requests.concat();
        let place = place.index(stream.len());
        stream[place] = byte;
        let mut framing = Framing::new(Rules { header_count: 100, ..Rules::default() });
        let end = (1..=stream.len()).find(|end| {
            let step = framing.advance(&stream[..*end]);
            step.passed > 0 || step.verdict != Verdict::More
        });
        prop_assume!(framing.heads() == 1);
        let head = &stream[..end.unwrap()];
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut headers);
        prop_assert_eq!(request.parse(head), Ok(httparse::Status::Complete(head.len())));
        // The plainest reading there is: lines at CRLF, names up to the colon.
        let text = head.strip_prefix(b"\r\n").unwrap_or(head);
        let lines: Vec<&[u8]> = split_lines(text);
        let line = format!("{} {} HTTP/1.{}", request.method.unwrap(), request.path.unwrap(), request.version.unwrap());
        prop_assert_eq!(lines[0], line.as_bytes());
        prop_assert_eq!(lines.len() - 3, request.headers.len());
        for (line, header) in lines[1..].iter().zip(request.headers) {
            let colon = line.iter().position(|byte| *byte == b':').unwrap();
            prop_assert_eq!(&line[..colon], header.name.as_bytes());
            prop_assert_eq!(line[colon + 1..].trim_ascii(), header.value.trim_ascii());
        }
    }

    #[test]
    fn whatever_comes_nothing_panics(stream: Vec<u8>, limit in 0_usize..50) {
        let rules = Rules {
            request_line_bytes: limit, header_bytes: limit, header_count: limit, chunk_line_bytes: limit,
            trailer_bytes: limit, trailer_count: limit, ..Rules::default()
        };
        for rules in [rules, Rules::default()] {
            let step = whole(rules, &stream);
            prop_assert!(step.passed <= stream.len());
        }
    }
}

fn split_lines(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = text.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&text[..end]);
        text = &text[end + 2..];
    }
    lines.push(text);
    lines
}
