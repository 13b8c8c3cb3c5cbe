//! The `[admin]` section, and whose policies are trusted.

use std::{net::SocketAddr, path::Path};

use super::{Admin, Listener, TokenSource, read::address, tree::Node};
use crate::trust::PublicKey;

// A team has a few, and one or two that are on their way out.
const MAX_KEYS: usize = 100;

pub(super) fn admin(node: &Node<'_>, dir: &Path, listeners: &[Listener]) -> Option<Admin> {
    let table = node.table(&["address", "socket", "token_file", "token_env"], "a table: write [admin]")?;
    let path = |key, what| table.or(key, None, |node: &Node<'_>| Some(Some(dir.join(node.text(what)?))));
    let socket = path("socket", "the path of a Unix socket");
    let token_file = path("token_file", "the path of a file with a token in it");
    let token_env =
        table.or("token_env", None, |node| Some(Some(node.text("the name of an environment variable")?.to_owned())));
    let token = match (token_file, token_env) {
        (Some(_), Some(_)) => {
            return table.node.error("must have a token_file or a token_env, not both");
        }
        (Some(file), None) => Some(TokenSource::File(file)),
        (None, Some(name)) => Some(TokenSource::Environment(name)),
        (None, None) => None,
    };
    let default = (socket.is_none()).then_some(SocketAddr::from(([127, 0, 0, 1], 8081)));
    let address = table.or("address", default, |node| address(node).map(Some));
    if let Some(address) = address {
        let error = |message: String| table.get("address").as_ref().unwrap_or(&table.node).error(message);
        if address.port() != 0 && listeners.iter().any(|listener| listener.address == address) {
            return error(format!("{address} is a listener's address"));
        }
        if !address.ip().is_loopback() && token.is_none() {
            return error(format!(
                "{address} can be reached from other machines, and whoever reaches it can replace policies: add \
                 token_file = \"PATH\" or token_env = \"NAME\", or listen at 127.0.0.1 or at a socket"
            ));
        }
    }
    Some(Admin { address, socket, token })
}

/// `[policy] trusted_keys`.
pub(super) fn trusted_keys(node: &Node<'_>) -> Option<Vec<PublicKey>> {
    const SHOULD: &str = "an Ed25519 public key: 64 hexadecimal digits, as `sluicegate keygen` prints them";
    let nodes = node.array(MAX_KEYS, "a list of public keys, such as `sluicegate keygen` prints them")?;
    let keys = nodes.iter().filter_map(|node| match PublicKey::parse(node.text(SHOULD)?) {
        Some(key) => Some(key),
        None => node.mismatch(SHOULD),
    });
    Some(keys.collect())
}
