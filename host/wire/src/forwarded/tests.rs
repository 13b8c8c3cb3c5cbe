use proptest::prelude::*;

use super::*;

const PEER: &str = "10.0.0.1";

fn find(format: Format, lines: &[&str], trust: &Trust) -> String {
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    client_address(format, lines.iter().copied(), PEER.parse().unwrap(), trust).to_string()
}

fn by_hops(hops: u32, lines: &[&str], expected: &str) {
    assert_eq!(find(Format::XForwardedFor, lines, &Trust::Hops(hops)), expected, "{lines:?} with {hops} hops");
}

fn by_networks(lines: &[&str], expected: &str) {
    let networks = ["10.0.0.0/8", "fd00::/8"].iter().map(|network| network.parse().unwrap()).collect();
    assert_eq!(find(Format::XForwardedFor, lines, &Trust::Networks(networks)), expected, "{lines:?}");
}

fn forwarded(lines: &[&str], expected: &str) {
    assert_eq!(find(Format::Forwarded, lines, &Trust::Hops(1)), expected, "{lines:?}");
}

#[test]
fn hops_count_from_the_right() {
    let lines = ["1.1.1.1, 2.2.2.2", "3.3.3.3"];
    by_hops(0, &lines, PEER);
    by_hops(1, &lines, "3.3.3.3");
    by_hops(2, &lines, "2.2.2.2");
    by_hops(3, &lines, "1.1.1.1");
    by_hops(4, &lines, PEER);
    by_hops(u32::MAX, &lines, PEER);
    by_hops(1, &[], PEER);
    by_hops(1, &["", " , ", ","], PEER);
    by_hops(1, &["1.1.1.1, ,", ""], "1.1.1.1");
    by_hops(1, &["1.1.1.1, unknown"], PEER);
    by_hops(2, &["1.1.1.1, unknown"], "1.1.1.1");
    by_hops(1, &["1.1.1.1, garbage"], PEER);
    by_hops(65, &[&"1.1.1.1,".repeat(100)], PEER);
    by_hops(64, &[&"1.1.1.1,".repeat(100)], "1.1.1.1");
}

#[test]
fn entries_have_many_spellings() {
    for (entry, expected) in [
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3.4:80", "1.2.3.4"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::1]:80", "::1"),
        ("\t1.2.3.4 ", "1.2.3.4"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("[::ffff:1.2.3.4]:1", "1.2.3.4"),
        ("2001:DB8::1", "2001:db8::1"),
    ] {
        by_hops(1, &[entry], expected);
    }
    for bad in [
        "1.2.3",
        "01.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:x",
        "1.2.3.4:65536",
        "[::1",
        "[::1]x",
        "[::1]:",
        "[1.2.3.4]",
        "fe80::1%eth0",
        "a.example",
        "\"1.2.3.4\"",
        "1.2.3.4 5.6.7.8",
        "\u{e9}",
        "_hidden",
        "for=1.2.3.4",
    ] {
        by_hops(1, &[bad], PEER);
    }
}

#[test]
fn networks_are_walked_from_the_right() {
    by_networks(&["1.1.1.1, 2.2.2.2"], "2.2.2.2");
    by_networks(&["1.1.1.1, 2.2.2.2, 10.0.0.2", "fd00::1, 10.0.0.3"], "2.2.2.2");
    by_networks(&["10.0.0.9, 10.0.0.8"], "10.0.0.9");
    by_networks(&[], PEER);
    by_networks(&["1.1.1.1, garbage, 10.0.0.2"], "10.0.0.2");
    by_networks(&["1.1.1.1, unknown"], PEER);
    by_networks(&["1.1.1.1, ::ffff:10.9.9.9"], "1.1.1.1");
    // Who is not trusted may say what it likes.
    let trust = Trust::Networks(vec!["192.168.0.0/16".parse().unwrap()]);
    assert_eq!(find(Format::XForwardedFor, &["1.1.1.1"], &trust), PEER);
    assert_eq!(find(Format::XForwardedFor, &["1.1.1.1"], &Trust::Networks(Vec::new())), PEER);
}

