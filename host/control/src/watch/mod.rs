//! Says when watched files have new content.
//!
//! **Threads.** A [`FileWatcher`] has one thread of its own, which waits for the system's notices (inotify, on a
//! second thread that `notify` keeps) and reads files. It needs no runtime, and nothing of it runs on a worker. The
//! thread ends when the watcher or the receiver is dropped.
//!
//! **How it works.** Only directories are watched: a file that is replaced takes its own watch with it. For each file
//! these are all directories that a look-up of its path depends on (`resolve`), found anew before every read, so
//! files may come later, be replaced, or hang on symbolic links that are flipped. A notice only says *look again*: the
//! file is read once it has been left alone for a while (`settle`), and reported if its bytes are others than before.
//! Whatever the system does not tell, on network file systems for example, is found by a slow poll.
//!
//! **A partly written file** is reported when its writer pauses for longer than the quiet time with the file open.
//! Its readers must bear that (a half module does not compile), and the whole follows. Writing a temporary file and
//! renaming it avoids it.

mod resolve;
mod settle;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Arc, mpsc as thread_mpsc},
    thread,
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};
use tokio::sync::mpsc::{self, error::TrySendError};

use settle::Watched;

/// A good quiet time. "From a changed file to the first request by the new policy in 100 ms, compiling included"
/// leaves no more, and writers that do pause for longer are rare.
pub const DEFAULT_QUIET: Duration = Duration::from_millis(15);

// How often files are looked at without a notice. One `stat` a file, so it could be more often, but an operator on a
// network file system expects a delay.
const POLL: Duration = Duration::from_secs(2);

// Changes that wait for the receiver. When it is busy for longer, files are read later instead of queued: it then
// gets the latest content only.
const MAX_QUEUED: usize = 16;

// How soon to look again whether the receiver has room.
const RETRY: Duration = Duration::from_millis(10);

// How many notices are taken in before due files are looked at, so that a flood does not starve them.
const MAX_BATCH: usize = 1024;

/// The files to watch, by their path as configured, each with the content that the caller already has. Only other
/// content is reported; with `None`, the first content is reported too. That way nothing is lost between the caller's
/// reading and the watch.
pub type Files = BTreeMap<PathBuf, Option<Arc<[u8]>>>;

/// Watches files until it is dropped.
#[derive(Debug)]
pub struct FileWatcher {
    messages: thread_mpsc::Sender<Message>,
}

/// What happened to a watched file.
#[derive(Clone, Debug)]
pub enum Change {
    /// It has other content than last reported, or can be read again after [`Change::Unreadable`].
    Content {
        /// The path as it was given.
        path: PathBuf,
        /// The whole content.
        bytes: Arc<[u8]>,
        /// When the change was first noticed.
        seen: Instant,
    },
    /// It has been missing or otherwise unreadable for a while. Reported once, until it can be read again.
    Unreadable {
        /// The path as it was given.
        path: PathBuf,
        /// Why.
        error: String,
    },
}

/// The watch cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system's notices are not to be had, for example because too many programs watch files.
    #[error("cannot watch files: {0}")]
    Notify(#[from] notify::Error),
    /// The thread cannot start.
    #[error("cannot start the thread that watches files: {0}")]
    Thread(#[from] io::Error),
}

impl FileWatcher {
    /// Starts with no files. `quiet` is how long a file that may still be open for writing must be left alone before
    /// it is read, such as [`DEFAULT_QUIET`]; a closed or renamed file is read sooner.
    pub fn start(quiet: Duration) -> Result<(Self, mpsc::Receiver<Change>), WatchError> {
        let (sender, messages) = thread_mpsc::channel();
        let notices = sender.clone();
        let notify = notify::recommended_watcher(move |notice: notify::Result<Event>| {
            if notice.as_ref().map_or(true, is_of_interest) {
                let _ = notices.send(Message::Notice(notice)); // Nobody listens any more: about to stop.
            }
        })?;
        let (changes, receiver) = mpsc::channel(MAX_QUEUED);
        let worker = Worker {
            messages,
            notify,
            changes,
            quiet,
            files: BTreeMap::new(),
            dirs: BTreeMap::new(),
            next_poll: Instant::now() + POLL,
            warned: false,
        };
        thread::Builder::new().name("sluicegate-watch".into()).spawn(move || worker.run())?;
        Ok((Self { messages: sender }, receiver))
    }

    /// Replaces the set of watched files. A file that stays keeps the content last reported, whatever is given here.
    pub fn watch(&self, files: Files) {
        let _ = self.messages.send(Message::Files(files)); // The thread ends early only with the receiver.
    }
}

impl Drop for FileWatcher {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
    }
}

#[derive(Debug)]
enum Message {
    Files(Files),
    Notice(notify::Result<Event>),
    Stop,
}

struct Worker {
    messages: thread_mpsc::Receiver<Message>,
    notify: notify::RecommendedWatcher,
    changes: mpsc::Sender<Change>,
    quiet: Duration,
    files: BTreeMap<PathBuf, Watched>,
    // The watched directories with their device and inode.
    dirs: BTreeMap<PathBuf, (u64, u64)>,
    next_poll: Instant,
    warned: bool,
}

