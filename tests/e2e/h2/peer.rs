//! A client that says what it is told, and looks at what comes back.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, pem::PemObject},
};
use sluicegate_tests::Proxy;

use super::frames::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a proxy listens, and how.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Door {
    /// HTTP/2 known beforehand.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// HTTP/2 over TLS, whose authority's certificate is in `ca.pem`.
    pub(crate) fn tls(proxy: &Proxy, address: SocketAddr) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(proxy.path("ca.pem")).unwrap()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { address, tls: Some(Arc::new(config)) }
    }

    /// A connection on which nothing was said yet.
    pub(crate) fn open(&self) -> Peer {
        let tcp = TcpStream::connect(self.address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = "127.0.0.1".try_into().unwrap();
                Box::new(StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), tcp))
            }
        };
        Peer { stream }
    }

    /// A connection that has said hello, with these settings.
    pub(crate) fn greet(&self, values: &[(u16, u32)]) -> Peer {
        let mut peer = self.open();
        peer.send(&[PREFACE, &settings(values)].concat());
        peer
    }
}

trait Stream: Read + Write {
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of an RST_STREAM or a GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        self.payload.get(at..at + 4).map_or(u32::MAX, |code| u32::from_be_bytes(code.try_into().unwrap()))
    }

    fn is_last(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// A client's connection.
pub(crate) struct Peer {
    stream: Box<dyn Stream>,
}

/// What was expected, or what came instead.
pub(crate) type Seen = Result<(), String>;

impl Peer {
    /// Says something. A connection that is closed already is seen when something is read.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    pub(crate) fn set_write_timeout(&self, timeout: Duration) {
        self.stream.tcp().set_write_timeout(Some(timeout)).unwrap();
    }

    /// Says something again and again, until the time for a write is over or the connection is. Whether it is.
    pub(crate) fn flood(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush())
    }

    /// The next frame; none at the end. SETTINGS are acknowledged.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, String> {
        let mut start = [0; 9];
        if let Err(error) = self.stream.read_exact(&mut start) {
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err("nothing came".to_owned()),
                _ => Ok(None),
            };
        }
        let mut payload = vec![0; u32::from_be_bytes([0, start[0], start[1], start[2]]) as usize];
        if self.stream.read_exact(&mut payload).is_err() {
            return Ok(None);
        }
        let [_, _, _, kind, flags, stream @ ..] = start;
        if kind == SETTINGS && flags & ACK == 0 {
            self.send(&frame(SETTINGS, ACK, 0, b""));
        }
        Ok(Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload }))
    }

    /// The next frame that fits.
    pub(crate) fn find(&mut self, what: &str, fits: impl Fn(&Frame) -> bool) -> Result<Frame, String> {
        let mut others = Vec::new();
        loop {
            match self.next() {
                Ok(Some(frame)) if fits(&frame) => return Ok(frame),
                Ok(Some(frame)) => others.push((frame.kind, frame.flags, frame.stream, frame.code())),
                Ok(None) => return Err(format!("{what}: the end came, after {others:?}")),
                Err(error) => return Err(format!("{what}: {error}, after {others:?}")),
            }
        }
    }

    /// The connection ends, and the client hears which of these codes it ends with.
    pub(crate) fn ends(mut self, codes: &[u32]) -> Seen {
        let farewell = self.find("a farewell", |frame| frame.kind == GOAWAY)?;
        if !codes.contains(&farewell.code()) {
            return Err(format!("GOAWAY with {} and not {codes:?}", farewell.code()));
        }
        self.closes()
    }

    /// The connection ends.
    pub(crate) fn closes(mut self) -> Seen {
        while self.next()?.is_some() {}
        Ok(())
    }

    /// The stream ends with one of these codes, or the connection does.
    pub(crate) fn refuses(mut self, stream: u32, codes: &[u32]) -> Seen {
        let is_end = |frame: &Frame| frame.kind == GOAWAY || frame.kind == RST_STREAM && frame.stream == stream;
        let end = self.find("an end", is_end)?;
        let expected = if codes.contains(&end.code()) { Ok(()) } else { Err(()) };
        expected.map_err(|()| format!("frame {} with {} and not {codes:?}", end.kind, end.code()))
    }

    /// The request on a stream gets an answer of status 200, with all of its body.
    pub(crate) fn answers(&mut self, stream: u32) -> Seen {
        let head = self.find("an answer", |frame| frame.kind == HEADERS && frame.stream == stream)?;
        if head.payload.first() != Some(&0x88) {
            return Err(format!("the answer begins with {:?}", &head.payload[..head.payload.len().min(4)]));
        }
        if !head.is_last() {
            self.find("an end", |frame| frame.stream == stream && frame.is_last())?;
        }
        Ok(())
    }

    /// Data of this length comes.
    pub(crate) fn gives(&mut self, stream: u32, length: usize) -> Seen {
        let data = self.find("data", |frame| frame.kind == DATA && frame.stream == stream)?;
        if data.payload.len() == length { Ok(()) } else { Err(format!("{} bytes of data", data.payload.len())) }
    }

    /// Nothing has happened: a PING is answered as ever.
    pub(crate) fn goes_on(&mut self) -> Seen {
        self.send(&frame(PING, 0, 0, b"h2suite!"));
        let answer = self.find("the answer to PING", |frame| {
            matches!(frame.kind, GOAWAY | RST_STREAM) || frame.kind == PING && frame.flags & ACK != 0
        })?;
        if answer.kind == PING && answer.payload == b"h2suite!" { Ok(()) } else { Err(format!("{answer:?}")) }
    }
}