#[test]
fn elements_of_forwarded() {
    // RFC 7239, section 4.
    for (line, expected) in [
        ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
        ("by=1.1.1.1;FOR=\"2.2.2.2:80\"", "2.2.2.2"),
        ("for=2.2.2.2;host=\"a,b\"", "2.2.2.2"),
        ("for=1.1.1.1 ; proto=http", "1.1.1.1"),
        ("for=\"1.1.\\1.1\"", "1.1.1.1"),
        ("for=1.1.1.1;", "1.1.1.1"),
        ("x=\"\\\"\";for=1.1.1.1", "1.1.1.1"),
        ("for=\"[::1]:_port\"", "::1"),
        ("for=1.1.1.1,,", "1.1.1.1"),
        ("for=1.1.1.1;x=\"a;for=2.2.2.2\"", "1.1.1.1"),
        ("for=1.1.1.1:80", "1.1.1.1"),
    ] {
        forwarded(&[line], expected);
    }
    for bad in [
        "for=unknown",
        "for=_gazonk",
        "for=\"_gazonk\"",
        "proto=http",
        "for",
        "for=",
        "=1.1.1.1",
        "for=1.1.1.1;for=2.2.2.2",
        "for=\"1.1.1.1",
        "for=\"1.1.1.1\"x",
        "for=1.1.1.1 for=2.2.2.2",
        "for =1.1.1.1",
        "1.1.1.1",
        "for=\"\\",
        "for=1.1.1.1;;",
    ] {
        forwarded(&[bad], PEER);
    }
}

#[test]
fn an_open_quotation_mark_swallows_nothing() {
    // What a client sent, and what a trusted proxy added on the same line.
    for made_up in ["for=\"", "for=\"x\\", "\"", "for=\"\\\"", "for=6.6.6.6;x=\"", "\"\"\"", "\\\"", "for=\"a, for=\"b"]
    {
        forwarded(&[&format!("{made_up}, for=1.1.1.1")], "1.1.1.1");
        forwarded(&[&format!("{made_up}, for=\"[::1]:80\";proto=http")], "::1");
        forwarded(&[&format!("{made_up}, for=1.1.1.1;host=\"a,\\\"b\"")], "1.1.1.1");
    }
}

#[test]
fn elements_are_written_as_they_are_read() {
    let address = |text: &str, port| Node::Address(text.parse().unwrap(), port);
    let bare = Element { client: address("1.2.3.4", None), by: None, host: None, proto: None };
    for (element, expected) in [
        (bare, "for=1.2.3.4"),
        (Element { client: address("1.2.3.4", Some(80)), ..bare }, "for=\"1.2.3.4:80\""),
        (
            Element { client: address("::1", None), by: Some(address("::2", Some(1))), ..bare },
            "for=\"[::1]\";by=\"[::2]:1\"",
        ),
        (
            Element { client: Node::Hidden, host: Some("a.example:80"), proto: Some("https"), ..bare },
            "for=unknown;host=\"a.example:80\";proto=https",
        ),
        (Element { host: Some("a\"\\b"), ..bare }, "for=1.2.3.4;host=\"a\\\"\\\\b\""),
        (Element { host: Some(""), ..bare }, "for=1.2.3.4;host=\"\""),
        (Element { host: Some("a\r\nb"), proto: Some("\u{e9}"), ..bare }, "for=1.2.3.4"),
    ] {
        assert_eq!(element.to_string(), expected);
        assert_eq!(element::node(expected.as_bytes(), Format::Forwarded), Some(element.client));
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(ip: IpAddr, port: Option<u16>, host: String, made_up: Vec<u8>) {
        let client = Node::Address(ip, port);
        let element = Element { client, by: Some(client), host: Some(&host), proto: Some("http") }.to_string();
        prop_assert_eq!(element::node(element.as_bytes(), Format::Forwarded), Some(client));
        // Whatever is on its left.
        let line = [&made_up, b", ".as_slice(), element.as_bytes()].concat();
        let found = client_address(Format::Forwarded, [&line[..]], PEER.parse().unwrap(), &Trust::Hops(1));
        prop_assert_eq!(found, ip.to_canonical());
    }

    #[test]
    fn nothing_panics(lines in prop::collection::vec("[ ,;=\"\\\\for.:_1\\[\\]\u{e9}]{0,30}", 0..4), hops in 0..5_u32) {
        for format in [Format::XForwardedFor, Format::Forwarded] {
            let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
            client_address(format, lines.iter().copied(), PEER.parse().unwrap(), &Trust::Hops(hops));
            let everybody = Trust::Networks(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
            client_address(format, lines.iter().copied(), PEER.parse().unwrap(), &everybody);
        }
    }
}
