//! HTTP/2 to the letter, as clients see it: the cases of h2spec, written from RFC 9113 and RFC 7541, over TLS and without
//! it. Stricter than h2spec, which takes a connection that is closed without a word for the right answer.

mod answers;
mod generic;
mod hpack;
mod http2;

pub(crate) mod frames;
pub(crate) mod peer;

use peer::{Door, Seen};
use sluicegate_tests::{Authority, Echo, Proxy};

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// What a client does, and what it sees.
type Case = (&'static str, fn(&Door) -> Seen);

/// Listeners behind the kit's own: HTTP/2 known beforehand, and over TLS.
pub(crate) const LISTENERS: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n\
    [[listener]]\naddress = \"127.0.0.1:0\"\n\
    [listener.tls]\ncertificates = [{ certificate = \"one.pem\", key = \"one.key\" }]\n";

/// A proxy with these listeners, and where they are.
pub(crate) fn start(config: &str) -> (Proxy, [Door; 2]) {
    let proxy = Proxy::start(&format!("{LISTENERS}{config}"), |dir| {
        Authority::new(dir).issue(dir, "one", &["127.0.0.1"]);
    });
    let doors = [Door::plain(proxy.addresses[1]), Door::tls(&proxy, proxy.addresses[2])];
    (proxy, doors)
}

/// Runs all of them over both, and says what failed.
fn run(cases: &[Case]) {
    let origin = Echo::start();
    let (_proxy, doors) =
        start(&format!("[[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"{}\"]\n", origin.address));
    let mut failed = Vec::new();
    for door in &doors {
        for (name, case) in cases {
            if let Err(seen) = case(door) {
                failed.push(format!("{name} ({}): {seen}", if door.tls.is_some() { "TLS" } else { "plain" }));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), cases.len() * 2, failed.join("\n"));
}

#[test]
fn lawful_clients_are_served() {
    run(generic::CASES);
}

#[test]
fn frames_and_streams_are_what_the_rfc_says() {
    run(http2::FRAMES);
    run(http2::STREAMS);
}

#[test]
fn each_kind_of_frame_is_what_the_rfc_says() {
    run(http2::KINDS);
}

#[test]
fn requests_are_what_the_rfc_says() {
    run(http2::REQUESTS);
}

#[test]
fn header_compression_is_what_the_rfc_says() {
    run(hpack::CASES);
}
