//! A Unix socket that listens, and its file.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result, bail};
use tokio::net::UnixListener;

/// The file of a socket, which goes with its process, unless another one has taken its place or is about to.
pub(crate) struct SocketFile {
    /// The key that names it.
    key: &'static str,
    pub(crate) path: PathBuf,
    /// Where it is.
    now: PathBuf,
    inode: u64,
    is_left: bool,
}

impl SocketFile {
    /// Listens beside the place, which an earlier process may still have. Only this user may connect.
    pub(crate) fn listen(key: &'static str, path: &Path) -> Result<(UnixListener, Self)> {
        if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket()) {
            bail!("{key}: {} is there already, and is not a socket", path.display());
        }
        let mut now = path.as_os_str().to_owned();
        now.push(format!(".{}", process::id()));
        let now = PathBuf::from(now);
        // What a process with the same number left behind.
        let _ = fs::remove_file(&now);
        let can_not = || format!("{key}: can't listen at {}", now.display());
        let listener = UnixListener::bind(&now).with_context(can_not)?;
        fs::set_permissions(&now, fs::Permissions::from_mode(0o600)).with_context(can_not)?;
        let inode = fs::symlink_metadata(&now).with_context(can_not)?.ino();
        Ok((listener, Self { key, path: path.to_owned(), now, inode, is_left: false }))
    }

    /// Whether a process listens there.
    pub(crate) fn is_taken(path: &Path) -> bool {
        StdUnixStream::connect(path).is_ok()
    }

    /// Moves it to its place. Whatever was there is replaced without a gap.
    pub(crate) fn take_place(&mut self) -> Result<()> {
        fs::rename(&self.now, &self.path)
            .with_context(|| format!("{}: can't listen at {}", self.key, self.path.display()))?;
        self.now.clone_from(&self.path);
        Ok(())
    }

    /// Leaves the place to a successor's, which may be there at any moment: to look whether it is, and then to remove this
    /// one, could remove that.
    pub(crate) fn leave(mut self) {
        self.is_left = true;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.is_left && fs::symlink_metadata(&self.now).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.now);
        }
    }
}
