//! The admin listener's sockets, and who may use them.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener as StdTcpListener},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use sluicegate_admin::{Api, Desk, Guard, Listener, Status, Telemetry};
use sluicegate_control::{
    Board,
    config::{Admin, TokenSource},
};
use sluicegate_proxy::OpenSocket;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::oneshot,
};

use crate::socket_file::SocketFile;

/// Shorter ones can be found out by trying.
const MIN_TOKEN_BYTES: usize = 16;

/// Listens, and answers nobody yet.
pub(crate) struct Bound {
    tcp: Option<(TcpListener, OpenSocket)>,
    unix: Option<(UnixListener, SocketFile)>,
    token: Option<String>,
}

/// Answers, until it is dropped.
pub(crate) struct AdminListener {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) socket: Option<PathBuf>,
    /// For the next process.
    pub(crate) shared: Option<OpenSocket>,
    _stops: Vec<oneshot::Sender<()>>,
    _file: Option<SocketFile>,
}

impl Bound {
    /// Listens where the configuration says. With `inherited`, another process does so as well, and is about to go.
    pub(crate) async fn listen(admin: &Admin, inherited: Option<OpenSocket>, upgrades: bool) -> Result<Self> {
        let token = admin.token.as_ref().map(token).transpose()?;
        let tcp = match admin.address {
            Some(address) => Some(listen_at(address, inherited).await?),
            None => None,
        };
        let unix = admin.socket.as_deref().map(|path| listen_in(path, upgrades)).transpose()?;
        Ok(Self { tcp, unix, token })
    }

    /// Begins to answer.
    pub(crate) fn serve(self, telemetry: &Telemetry, board: &Arc<Board>) -> Result<AdminListener> {
        let Self { tcp, unix, token } = self;
        let (mut stops, mut address, mut shared, mut file) = (Vec::new(), None, None, None);
        let mut serve = |listener, guard: Guard| {
            let guard = match &token {
                Some(token) => guard.with_token(token),
                None => guard,
            };
            let (status, api): (Arc<dyn Status>, Arc<dyn Api>) =
                (Arc::<Board>::clone(board), Arc::<Board>::clone(board));
            let desk = Desk { telemetry: telemetry.clone(), status, api, guard: guard.into() };
            let (stop, stopped) = oneshot::channel::<()>();
            tokio::spawn(sluicegate_admin::serve(listener, desk, async {
                // Nothing is ever sent: the other end is dropped.
                let _ = stopped.await;
            }));
            stops.push(stop);
        };
        if let Some((listener, open)) = tcp {
            address = Some(listener.local_addr()?);
            shared = Some(open);
            serve(Listener::Tcp(listener), Guard::of_loopback());
        }
        if let Some((listener, mut socket)) = unix {
            socket.take_place()?;
            file = Some(socket);
            serve(Listener::Unix(listener), Guard::of_socket());
        }
        let socket = file.as_ref().map(|file: &SocketFile| file.path.clone());
        Ok(AdminListener { address, socket, shared, _stops: stops, _file: file })
    }
}

/// The token that all but probes and scrapers need.
pub(crate) fn token(source: &TokenSource) -> Result<String> {
    let (token, place) = match source {
        TokenSource::File(path) => {
            let text = fs::read_to_string(path);
            (text.with_context(|| format!("admin.token_file: can't read {}", path.display()))?, "token_file")
        }
        TokenSource::Environment(name) => {
            (env::var(name).with_context(|| format!("admin.token_env: {name} is not set"))?, "token_env")
        }
    };
    let token = token.lines().next().unwrap_or_default().trim();
    if token.len() < MIN_TOKEN_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!(
            "admin.{place}: the token must have {MIN_TOKEN_BYTES} visible ASCII characters at least: `openssl rand -hex 32` \
             makes a good one"
        );
    }
    Ok(token.to_owned())
}

/// A listener, and the same once more for the next process.
async fn listen_at(address: SocketAddr, inherited: Option<OpenSocket>) -> Result<(TcpListener, OpenSocket)> {
    let inherited = inherited.map(|open| (open.address, StdTcpListener::from(open.socket)));
    let fits = |asked, listener: &StdTcpListener| {
        asked == address || listener.local_addr().is_ok_and(|local| local == address)
    };
    let listener = match inherited {
        Some((asked, listener)) if fits(asked, &listener) => TcpListener::from_std(listener)?,
        _ => {
            let bound = TcpListener::bind(address).await;
            bound.with_context(|| format!("can't bind the admin address {address}"))?
        }
    };
    let socket = listener.as_fd().try_clone_to_owned()?;
    Ok((listener, OpenSocket { address, socket }))
}

/// A Unix socket beside its place, in which only a predecessor's may be.
fn listen_in(path: &Path, upgrades: bool) -> Result<(UnixListener, SocketFile)> {
    if !upgrades && SocketFile::is_taken(path) {
        bail!("admin.socket: another process listens at {}", path.display());
    }
    SocketFile::listen("admin.socket", path)
}
