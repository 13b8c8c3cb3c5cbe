//! Where the next process finds this one.

use std::{io, path::Path, time::Duration};

use anyhow::{Result, bail};
use tokio::net::{UnixListener, UnixStream};

use crate::socket_file::SocketFile;

/// How long to wait after a failure to accept, such as too many open files.
const BACK_OFF: Duration = Duration::from_secs(1);

/// A Unix socket that listens; its file goes with it, unless a successor's is in its place.
pub(crate) struct Door {
    listener: UnixListener,
    file: SocketFile,
}

impl Door {
    /// Opens it where nobody listens: two processes that serve the same addresses without knowing of each other would
    /// share their requests.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if SocketFile::is_taken(path) {
            bail!("a proxy runs already, and listens at {}: take over from it with --upgrade", path.display());
        }
        let mut door = Self::prepare(path)?;
        door.take_place()?;
        Ok(door)
    }

    /// Opens it beside its place, in which the predecessor's still is.
    pub(crate) fn prepare(path: &Path) -> Result<Self> {
        let (listener, file) = SocketFile::listen("runtime.upgrade_socket", path)?;
        Ok(Self { listener, file })
    }

    /// Moves it to its place. Whatever was there is replaced without a gap.
    pub(crate) fn take_place(&mut self) -> Result<()> {
        self.file.take_place()
    }

    /// Leaves the place to the successor's.
    pub(crate) fn give_up_place(self) {
        self.file.leave();
    }

    /// The next process that wants to take over.
    pub(super) async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => self.back_off(&error).await,
            }
        }
    }

    async fn back_off(&self, error: &io::Error) {
        tracing::warn!(%error, path = %self.file.path.display(), "can't accept a connection");
        tokio::time::sleep(BACK_OFF).await;
    }
}
