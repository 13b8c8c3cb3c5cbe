//! Upgrades without a gap: a new process takes over the listening sockets of the one that serves, which then drains.
//!
//! They meet at a Unix socket, `[runtime] upgrade_socket`, and speak lines of text:
//!
//! | new                    | old                                                                      |
//! |------------------------|--------------------------------------------------------------------------|
//! | `sluicegate upgrade 1` |                                                                          |
//! |                        | `listener 0.0.0.0:443` with a socket, for each listener and worker       |
//! |                        | `admin 127.0.0.1:8081` with a socket, if there is one                    |
//! |                        | `end`                                                                    |
//! | `serving`              |                                                                          |
//! |                        | `draining`                                                               |
//!
//! The sockets stay open all the time, so that whoever has connected is served by one of the two. Until it hears that
//! the new process serves, the old one goes on as if nothing had happened, and it stays so when that process ends.

mod door;
mod wire;

use std::{future::pending, io, net::SocketAddr, os::fd::AsFd as _, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use sluicegate_proxy::OpenSocket;
use tokio::{net::UnixStream, time::timeout};

pub(crate) use door::Door;
use wire::Wire;

/// What the new process says first. The number is that of the words that follow.
const HELLO: &str = "sluicegate upgrade 1";

/// How long an answer may take that needs no work: longer than a process that is busy lets others wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The sockets that a process hands on.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// For each listener and worker.
    pub(crate) listeners: Vec<OpenSocket>,
    /// The admin listener's.
    pub(crate) admin: Option<OpenSocket>,
}

/// The process that serves until this one does.
pub(crate) struct Predecessor {
    wire: Wire,
    /// Its number.
    pub(crate) pid: Option<i32>,
}

impl Predecessor {
    /// Asks the process that serves for its sockets.
    pub(crate) async fn meet(path: &Path) -> Result<(Self, Sockets)> {
        let stream = UnixStream::connect(path).await.with_context(|| {
            format!("nobody to take over from at {}: start without --upgrade, if nothing runs", path.display())
        })?;
        let pid = check_peer(&stream)?;
        let mut wire = Wire::new(stream);
        let sockets = async {
            wire.send(HELLO, None).await?;
            receive_sockets(&mut wire).await
        };
        let sockets = match timeout(ANSWER_TIMEOUT, sockets).await {
            Ok(sockets) => sockets.context("the process that serves hands nothing over")?,
            Err(_) => bail!("the process that serves does not answer: another upgrade may be under way"),
        };
        Ok((Self { wire, pid }, sockets))
    }

    /// Tells it that this process serves, so that it drains.
    pub(crate) async fn release(mut self) -> io::Result<()> {
        self.wire.send("serving", None).await?;
        match timeout(ANSWER_TIMEOUT, self.wire.receive()).await?? {
            line if line == "draining" => Ok(()),
            line => Err(io::Error::other(format!("unexpected answer {line:?}"))),
        }
    }
}

async fn receive_sockets(wire: &mut Wire) -> Result<Sockets> {
    let mut sockets = Sockets::default();
    loop {
        let line = wire.receive().await?;
        if line == "end" {
            return Ok(sockets);
        }
        let (kind, address) = line.split_once(' ').with_context(|| format!("unexpected answer {line:?}"))?;
        let address: SocketAddr = address.parse().with_context(|| format!("unexpected answer {line:?}"))?;
        let socket = wire.take_socket().with_context(|| format!("no socket came with {line:?}"))?;
        let open = OpenSocket { address, socket };
        match kind {
            "listener" => sockets.listeners.push(open),
            "admin" => sockets.admin = Some(open),
            _ => bail!("unexpected answer {line:?}"),
        }
    }
}

/// Waits for a process that takes over. Returns when it serves.
pub(crate) async fn hand_over(door: Option<&Door>, listeners: &[OpenSocket], admin: Option<&OpenSocket>) {
    let Some(door) = door else { return pending().await };
    loop {
        let stream = door.accept().await;
        match hand_over_to(stream, listeners, admin).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(error = format!("{error:#}"), "the upgrade failed: this process goes on"),
        }
    }
}

async fn hand_over_to(stream: UnixStream, listeners: &[OpenSocket], admin: Option<&OpenSocket>) -> Result<()> {
    let pid = check_peer(&stream)?;
    let mut wire = Wire::new(stream);
    let sent = async {
        let hello = wire.receive().await?;
        if hello != HELLO {
            wire.send("refused: another version's upgrade; stop this process, then start the other", None).await?;
            bail!("the new process says {hello:?}, which this version does not know");
        }
        let listeners = listeners.iter().map(|open| ("listener", open));
        for (kind, open) in listeners.chain(admin.map(|open| ("admin", open))) {
            wire.send(&format!("{kind} {}", open.address), Some(open.socket.as_fd())).await?;
        }
        Ok(wire.send("end", None).await?)
    };
    timeout(ANSWER_TIMEOUT, sent).await.context("the new process does not answer")??;
    tracing::info!(pid, "a new process has the sockets, and starts");
    // It compiles policies first. If it hangs, whoever started it ends it.
    let line = wire.receive().await.context("the new process has ended before it served")?;
    ensure!(line == "serving", "the new process says {line:?}");
    // The new process serves already: that it does not hear this is no reason to go on.
    let _ = wire.send("draining", None).await;
    Ok(())
}

/// The other side has to be this user's, or the system's: sockets are as good as what is sent over them.
fn check_peer(stream: &UnixStream) -> Result<Option<i32>> {
    let peer = stream.peer_cred()?;
    let (user, own) = (peer.uid(), rustix::process::geteuid().as_raw());
    ensure!(user == own || user == 0, "the process on the other side is user {user}'s, this one is user {own}'s");
    Ok(peer.pid())
}

#[cfg(test)]
mod tests;
