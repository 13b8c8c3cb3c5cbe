//! What is understood is so for good, whatever follows it, and can be written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate_wire::proxy_protocol::{Extras, MAX_BYTES, Origin, Parsed, encode_v1, encode_v2, parse};

fuzz_target!(|bytes: &[u8]| {
    match parse(bytes) {
        Ok(Parsed::Header(header)) => {
            assert!(header.length <= bytes.len() && header.length <= MAX_BYTES);
            assert_eq!(parse(&bytes[..header.length]), Ok(Parsed::Header(header)));
            assert!((0..header.length).all(|end| parse(&bytes[..end]) == Ok(Parsed::More)));
            let (alpn, authority, unique_id) = (header.alpn(), header.authority(), header.unique_id());
            if let Origin::Client { source, destination } = header.origin {
                let ends = Some((source, destination));
                assert!(matches!(parse(encode_v1(ends).as_bytes()), Ok(Parsed::Header(_))));
                if let Ok(again) = encode_v2(ends, &Extras { alpn, authority, unique_id, checksum: true }) {
                    let Ok(Parsed::Header(read)) = parse(&again) else { panic!("not read back") };
                    assert_eq!((read.alpn(), read.authority(), read.unique_id()), (alpn, authority, unique_id));
                }
            }
        }
        Ok(Parsed::More) => assert!(bytes.len() < MAX_BYTES),
        Ok(Parsed::Other) | Err(_) => assert_eq!(parse(&[bytes, b"more"].concat()), parse(bytes)),
    }
});