impl Worker {
    fn run(mut self) {
        while !self.changes.is_closed() {
            let due = self.files.values().filter_map(Watched::due).min();
            let wake = due.map_or(self.next_poll, |due| due.min(self.next_poll));
            let first = match self.messages.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(message) => Some(message),
                Err(thread_mpsc::RecvTimeoutError::Timeout) => None,
                Err(thread_mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let more = std::iter::from_fn(|| self.messages.try_recv().ok()).take(MAX_BATCH);
            let batch: Vec<Message> = first.into_iter().chain(more).collect();
            for message in batch {
                match message {
                    Message::Files(files) => self.replace(files),
                    Message::Notice(Ok(event)) => self.notice(&event),
                    Message::Notice(Err(error)) => self.lost_notices(&error),
                    Message::Stop => return,
                }
            }
            self.look();
        }
    }

    fn replace(&mut self, files: Files) {
        let now = Instant::now();
        self.files.retain(|path, _| files.contains_key(path));
        for (path, known) in files {
            self.files.entry(path).or_insert_with(|| Watched::new(known, now));
        }
        self.follow(now);
    }

    fn notice(&mut self, event: &Event) {
        let (now, written) = (Instant::now(), is_whole(event.kind));
        for file in self.files.values_mut() {
            if event.need_rescan() || event.paths.iter().any(|path| file.depends_on(path)) {
                file.touch(now, written, self.quiet);
            }
        }
    }

    fn lost_notices(&mut self, error: &notify::Error) {
        tracing::warn!(%error, "the system's notices of changed files are failing: all files are read again");
        let now = Instant::now();
        self.files.values_mut().for_each(|file| file.touch(now, true, self.quiet));
    }

    /// Reads what is due, and polls when it is time.
    fn look(&mut self) {
        let now = Instant::now();
        let poll = now >= self.next_poll;
        if poll {
            self.next_poll = now + POLL;
            self.files.iter_mut().for_each(|(path, file)| file.poll(path, now, self.quiet));
        }
        let is_due = |file: &Watched| file.due().is_some_and(|due| due <= now);
        if !poll && !self.files.values().any(is_due) {
            return;
        }
        // First watch, then read: what changes in between is noticed.
        self.follow(now);
        for (path, file) in self.files.iter_mut().filter(|(_, file)| is_due(file)) {
            match self.changes.try_reserve() {
                Ok(permit) => {
                    if let Some(change) = file.read(path, Instant::now(), self.quiet) {
                        permit.send(change);
                    }
                }
                Err(TrySendError::Full(())) => file.postpone(now + RETRY),
                Err(TrySendError::Closed(())) => return,
            }
        }
    }

    /// Watches the directories that the files depend on now, and no others.
    fn follow(&mut self, now: Instant) {
        // A link may be flipped between finding a directory and watching it, so this ends only when the second look
        // finds what the first one did; or gives up and leaves it to the poll.
        for _ in 0..4 {
            self.files.iter_mut().for_each(|(path, file)| file.resolve(path));
            if !self.watch_dirs() {
                return;
            }
            // The new watch may have come too late for a change.
            self.files.values_mut().for_each(|file| file.touch(now, true, self.quiet));
        }
    }

    /// Whether a directory is watched that was not before.
    fn watch_dirs(&mut self) -> bool {
        let needed: BTreeSet<PathBuf> = self.files.values().flat_map(Watched::dirs).cloned().collect();
        let before = std::mem::take(&mut self.dirs);
        let mut any_new = false;
        for dir in before.keys().filter(|dir| !needed.contains(*dir)) {
            let _ = self.notify.unwatch(dir); // It is gone already when the directory is.
        }
        for dir in needed {
            let Ok(id) = fs::metadata(&dir).map(|metadata| (metadata.dev(), metadata.ino())) else { continue };
            let known = before.get(&dir);
            if known.is_some_and(|known| *known != id) {
                let _ = self.notify.unwatch(&dir); // The watch is on a directory that was moved away.
            }
            // Also when it is watched already: a new directory may have got the inode of a deleted one.
            match self.notify.watch(&dir, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    any_new |= known != Some(&id);
                    self.dirs.insert(dir, id);
                }
                Err(error) if !self.warned => {
                    self.warned = true;
                    tracing::warn!(%error, dir = %dir.display(), "cannot watch: changes are found by polling");
                }
                Err(_) => {}
            }
        }
        any_new
    }
}

/// Reading is no change, and our own would come back to us.
fn is_of_interest(event: &Event) -> bool {
    !matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
}

/// Whether a file is whole after this, as far as anyone can know: its writer has closed it, or it was moved into its
/// place. A change of permissions does not touch the content.
fn is_whole(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(_)
            | EventKind::Modify(ModifyKind::Metadata(_) | ModifyKind::Name(RenameMode::To | RenameMode::Both))
    )
}
