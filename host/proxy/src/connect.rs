//! From an endpoint's address to a stream that requests can go over.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use rustix::io::Errno;
use rustls::{ClientConfig, pki_types::ServerName};
use sluicegate_core::{Endpoint, Resource};
use sluicegate_wire::proxy_protocol::{Extras, encode_v1, encode_v2};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::TlsConnector;

use crate::{
    cluster::ClusterSettings,
    endpoint::WorkerEndpoint,
    failure::Failure,
    io::Stream,
    load::{Opened, place},
    tcp::Tcp,
};

/// What is spoken to a cluster's endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1: a connection for each request that is under way.
    #[default]
    Http1,
    /// HTTP/2: requests share connections. With TLS the endpoints have to agree to it (ALPN); without, they have to
    /// know it.
    Http2,
}

/// The header, ahead of everything else on a new connection, that tells an endpoint whom it is for (the PROXY protocol).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyProtocol {
    /// The header for a connection between these ends; without them, that of a connection of the proxy's own.
    pub fn header(self, ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
        match self {
            Self::V1 => encode_v1(ends).into(),
            // Without extras it is never too large.
            Self::V2 => encode_v2(ends, &Extras::default()).unwrap_or_default(),
        }
    }
}

/// How connections to a cluster's endpoints are secured.
#[derive(Clone)]
pub struct UpstreamTls {
    /// Who is trusted, and this proxy's own certificate. Its `alpn_protocols` must fit the cluster's protocol.
    pub config: Arc<ClientConfig>,
    /// The name that the endpoints' certificates must have; their address when there is none.
    pub server_name: Option<ServerName<'static>>,
}

impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.server_name == other.server_name
    }
}

impl Eq for UpstreamTls {}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// A new connection, within the cluster's `connect_timeout`, handshake included; and what counts it. `ends` are those
/// of which the endpoint is told, where it is; none for a connection that requests share.
pub(crate) async fn connect(
    endpoint: &WorkerEndpoint,
    settings: &ClusterSettings,
    ends: Option<(SocketAddr, SocketAddr)>,
) -> Result<(Stream, Opened), Failure> {
    let place = place(Arc::clone(&endpoint.load), Resource::Connections, settings)?;
    let core = &endpoint.endpoint;
    let name = || Arc::clone(&core.name);
    let timeout = settings.connect_timeout;
    match tokio::time::timeout(timeout, open(core, settings, ends)).await {
        Err(_) => Err(Failure::ConnectTimeout { endpoint: name(), timeout }),
        Ok(Err(source)) if is_of_this_side(&source) => Err(Failure::OutOfResources { source }),
        Ok(Err(source)) => Err(Failure::Connect { endpoint: name(), source }),
        Ok(Ok(stream)) => Ok((stream, Opened::new(endpoint, place))),
    }
}

/// Whether a connection failed for want of something on this side, such as file descriptors: it says nothing of who was
/// connected to.
pub fn is_of_this_side(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

async fn open(
    endpoint: &Endpoint,
    settings: &ClusterSettings,
    ends: Option<(SocketAddr, SocketAddr)>,
) -> io::Result<Stream> {
    let mut stream = TcpStream::connect(endpoint.spec.address).await?;
    // Without it a small request could wait for the answer to an earlier one; it fails only on a dead socket.
    let _ = stream.set_nodelay(true);
    if let Some(version) = settings.proxy_protocol {
        stream.write_all(&version.header(ends)).await?;
    }
    let Some(tls) = &settings.tls else { return Ok(Stream::Plain(Tcp::new(stream))) };
    let address = || ServerName::IpAddress(endpoint.spec.address.ip().into());
    let name = tls.server_name.clone().unwrap_or_else(address);
    let stream = TlsConnector::from(Arc::clone(&tls.config)).connect(name, Tcp::new(stream)).await?;
    if settings.protocol == UpstreamProtocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other("it does not agree to HTTP/2"));
    }
    Ok(Stream::Tls(Box::new(stream.into())))
}
