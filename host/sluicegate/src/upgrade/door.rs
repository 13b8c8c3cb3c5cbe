//! Where the next process finds this one.

use std::{
    fs, io,
    os::unix::{fs::FileTypeExt as _, fs::PermissionsExt as _, net::UnixStream as StdUnixStream},
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::net::{UnixListener, UnixStream};

/// How long to wait after a failure to accept, such as too many open files.
const BACK_OFF: Duration = Duration::from_secs(1);

/// A Unix socket that listens; its file goes with it.
pub(crate) struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// Where its file is, as long as that is this process's.
    file: Option<PathBuf>,
}

impl Door {
    /// Opens it where nobody listens: two processes that serve the same addresses without knowing of each other would
    /// share their requests.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if StdUnixStream::connect(path).is_ok() {
            bail!("a proxy runs already, and listens at {}: take over from it with --upgrade", path.display());
        }
        let mut door = Self::prepare(path)?;
        door.take_place()?;
        Ok(door)
    }

    /// Opens it beside its place, in which the predecessor's still is.
    pub(crate) fn prepare(path: &Path) -> Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket()) {
            bail!("runtime.upgrade_socket: {} is there already, and is not a socket", path.display());
        }
        let mut file = path.as_os_str().to_owned();
        file.push(format!(".{}", process::id()));
        let file = PathBuf::from(file);
        // What a process with the same number left behind.
        let _ = fs::remove_file(&file);
        let listener = UnixListener::bind(&file);
        let listener =
            listener.with_context(|| format!("runtime.upgrade_socket: can't listen at {}", file.display()))?;
        let door = Self { listener, path: path.to_owned(), file: Some(file.clone()) };
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        Ok(door)
    }

    /// Moves it to its place. Whatever was there is replaced without a gap.
    pub(crate) fn take_place(&mut self) -> Result<()> {
        if let Some(file) = &mut self.file {
            fs::rename(&*file, &self.path)
                .with_context(|| format!("runtime.upgrade_socket: can't listen at {}", self.path.display()))?;
            *file = self.path.clone();
        }
        Ok(())
    }

    /// Leaves the place to the successor's.
    pub(crate) fn give_up_place(mut self) {
        self.file = None;
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
        tracing::warn!(%error, path = %self.path.display(), "can't accept a connection");
        tokio::time::sleep(BACK_OFF).await;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file);
        }
    }
}
