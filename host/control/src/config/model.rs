//! What a valid configuration says. Every default has its reason beside it.

use std::{collections::BTreeMap, net::SocketAddr, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

use http::uri::{Authority, PathAndQuery};
use sluicegate_core::{AvailabilitySpec, EndpointSpec, HealthSpec, OutlierSpec, SlowStart};
use sluicegate_policy::Digest;
use sluicegate_proxy::{ClientLimits, ClusterSettings, Forwarding, Route};
use sluicegate_wire::{
    forwarded::Cidr,
    path::{PathRules, Separator},
};

use crate::trust::PublicKey;

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where clients connect to; at least one.
    pub listeners: Vec<Listener>,
    /// Which requests go where; at least one, in the order of the file, no two for the same requests.
    pub routes: Vec<Route>,
    /// The groups of endpoints, by name. Every route's cluster is in here.
    pub clusters: BTreeMap<Arc<str>, Cluster>,
    /// Where the operator's requests are answered; nowhere without an `[admin]` section.
    pub admin: Option<Admin>,
    /// How the process runs.
    pub runtime: Runtime,
    /// `[limits]`: what clients may take up, all workers together. Its defaults have their reasons where it is.
    pub limits: ClientLimits,
    /// What is logged, and how.
    pub log: Log,
    /// What policies may use.
    pub policy: PolicyLimits,
    /// Who is asked for the addresses of names.
    pub dns: Dns,
}

/// A `[[listener]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Where it listens. Port 0 leaves the choice to the system.
    pub address: SocketAddr,
    /// Whether HTTP/2 is spoken: by default where there is TLS, which lets both sides agree on it. Without TLS, clients
    /// have to know it beforehand, as some gRPC clients do.
    pub http2: bool,
    /// The networks whose connections have to begin with a PROXY header (version 1 or 2), which says whom they come
    /// from; nobody's by default, as whoever may say that can be anyone. From elsewhere such a header is refused.
    pub proxy_protocol: Vec<Cidr>,
    /// `trusted_hops`, `trusted_proxies`, `forwarded`, `request_id` and `trace`: whom to believe who the client is, and
    /// what the endpoints are told. Its defaults have their reasons where it is.
    pub forwarding: Forwarding,
    /// `path_normalization`: how paths are brought into one form, before routes are looked up and for the endpoints, so
    /// that no other spelling gets past a route: [`Listener::PATH_RULES`] by default. As they come when `None`.
    pub path_rules: Option<PathRules>,
    /// `[listener.tls]`: TLS 1.2 and 1.3; plain TCP when `None`.
    pub tls: Option<ListenerTls>,
}

impl Listener {
    /// Slashes are merged, because most servers of files do so: a route for `/admin` should not be passed by with
    /// `//admin`. Where names may contain two, as in object stores, it has to be turned off. A `%2F` is kept, because
    /// names with a slash are sent so on purpose; a backslash is refused, because browsers and some servers take it for
    /// a slash, and no path needs it.
    pub const PATH_RULES: PathRules =
        PathRules { merge_slashes: true, escaped_slash: Separator::Keep, backslash: Separator::Refuse };
}

/// A listener's `tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// At least one. A client gets the first that is good for the host that it names, or else the very first.
    pub certificates: Vec<CertificateFiles>,
    /// The certificates of those who sign the clients'; clients are not asked for any when `None`.
    pub client_ca: Option<PathBuf>,
    /// What is asked of clients where there is a `client_ca`: [`ClientCertificates::Required`] by default.
    pub client_certificates: ClientCertificates,
}

/// A certificate with its chain, and its private key: two PEM files, with relative paths already joined to the
/// configuration's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those that lead from it to one that the other side knows.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nobody comes in without one.
    Required,
    /// Who has none comes in without an identity; a bad one is refused.
    Optional,
}

/// A cluster's `tls`: `true` is a table with nothing in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterTls {
    /// The certificates of those who sign the endpoints'; whom the system trusts when `None`.
    pub ca: Option<PathBuf>,
    /// The name that the endpoints' certificates must have, and that they are asked for; their IP address when `None`.
    pub server_name: Option<String>,
    /// The proxy's own, for endpoints that ask for one.
    pub certificate: Option<CertificateFiles>,
}

/// A `[cluster.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Who picks the endpoint.
    pub policy: PolicySpec,
    /// Who can be picked; no two with the same address. May be empty: requests are then answered with 503.
    pub endpoints: Vec<EndpointSpec>,
    /// Where they come from, if they are not listed here.
    pub discovery: Option<Discovery>,
    /// Which of them policies see.
    pub eligibility: Eligibility,
    /// How requests are sent. Its `tls` is not made yet: that takes reading files.
    pub settings: ClusterSettings,
    /// How connections are secured: plain TCP by default.
    pub tls: Option<ClusterTls>,
}

/// What decides which of a cluster's endpoints may be picked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Eligibility {
    /// `[cluster.NAME.health]`: nobody is asked how it is when `None`, as only the operator knows what to ask for.
    pub health: Option<HealthCheck>,
    /// `[cluster.NAME.outlier]`: nobody is put aside for bad answers when `None`. Off by default, because a client can
    /// cause them, too: a 500 for one kind of request must not take a good endpoint away from all the others unless
    /// the operator says so.
    pub outlier: Option<OutlierSpec>,
    /// `panic_threshold_percent`, and when to go to the next priority.
    pub availability: AvailabilitySpec,
    /// `slow_start_ms`: off by default.
    pub slow_start: SlowStart,
}

/// A `[cluster.NAME.health]`: active health checks.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What is asked.
    pub question: Question,
    /// The port to ask at; the endpoint's own when `None`.
    pub port: Option<u16>,
    /// When, how long, how often.
    pub spec: HealthSpec,
}

