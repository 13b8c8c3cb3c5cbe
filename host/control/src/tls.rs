//! From certificate files to what rustls works with.
//!
//! TLS 1.2 and 1.3 only: rustls knows no older ones.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use sluicegate_proxy::{ClusterSettings, UpstreamProtocol, UpstreamTls};

use crate::config::{CertificateFiles, ClientCertificates, Cluster, ClusterTls, Config, Listener, ListenerTls};

/// What connections are secured with, read from the files that a configuration names.
pub(crate) struct Secured {
    /// In the order of the configuration.
    pub(crate) listeners: Vec<Option<Arc<ServerConfig>>>,
    clusters: BTreeMap<Arc<str>, UpstreamTls>,
}

impl Secured {
    /// All of it, or all that is wrong, each with its key.
    pub(crate) fn load(config: &Config) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let mut refused = |key: String, error: String| errors.push(format!("{key}: {error}"));
        let mut listeners = Vec::new();
        for (index, listener) in config.listeners.iter().enumerate() {
            match for_listener(listener) {
                Ok(tls) => listeners.push(tls),
                Err(error) => refused(format!("listener[{index}].tls"), error),
            }
        }
        let mut clusters = BTreeMap::new();
        for (name, cluster) in &config.clusters {
            match cluster.tls.as_ref().map(|tls| for_cluster(tls, cluster.settings.protocol)) {
                Some(Ok(tls)) => drop(clusters.insert(Arc::clone(name), tls)),
                Some(Err(error)) => refused(format!("cluster.{name}.tls"), error),
                None => {}
            }
        }
        if errors.is_empty() { Ok(Self { listeners, clusters }) } else { Err(errors) }
    }

    /// A cluster's settings, with its TLS.
    pub(crate) fn settings(&self, name: &str, cluster: &Cluster) -> ClusterSettings {
        ClusterSettings { tls: self.clusters.get(name).cloned(), ..cluster.settings.clone() }
    }
}

/// What a listener secures its connections with. None without TLS. The error names the file.
pub fn for_listener(listener: &Listener) -> Result<Option<Arc<ServerConfig>>, String> {
    let Some(tls) = &listener.tls else { return Ok(None) };
    let certificates = Certificates::new(tls.certificates.iter().map(certified_key).collect::<Result<_, _>>()?);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match client_verifier(tls)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = alpn(listener.http2, true);
    // Shared by all workers, so that a client may resume its session on any of them.
    config.ticketer = ring::Ticketer::new().map_err(|error| format!("no session tickets: {error}"))?;
    Ok(Some(Arc::new(config)))
}

/// What connections to a cluster's endpoints are secured with. The error names the file.
pub(crate) fn for_cluster(tls: &ClusterTls, protocol: UpstreamProtocol) -> Result<UpstreamTls, String> {
    let roots = match &tls.ca {
        Some(path) => Arc::new(roots_in(path)?),
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match &tls.certificate {
        Some(files) => {
            let (chain, key) = (chain_in(&files.certificate)?, key_in(&files.key)?);
            builder.with_client_auth_cert(chain, key).map_err(|error| at(&files.key, error))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn(protocol == UpstreamProtocol::Http2, protocol == UpstreamProtocol::Http1);
    let server_name = match &tls.server_name {
        Some(name) => Some(ServerName::try_from(name.clone()).map_err(|error| format!("{name}: {error}"))?),
        None => None,
    };
    Ok(UpstreamTls { config: Arc::new(config), server_name })
}

impl Listener {
    /// The files that its TLS is made of.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.tls.iter().flat_map(|tls| {
            tls.certificates.iter().flat_map(|files| [&files.certificate, &files.key]).chain(&tls.client_ca)
        })
    }
}

impl ClusterTls {
    /// The files that it is made of.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.certificate.iter().flat_map(|files| [&files.certificate, &files.key]).chain(&self.ca)
    }
}

/// A listener's certificates, found by name without a look at each: there may be thousands.
#[derive(Debug)]
struct Certificates {
    /// The first one is for clients that name no host, or none of ours.
    all: Vec<Arc<CertifiedKey>>,
    /// By the names that they are good for, `*.` and all; in the order of the configuration.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    fn new(all: Vec<Arc<CertifiedKey>>) -> Self {
        let mut by_name = HashMap::<_, Vec<_>>::new();
        for key in &all {
            let end = key.end_entity_cert().ok().and_then(|end| webpki::EndEntityCert::try_from(end).ok());
            for name in end.iter().flat_map(|end| end.valid_dns_names()) {
                by_name.entry(name.to_ascii_lowercase()).or_default().push(Arc::clone(key));
            }
        }
        Self { all, by_name }
    }
}

impl ResolvesServerCert for Certificates {
    /// The name itself goes before a wildcard; of several certificates for a name (as with keys of two kinds), the first
    /// that the client can check.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().unwrap_or_default().to_ascii_lowercase();
        let wildcard = asked.split_once('.').map_or_else(String::new, |(_, parent)| ["*.", parent].concat());
        let named = [asked, wildcard].into_iter().flat_map(|name| self.by_name.get(&name)).flatten();
        let schemes = hello.signature_schemes();
        let is_for_client = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        named.chain(&self.all).find(is_for_client).or(self.all.first()).cloned()
    }
}

fn certified_key(files: &CertificateFiles) -> Result<Arc<CertifiedKey>, String> {
    let (chain, key) = (chain_in(&files.certificate)?, key_in(&files.key)?);
    // Also looks whether the two belong together.
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(|error| at(&files.key, error))
}

fn client_verifier(tls: &ListenerTls) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let Some(path) = &tls.client_ca else { return Ok(None) };
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots_in(path)?), provider());
    let builder = match tls.client_certificates {
        ClientCertificates::Required => builder,
        ClientCertificates::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map(Some).map_err(|error| at(path, error))
}

fn chain_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| at(path, error))?;
    let chain = found.collect::<Result<Vec<_>, _>>().map_err(|error| at(path, error))?;
    if chain.is_empty() { Err(at(path, "there is no certificate in it")) } else { Ok(chain) }
}

fn key_in(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| at(path, error))
}

fn roots_in(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in chain_in(path)? {
        roots.add(certificate).map_err(|error| at(path, error))?;
    }
    Ok(roots)
}

/// Whom the system trusts. Read once: it takes some milliseconds.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        return Err("this system trusts no certificates: name those that sign the endpoints' as tls.ca".into());
    }
    Ok(Arc::clone(roots))
}

fn alpn(http2: bool, http1: bool) -> Vec<Vec<u8>> {
    let offers = [(http2, "h2"), (http1, "http/1.1")];
    offers.into_iter().filter(|(offered, _)| *offered).map(|(_, name)| name.into()).collect()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn at(path: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}
