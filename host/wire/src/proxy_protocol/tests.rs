use proptest::prelude::*;

use super::*;

fn client(source: &str, destination: &str) -> Origin {
    Origin::Client { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// A header that is understood, also when it comes byte by byte, and whatever follows it.
fn check(header: &[u8], origin: Origin) -> Header<'_> {
    for end in 0..header.len() {
        assert_eq!(parse(&header[..end]), Ok(Parsed::More), "{} of {}", end, header.escape_ascii());
    }
    let Ok(Parsed::Header(parsed)) = parse(header) else { panic!("{}: {:?}", header.escape_ascii(), parse(header)) };
    assert_eq!((parsed.origin, parsed.length), (origin, header.len()), "{}", header.escape_ascii());
    assert_eq!(parse(&[header, b"GET"].concat()), Ok(Parsed::Header(parsed)));
    parsed
}

fn refused(header: impl AsRef<[u8]>, expected: Malformed) {
    let header = header.as_ref();
    assert_eq!(parse(header), Err(expected), "{}", header.escape_ascii());
    // It was no other header before that.
    for end in 0..header.len() {
        assert!(matches!(parse(&header[..end]), Ok(Parsed::More) | Err(_)), "{} of {}", end, header.escape_ascii());
    }
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    [&v2::SIGNATURE, [command, family].as_slice(), &(block.len() as u16).to_be_bytes(), block].concat()
}

#[test]
fn lines_that_are_understood() {
    check(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", client("192.168.0.1:56324", "192.168.0.11:443"));
    check(b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", client("255.255.255.255:65535", "0.0.0.0:0"));
    check(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", client("[2001:db8::1]:1", "[::1]:2"));
    check(b"PROXY UNKNOWN\r\n", Origin::Unknown);
    check(b"PROXY UNKNOWN whatever this is\r\n", Origin::Unknown);
    let longest = format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
    assert_eq!(longest.len(), 107);
    check(longest.as_bytes(), Origin::Unknown);
    let longest = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
    assert!(matches!(parse(longest.as_bytes()), Ok(Parsed::Header(_))));
}

#[test]
fn lines_that_are_refused() {
    for bad in [
        "TCP4 1.2.3.4 1.2.3.4 1",
        "TCP4 1.2.3.4 1.2.3.4 1 2 3",
        "TCP4  1.2.3.4 1.2.3.4 1 2",
        "TCP4 1.2.3.4 1.2.3.4 1 2 ",
        "TCP4 ::1 ::1 1 2",
        "TCP6 1.2.3.4 1.2.3.4 1 2",
        "TCP4 01.2.3.4 1.2.3.4 1 2",
        "TCP4 1.2.3 1.2.3.4 1 2",
        "TCP4 1.2.3.4 1.2.3.4 01 2",
        "TCP4 1.2.3.4 1.2.3.4 +1 2",
        "TCP4 1.2.3.4 1.2.3.4 65536 2",
        "TCP4 1.2.3.4 1.2.3.4 1 -2",
        "TCP4 1.2.3.256 1.2.3.4 1 2",
        "TCP6 [::1] ::1 1 2",
        "TCP6 fe80::1%1 ::1 1 2",
        "TCP4",
        "TCP4 ",
        "TCP4 1.2.3.4 1.2.3.4  2",
    ] {
        refused(format!("PROXY {bad}\r\n"), Malformed::BadAddress);
    }
    for bad in [
        "",
        "TCP5 1.2.3.4 1.2.3.4 1 2",
        "tcp4 1.2.3.4 1.2.3.4 1 2",
        " TCP4 1.2.3.4 1.2.3.4 1 2",
        "UDP4 1.2.3.4 1.2.3.4 1 2",
        "UNKNOWNS",
    ] {
        refused(format!("PROXY {bad}\r\n"), Malformed::BadProtocol);
    }
    for bad in [
        "TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n",
        "TCP4\t1.2.3.4",
        "UNKNOWN \0\r\n",
        "UNKNOWN \u{e9}\r\n",
        "\rX",
    ] {
        refused(format!("PROXY {bad}"), Malformed::BadLine);
    }
    refused(format!("PROXY UNKNOWN {}", "a".repeat(93)), Malformed::LineTooLong);
    refused(format!("PROXY UNKNOWN {}\r\n", "a".repeat(92)), Malformed::LineTooLong);
    assert_eq!(parse(format!("PROXY UNKNOWN {}", "a".repeat(92)).as_bytes()), Ok(Parsed::More));
}

#[test]
fn other_bytes_are_another_protocols() {
    for other in [
        "GET / HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n",
        "PROXYING",
        "proxy TCP4",
        "\r\nGET",
        "\r\n\r\nGET",
        "\u{16}\u{3}\u{1}",
        "PUT /",
    ] {
        assert_eq!(parse(other.as_bytes()), Ok(Parsed::Other), "{other:?}");
    }
}

#[test]
fn headers_that_are_understood() {
    let inet = [10, 0, 0, 1, 10, 0, 0, 2, 0x1f, 0x90, 0, 80];
    check(&v2(0x21, 0x11, &inet), client("10.0.0.1:8080", "10.0.0.2:80"));
    let mut inet6 = [0; 36];
    (inet6[15], inet6[31], inet6[33], inet6[35]) = (1, 2, 3, 4);
    check(&v2(0x21, 0x21, &inet6), client("[::1]:3", "[::2]:4"));
    check(&v2(0x21, 0x12, &inet), Origin::Unknown);
    check(&v2(0x21, 0x22, &inet6), Origin::Unknown);
    check(&v2(0x21, 0x31, &[b'/'; 216]), Origin::Unknown);
    check(&v2(0x21, 0x32, &[b'/'; 216]), Origin::Unknown);
    for block in [&[][..], &[1, 2, 3], &[0; 4096]] {
        check(&v2(0x21, 0x00, block), Origin::Unknown);
        check(&v2(0x21, 0x10, block), Origin::Unknown);
        check(&v2(0x20, 0x00, block), Origin::Local);
        check(&v2(0x20, 0xff, block), Origin::Local);
    }
    // As HAProxy sends it.
    let captured = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xac\x13\0\x01\xac\x13\0\x03\xa6\x52\0\x50";
    check(captured, client("172.19.0.1:42578", "172.19.0.3:80"));
}

#[test]
fn headers_that_are_refused() {
    let inet = [0; 12];
    for command in [0x11, 0x01, 0x31, 0x2f + 0x10, 0xf1] {
        refused(v2(command, 0x11, &inet), Malformed::BadVersion);
    }
    for command in [0x22, 0x2f] {
        refused(v2(command, 0x11, &inet), Malformed::BadCommand);
    }
    for family in [0x41, 0xf1, 0x13, 0x1f, 0x03, 0x40] {
        refused(v2(0x21, family, &inet), Malformed::BadFamily);
    }
    refused(v2(0x21, 0x11, &inet[1..]), Malformed::TooShort);
    refused(v2(0x21, 0x21, &[0; 35]), Malformed::TooShort);
    refused(v2(0x21, 0x31, &[0; 215]), Malformed::TooShort);
    refused(v2(0x21, 0x11, &[0; 4097]), Malformed::TooLarge);
    for tlvs in [&[1][..], &[1, 0], &[1, 0, 1], &[4, 0, 0, 1, 0xff, 0xff], &[3, 0, 0], &[3, 0, 5, 0, 0, 0, 0, 0]] {
        refused(v2(0x21, 0x11, &[&inet, tlvs].concat()), Malformed::BadTlv);
    }
    refused(v2(0x21, 0x11, &[&inet[..], &[5, 0, 129], &[0; 129]].concat()), Malformed::BadTlv);
    refused(v2(0x21, 0x11, &[&inet[..], &[3, 0, 4, 1, 2, 3, 4]].concat()), Malformed::BadChecksum);
}

#[test]
fn extras_are_read_back() {
    let ends = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
    let extras =
        Extras { alpn: Some(b"h2"), authority: Some(b"a.example"), unique_id: Some(&[7; 128]), checksum: true };
    let bytes = encode_v2(Some(ends), &extras).unwrap();
    let header = check(&bytes, client("10.0.0.1:1", "10.0.0.2:2"));
    assert_eq!(
        (header.alpn(), header.authority(), header.unique_id()),
        (extras.alpn, extras.authority, extras.unique_id)
    );
    assert_eq!(header.tlvs().map(|tlv| tlv.kind).collect::<Vec<_>>(), [1, 2, 5, 3]);
    // Every bit is covered.
    for place in 16..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[place] ^= 1 << bit;
            assert!(parse(&changed) != Ok(Parsed::Header(header)), "bit {bit} of byte {place}");
        }
    }
    let twice = [&bytes[28..], &bytes[28..]].concat();
    assert!(parse(&v2(0x21, 0x11, &[&bytes[16..28], &twice].concat())).is_err());
    assert_eq!(encode_v2(Some(ends), &Extras { unique_id: Some(&[0; 129]), ..extras }), Err(Malformed::BadTlv));
    assert_eq!(encode_v2(Some(ends), &Extras { authority: Some(&[0; 4096]), ..extras }), Err(Malformed::TooLarge));
    assert_eq!(encode_v2(Some(ends), &Extras { authority: Some(&[0; 70_000]), ..extras }), Err(Malformed::TooLarge));
}

#[test]
fn nobodys_connection_is_said_to_be_so() {
    assert_eq!(encode_v1(None), "PROXY UNKNOWN\r\n");
    check(encode_v1(None).as_bytes(), Origin::Unknown);
    check(&encode_v2(None, &Extras { alpn: Some(b"h2"), ..Extras::default() }).unwrap(), Origin::Local);
}

#[test]
fn mixed_families_become_ipv6_and_mapped_ones_ipv4() {
    let line =
        |source: &str, destination: &str| encode_v1(Some((source.parse().unwrap(), destination.parse().unwrap())));
    assert_eq!(line("10.0.0.1:1", "[::1]:2"), "PROXY TCP6 ::ffff:10.0.0.1 ::1 1 2\r\n");
    assert_eq!(line("[::ffff:10.0.0.1]:1", "10.0.0.2:2"), "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n");
}

proptest! {
    #[test]
    fn what_is_written_is_read(from: IpAddr, to: IpAddr, ports: (u16, u16), alpn: Option<Vec<u8>>, checksum: bool) {
        let (source, destination) = same_family(SocketAddr::new(from, ports.0), SocketAddr::new(to, ports.1));
        let origin = Origin::Client { source, destination };
        check(encode_v1(Some((source, destination))).as_bytes(), origin);
        let extras = Extras { alpn: alpn.as_deref(), checksum, ..Extras::default() };
        let header = encode_v2(Some((source, destination)), &extras).unwrap();
        prop_assert_eq!(check(&header, origin).alpn(), extras.alpn);
    }

    #[test]
    fn nothing_panics(version in 0..3_usize, fixed: [u8; 2], length in 0..300_u16, bytes: Vec<u8>) {
        let front = [b"PROXY ".to_vec(), [&v2::SIGNATURE[..], &fixed, &length.to_be_bytes()].concat(), Vec::new()];
        let bytes = [&front[version][..], &bytes].concat();
        if let Ok(Parsed::Header(header)) = parse(&bytes) {
            prop_assert!(header.length <= bytes.len() && header.length <= MAX_BYTES);
            prop_assert!(header.tlvs().count() <= MAX_BYTES / 3);
        }
    }
}
