//! What a route changes on the way: paths and headers.

use http::{
    HeaderName, HeaderValue,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};
use sluicegate_proxy::{HeaderChanges, PathChange, Template};

use super::{
    route::{header_name, header_value, path, pattern},
    tree::{Node, Table},
};

// Each is copied into every message.
const MAX_HEADERS: usize = 64;

/// `path`, or `regex` and `with`. The outer `None` is an error.
pub(super) fn path_change(table: &Table<'_>) -> Option<Option<PathChange>> {
    match (table.get("path"), table.get("regex"), table.get("with")) {
        (None, None, None) => Some(None),
        (Some(node), None, None) => Some(Some(PathChange::Matched(path(&node)?.to_owned()))),
        (None, Some(regex), Some(with)) => {
            let pattern = pattern(&regex);
            let text = with.text("the path that takes the place of the old one, such as \"/new/$1\"");
            let (pattern, text) = (pattern?, text?);
            match Template::new(text, &pattern) {
                Ok(_) if text.contains(['?', '#', ' ']) => with.mismatch("a path, without '?', '#' or spaces"),
                Ok(template) => Some(Some(PathChange::Regex(pattern, template))),
                Err(error) => with.error(error),
            }
        }
        (_, Some(regex), None) => regex.error("needs with: the path that takes the place of the old one"),
        (_, None, Some(with)) => with.error("needs regex: what the path has to match"),
        (Some(_), Some(regex), Some(_)) => regex.error("path and regex exclude each other"),
    }
}

/// `{ set = { ... }, add = { ... }, remove = [...] }`.
pub(super) fn header_changes(node: &Node<'_>) -> Option<HeaderChanges> {
    let table = node.table(&["set", "add", "remove"], "a table such as { set = { x-env = \"test\" } }")?;
    let remove = table.or("remove", Vec::new(), |node| {
        let nodes = node.array(MAX_HEADERS, "a list of names")?;
        Some(nodes.iter().filter_map(|node| allowed(node, node.text("the name of a header")?)).collect())
    });
    let lines = |key| table.or(key, Vec::new(), |node| lines(node));
    Some(HeaderChanges { remove, set: lines("set"), add: lines("add") })
}

fn lines(node: &Node<'_>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let entries = node.entries(MAX_HEADERS, "a table of names and values")?;
    let parsed = entries.iter().filter_map(|(name, node)| {
        let value = header_value(node, "a header's value");
        Some((allowed(node, name)?, value?))
    });
    Some(parsed.collect())
}

/// A name that is not the proxy's own business: how long a message is, and what belongs to one connection only
/// (RFC 9110, section 7.6.1).
fn allowed(node: &Node<'_>, name: &str) -> Option<HeaderName> {
    let name = header_name(node, name)?;
    match name {
        HOST => node.error("can't be changed like this: write rewrite = { host = \"...\" }"),
        CONTENT_LENGTH | TRANSFER_ENCODING | TRAILER => {
            node.error(format_args!("{name} can't be changed: it says where a message ends, which the proxy settles"))
        }
        CONNECTION | EXPECT | PROXY_AUTHENTICATE | PROXY_AUTHORIZATION | TE | UPGRADE => hop(node, &name),
        _ if matches!(name.as_str(), "keep-alive" | "proxy-connection") => hop(node, &name),
        name => Some(name),
    }
}

fn hop<T>(node: &Node<'_>, name: &HeaderName) -> Option<T> {
    node.error(format_args!("{name} can't be changed: it belongs to one connection, and is never forwarded"))
}
