//! What the file says of TLS. Nothing is read from the files that are named here: that is for whoever starts to use
//! them.

use std::path::{Path, PathBuf};

use super::{
    CertificateFiles, ClientCertificates, ClusterTls, ListenerTls,
    tree::{Node, Table},
};

// One for each name that a site has, many times over.
const MAX_CERTIFICATES: usize = 1000;

/// `[listener.tls]`.
pub(super) fn listener(node: &Node<'_>, dir: &Path) -> Option<ListenerTls> {
    const KEYS: &[&str] = &["certificates", "client_ca", "client_certificates"];
    const CHOICES: &[(&str, ClientCertificates)] =
        &[("required", ClientCertificates::Required), ("optional", ClientCertificates::Optional)];
    let table = node.table(KEYS, "a table with certificates")?;
    let help = "list { certificate = \"FILE\", key = \"FILE\" }; the first one is for clients that name no host";
    let certificates = table.required("certificates", help, |node| {
        let nodes = node.array(MAX_CERTIFICATES, "a list of { certificate = \"FILE\", key = \"FILE\" }")?;
        if nodes.is_empty() {
            return node.error("must not be empty: add { certificate = \"FILE\", key = \"FILE\" }");
        }
        let found = nodes.iter().filter_map(|node| {
            let table = node.table(&["certificate", "key"], "{ certificate = \"FILE\", key = \"FILE\" }")?;
            pair(&table, dir)
        });
        Some(found.collect::<Vec<_>>())
    });
    let client_ca = table.or("client_ca", None, |node| file(node, dir).map(Some));
    let asked = table.get("client_certificates").map(|node| (node.choice(CHOICES), node));
    if let (None, Some((_, node))) = (&client_ca, &asked) {
        return node.error("needs a client_ca: the file with the certificates of those who sign the clients'");
    }
    let client_certificates = asked.and_then(|(choice, _)| choice).unwrap_or(ClientCertificates::Required);
    Some(ListenerTls { certificates: certificates?, client_ca, client_certificates })
}

/// A cluster's `tls`: `true`, or a table.
pub(super) fn cluster(node: &Node<'_>, dir: &Path) -> Option<Option<ClusterTls>> {
    match node.as_bool() {
        Some(true) => return Some(Some(ClusterTls::default())),
        Some(false) => return Some(None),
        None => {}
    }
    let table = node.table(&["ca", "server_name", "certificate", "key"], "true, false or a table")?;
    let ca = table.or("ca", None, |node| file(node, dir).map(Some));
    let server_name = table.or("server_name", None, |node| {
        let name = node.text("a host name or an IP address, as the endpoints' certificates have it")?;
        match rustls::pki_types::ServerName::try_from(name) {
            Ok(_) => Some(Some(name.to_owned())),
            Err(_) => node.mismatch("a host name or an IP address, as the endpoints' certificates have it"),
        }
    });
    let certificate =
        if table.get("certificate").or_else(|| table.get("key")).is_some() { Some(pair(&table, dir)?) } else { None };
    Some(Some(ClusterTls { ca, server_name, certificate }))
}

fn pair(table: &Table<'_>, dir: &Path) -> Option<CertificateFiles> {
    let certificate =
        table.required("certificate", "name the file with the certificate and its chain, as PEM", |node| {
            file(node, dir)
        });
    let key = table.required("key", "name the file with the private key, as PEM", |node| file(node, dir));
    Some(CertificateFiles { certificate: certificate?, key: key? })
}

fn file(node: &Node<'_>, dir: &Path) -> Option<PathBuf> {
    Some(dir.join(node.text("the path of a PEM file")?))
}
