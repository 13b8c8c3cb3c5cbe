//! Nothing that a client makes up hides what a trusted proxy added on its right.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use sluicegate_wire::forwarded::{Cidr, Element, Format, Node, Trust, client_address};

fuzz_target!(|input: (u8, &[u8], &str)| {
    let (hops, made_up, text) = input;
    let (peer, client) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from([192, 0, 2, 1]));
    let added = Element { client: Node::Address(client, None), by: None, host: Some(text), proto: None }.to_string();
    for (format, added) in [(Format::Forwarded, added), (Format::XForwardedFor, client.to_string())] {
        let line = [made_up, b",", added.as_bytes()].concat();
        assert_eq!(client_address(format, [&line[..]], peer, &Trust::Hops(1)), client);
        client_address(format, [made_up, &line], peer, &Trust::Hops(hops.into()));
        let networks: Vec<Cidr> = ["127.0.0.0/8", text].iter().filter_map(|text| text.parse().ok()).collect();
        client_address(format, [made_up, &line], peer, &Trust::Networks(networks));
    }
});
