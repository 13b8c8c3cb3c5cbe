//! One watched file: when to read it, and whether what was read is news.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Change,
    resolve::{Resolved, resolve},
};

// How long to leave alone what its writer has closed or moved into place. Not 0, as a save is often a few steps, such
// as a rename and a change of permissions, or several files together.
const WHOLE: Duration = Duration::from_millis(3);

// When to read a file that is never left alone.
const MAX_WAIT: Duration = Duration::from_secs(1);

// How long a file may be missing or empty in the midst of a save, deleted and created again for example.
const GONE: Duration = Duration::from_millis(500);

// No policy is that large, and reading a device or a log by mistake must not fill the memory.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// What is known of a file.
#[derive(Debug)]
pub(super) struct Watched {
    // What the receiver has; `None` as well after it was told that the file is unreadable.
    content: Option<Arc<[u8]>>,
    // When the change under way was first noticed.
    seen: Option<Instant>,
    due: Option<Instant>,
    gone_since: Option<Instant>,
    told_unreadable: bool,
    stamp: Option<Stamp>,
    resolved: Resolved,
}

/// What differs after almost every change, for the poll.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stamp {
    file: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watched {
    pub(super) fn new(known: Option<Arc<[u8]>>, now: Instant) -> Self {
        Self {
            content: known,
            seen: Some(now),
            due: Some(now),
            gone_since: None,
            told_unreadable: false,
            stamp: None,
            resolved: Resolved::default(),
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn dirs(&self) -> impl Iterator<Item = &PathBuf> {
        self.resolved.dirs.iter()
    }

    pub(super) fn depends_on(&self, path: &Path) -> bool {
        self.resolved.names.contains(path)
    }

    pub(super) fn resolve(&mut self, path: &Path) {
        self.resolved = resolve(path).unwrap_or_default();
    }

    /// Takes in that something happened. `whole`: nobody seems to be writing any more.
    pub(super) fn touch(&mut self, now: Instant, whole: bool, quiet: Duration) {
        let seen = *self.seen.get_or_insert(now);
        let wait = if whole { quiet.min(WHOLE) } else { quiet };
        self.due = Some((now + wait).min(seen + MAX_WAIT));
    }

    /// Looks for a change that nobody told of.
    pub(super) fn poll(&mut self, path: &Path, now: Instant, quiet: Duration) {
        if self.due.is_none() && fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata)) != self.stamp {
            self.touch(now, true, quiet);
        }
    }

    /// Leaves the reading for later.
    pub(super) fn postpone(&mut self, due: Instant) {
        self.due = Some(due);
    }

    /// Reads the file. `None` when there is nothing new, or nothing sure yet.
    pub(super) fn read(&mut self, path: &Path, now: Instant, quiet: Duration) -> Option<Change> {
        let seen = *self.seen.get_or_insert(now);
        self.due = None;
        let read = read(path);
        if !matches!(&read, Ok(read) if !read.bytes.is_empty()) {
            let gone_until = *self.gone_since.get_or_insert(now) + GONE;
            if now < gone_until {
                self.due = Some(gone_until);
                return None;
            }
        }
        self.gone_since = None;
        match read {
            Ok(read) if read.torn && now < seen + MAX_WAIT => {
                self.due = Some(now + quiet);
                None
            }
            Ok(read) => {
                self.seen = None;
                self.stamp = Some(read.stamp);
                self.told_unreadable = false;
                if self.content.as_deref() == Some(&read.bytes) {
                    return None;
                }
                let bytes: Arc<[u8]> = read.bytes.into();
                self.content = Some(Arc::clone(&bytes));
                Some(Change::Content { path: path.into(), bytes, seen })
            }
            Err(error) => {
                self.seen = None;
                self.stamp = fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
                self.content = None;
                let told = std::mem::replace(&mut self.told_unreadable, true);
                (!told).then(|| Change::Unreadable { path: path.into(), error: error.to_string() })
            }
        }
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

struct Read {
    bytes: Vec<u8>,
    stamp: Stamp,
    /// It changed while it was read.
    torn: bool,
}

fn read(path: &Path) -> io::Result<Read> {
    // Opening a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let file = fs::File::open(path)?;
    let before = Stamp::of(&file.metadata()?);
    if before.len > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("is larger than {} MiB, the most that is read", MAX_FILE_BYTES >> 20)));
    }
    let mut bytes = Vec::with_capacity(before.len as usize);
    (&file).take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    let stamp = Stamp::of(&file.metadata()?);
    Ok(Read { torn: stamp != before || stamp.len != bytes.len() as u64, bytes, stamp })
}
