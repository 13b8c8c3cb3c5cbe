//! The `[limits]` section: what clients may take up.

use sluicegate_proxy::ClientLimits;
use sluicegate_wire::framing::{OddNames, Rules};

use super::{
    read::{MAX_LONG_MS, millis},
    tree::Node,
};

// As many as a process can have open by far.
const MAX_CONNECTIONS: u32 = 10_000_000;
// A byte of head costs a client less than it costs this side; and hyper reads no more than 400 KiB ahead.
const MAX_HEAD: u32 = 256 << 10;
// Ten times what anybody has been seen to send.
const MAX_HEADERS: u32 = 1000;
// More at a time on one connection than most servers serve altogether.
const MAX_STREAMS: u32 = 10_000;

/// All of it; what is not said is as by default.
pub(super) fn limits(node: &Node<'_>) -> Option<ClientLimits> {
    const KEYS: &[&str] = &[
        "connections",
        "connections_per_client",
        "streams",
        "handshake_timeout_ms",
        "head_timeout_ms",
        "idle_timeout_ms",
        "write_timeout_ms",
        "request_line_bytes",
        "header_bytes",
        "headers",
        "odd_header_names",
    ];
    const ODD_NAMES: &[(&str, OddNames)] =
        &[("allow", OddNames::Allow), ("refuse-aliases", OddNames::RefuseAliases), ("refuse", OddNames::Refuse)];
    let table = node.table(KEYS, "a table: write [limits]")?;
    let default = ClientLimits::default();
    let time = |key, default| table.or(key, default, |node| millis(node, 1..=MAX_LONG_MS));
    let count = |key, default, most| table.or(key, default, |node| node.integer(1..=most).map(|count| count as usize));
    Some(ClientLimits {
        connections: count("connections", default.connections, MAX_CONNECTIONS),
        connections_per_client: table.or("connections_per_client", default.connections_per_client, |node| {
            node.integer(1..=MAX_CONNECTIONS).map(|count| Some(count as usize))
        }),
        streams: table.or("streams", default.streams, |node| node.integer(1..=MAX_STREAMS)),
        handshake_timeout: time("handshake_timeout_ms", default.handshake_timeout),
        head_timeout: time("head_timeout_ms", default.head_timeout),
        idle_timeout: time("idle_timeout_ms", default.idle_timeout),
        write_timeout: time("write_timeout_ms", default.write_timeout),
        head: Rules {
            request_line_bytes: count("request_line_bytes", default.head.request_line_bytes, MAX_HEAD),
            header_bytes: count("header_bytes", default.head.header_bytes, MAX_HEAD),
            header_count: count("headers", default.head.header_count, MAX_HEADERS),
            odd_names: table.or("odd_header_names", default.head.odd_names, |node| node.choice(ODD_NAMES)),
            ..default.head
        },
    })
}
