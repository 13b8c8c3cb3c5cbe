//! Where endpoints come from when the configuration does not list them.

use std::{net::SocketAddr, path::Path};

use simple_dns::Name;

use super::{Discovery, Dns, Lookup, read::address, tree::Node};

// A resolver is asked after another; who waits for more than a few has given up.
const MAX_SERVERS: usize = 8;

const SHOULD: &str =
    "a list of endpoints, { file = \"...\" }, { dns = \"NAME:PORT\" } or { srv = \"_http._tcp.NAME\" }";

/// A cluster's `endpoints`, where they are a table.
pub(super) fn discovery(node: &Node<'_>, dir: &Path) -> Option<Discovery> {
    let table = node.table(&["file", "dns", "srv"], SHOULD)?;
    match (table.get("file"), table.get("dns"), table.get("srv")) {
        (Some(file), None, None) => Some(Discovery::File(dir.join(file.text("the path of a TOML file")?))),
        (None, Some(dns), None) => host_and_port(&dns).map(Discovery::Dns),
        (None, None, Some(srv)) => {
            let name = srv.text("a name, such as \"_http._tcp.api\"")?;
            Some(Discovery::Dns(Lookup::Service(host(&srv, name)?)))
        }
        _ => node.error(format_args!("must have one of file, dns and srv: write {SHOULD}")),
    }
}

/// The `[dns]` section.
pub(super) fn dns(node: &Node<'_>) -> Option<Dns> {
    let table = node.table(&["servers"], "a table: write [dns]")?;
    let servers = table.or("servers", Vec::new(), |node| {
        let nodes = node.array(MAX_SERVERS, "a list of addresses, such as [\"127.0.0.1:53\"]")?;
        Some(nodes.iter().filter_map(address).collect::<Vec<SocketAddr>>())
    });
    Some(Dns { servers })
}

fn host_and_port(node: &Node<'_>) -> Option<Lookup> {
    const SHOULD: &str = "a name and a port, such as \"api.internal:8080\"";
    let text = node.text(SHOULD)?;
    if text.parse::<SocketAddr>().is_ok() {
        return node.error("is an address, which needs no look-up: list it");
    }
    let Some((name, port)) = text.rsplit_once(':') else { return node.mismatch(SHOULD) };
    match port.parse() {
        Ok(port @ 1..) => Some(Lookup::Addresses { host: host(node, name)?, port }),
        _ => node.mismatch(SHOULD),
    }
}

fn host(node: &Node<'_>, name: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(is_plain) || Name::new(name).is_err() {
        return node.error(format_args!(
            "{name:?} is no name that can be looked up: letters, digits, '-' and '_' in parts of up to 63, with dots"
        ));
    }
    Some(name.to_ascii_lowercase())
}