/// What a health check asks an endpoint: `kind`.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// `kind = "http"`, the default: GET, over the cluster's TLS and protocol.
    Http {
        /// `/` by default, the one path that every server has.
        path: PathAndQuery,
        /// The endpoint's address when `None`.
        host: Option<Authority>,
        /// The statuses that are good: 200 to 399 by default, as in HAProxy and NGINX Plus.
        expect: Vec<RangeInclusive<u16>>,
    },
    /// `kind = "tcp"`: whether it accepts a connection.
    Tcp,
    /// `kind = "grpc"`: gRPC's own health service (grpc.health.v1), over the cluster's TLS.
    Grpc {
        /// Which service to ask about; the server as a whole when empty, the default.
        service: String,
        /// The endpoint's address when `None`.
        host: Option<Authority>,
    },
}

/// Where a cluster's endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// A TOML file with an `endpoints` list, which is watched; relative paths are already joined to the configuration's
    /// directory.
    File(PathBuf),
    /// DNS.
    Dns(Lookup),
}

/// What DNS is asked for. Names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// All addresses (A and AAAA) of a host.
    Addresses {
        /// Its name.
        host: String,
        /// Every endpoint's port.
        port: u16,
    },
    /// The hosts, ports and weights of a service's SRV records (RFC 2782).
    Service(String),
}

impl Discovery {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Dns(_) => None,
        }
    }
}

/// The `[dns]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Who is asked, in this order; those of `/etc/resolv.conf` when empty.
    pub servers: Vec<SocketAddr>,
}

/// Which policy, and what it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySpec {
    /// Where the policy comes from.
    pub source: PolicySource,
    /// The policy's own configuration: always an object. Dates of the file are strings in it.
    pub config: serde_json::Value,
    /// What its file must be, to the bit; whatever it is when `None`.
    pub sha256: Option<Digest>,
}

impl Default for PolicySpec {
    /// The built-in `p2c`: two random choices come close to the best spread with no tuning (Mitzenmacher, "The Power
    /// of Two Choices in Randomized Load Balancing", 2001).
    fn default() -> Self {
        Self { source: PolicySource::Builtin("p2c".into()), config: serde_json::json!({}), sha256: None }
    }
}

/// Where a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// It comes with the proxy, under this name.
    Builtin(String),
    /// It is a wasm file, with relative paths already joined to the configuration's directory.
    File(PathBuf),
}

/// The `[admin]` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Where it listens: 127.0.0.1:8081 by default, as what it shows and does is not for strangers; nowhere by default
    /// where there is a socket.
    pub address: Option<SocketAddr>,
    /// A Unix socket where it listens, too, for this user alone. A relative path is already joined to the
    /// configuration's directory.
    pub socket: Option<PathBuf>,
    /// What those have to know who look at policies or change them: nothing by default, as those who can connect to a
    /// loopback address are on this machine; needed for any other address.
    pub token: Option<TokenSource>,
}

/// Where the admin listener's token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// `token_file`: the first line of this file.
    File(PathBuf),
    /// `token_env`: an environment variable of this name.
    Environment(String),
}

/// The `[runtime]` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Runtime {
    /// How many threads serve requests; one per core when `None`.
    pub workers: Option<usize>,
    /// `drain_timeout_ms`, how long requests may take to finish at a stop: 10,000 by default, so that a stop is over
    /// well before the 30 s after which orchestrators kill.
    pub drain_timeout: Duration,
    /// Where a new process meets this one, to take over its listening sockets: nowhere by default. A Unix socket, with
    /// a relative path already joined to the configuration's directory.
    pub upgrade_socket: Option<PathBuf>,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { workers: None, drain_timeout: Duration::from_millis(10_000), upgrade_socket: None }
    }
}

/// The `[log]` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// How lines look: [`LogFormat::Auto`] by default.
    pub format: LogFormat,
    /// What is worth a line: `info` by default, which is silent about single requests except for the access log.
    pub level: tracing::Level,
    /// Whether every request gets a line: yes by default, because the first question after an incident is who asked
    /// what.
    pub access: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: tracing::Level::INFO, access: true }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere: whoever reads a pipe is a program.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The `[policy]` section: what each instance of a policy may use.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyLimits {
    /// `pick_timeout_ms`: 1 by default. A pick takes about a microsecond; one that takes a thousand times that holds
    /// up every request of its worker.
    pub pick_timeout: Duration,
    /// `setup_timeout_ms`, for whatever is not on a request's path, such as the start of an instance: 1000 by default,
    /// as long as an operator gladly waits for a new policy.
    pub setup_timeout: Duration,
    /// `memory_mib`: 64 by default, room for tables over ten thousand endpoints, and still small with an instance per
    /// worker.
    pub memory_mib: u32,
    /// `trusted_keys`: whose signatures policies' files need; none by default, which lets any file in, as who may write it
    /// may mostly do worse.
    pub trusted_keys: Vec<PublicKey>,
    /// `cache`: where compiled policies are kept, so that a restart does not compile them again.
    pub cache: ModuleCache,
}

impl Default for PolicyLimits {
    fn default() -> Self {
        Self {
            pick_timeout: Duration::from_millis(1),
            setup_timeout: Duration::from_millis(1000),
            memory_mib: 64,
            trusted_keys: Vec::new(),
            cache: ModuleCache::Default,
        }
    }
}

/// Where compiled policies are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleCache {
    /// `cache = true`, or nothing said: in the user's cache directory, which the caller knows.
    Default,
    /// `cache = false`: nowhere.
    Off,
    /// `cache = "DIRECTORY"`, with a relative path already joined to the configuration's directory.
    Directory(PathBuf),
}
