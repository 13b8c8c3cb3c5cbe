//! Every way of saving a file, with real files: each must be noticed, once, with the whole content.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use sluicegate_control::watch::{Change, DEFAULT_QUIET, FileWatcher, Files};
use tokio::{runtime::Runtime, sync::mpsc, time::timeout};

// Longer than the slowest honest answer (the poll) by far: only a lost change takes this long.
const LONG: Duration = Duration::from_secs(10);
// Long enough for a report that should not come, unless it comes from the poll.
const SHORT: Duration = Duration::from_millis(150);

/// A watch on one file in a directory of its own, which holds "one" at first.
struct Bench {
    dir: tempfile::TempDir,
    file: PathBuf,
    watcher: FileWatcher,
    changes: mpsc::Receiver<Change>,
    runtime: Runtime,
}

impl Bench {
    /// `prepare` makes the directory's content; the file is called `mine.wasm`, below it.
    fn new(name: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        prepare(dir.path());
        let (watcher, changes) = FileWatcher::start(DEFAULT_QUIET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        watcher.watch(Files::from([(file.clone(), None)]));
        Self { dir, file, watcher, changes, runtime }
    }

    fn plain() -> Self {
        let mut bench = Self::new("mine.wasm", |dir| fs::write(dir.join("mine.wasm"), "one").unwrap());
        bench.expect("one");
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn next(&mut self, within: Duration) -> Option<Change> {
        self.runtime.block_on(async { timeout(within, self.changes.recv()).await }).ok().map(|change| change.unwrap())
    }

    fn expect(&mut self, content: &str) -> Instant {
        match self.next(LONG) {
            Some(Change::Content { path, bytes, seen }) => {
                assert_eq!((path.as_path(), String::from_utf8_lossy(&bytes).as_ref()), (self.file.as_path(), content));
                seen
            }
            other => panic!("expected {content:?}, not {other:?}"),
        }
    }

    fn expect_unreadable(&mut self, why: &str) {
        match self.next(LONG) {
            Some(Change::Unreadable { path, error }) if path == self.file => assert!(error.contains(why), "{error}"),
            other => panic!("expected {why:?}, not {other:?}"),
        }
    }

    fn expect_nothing(&mut self) {
        if let Some(change) = self.next(SHORT) {
            panic!("nothing new, yet {change:?}");
        }
    }
}

#[test]
fn written_in_place() {
    let mut bench = Bench::plain();
    let begun = Instant::now();
    fs::write(&bench.file, "two").unwrap();
    let seen = bench.expect("two");
    let (noticed, took) = (seen.duration_since(begun), begun.elapsed());
    assert!(noticed <= took && took < Duration::from_secs(1), "noticed after {noticed:?}, reported after {took:?}");
    bench.expect_nothing();
}

#[test]
fn written_in_many_small_pieces() {
    let mut bench = Bench::plain();
    let mut file = File::create(&bench.file).unwrap();
    for _ in 0..100 {
        file.write_all(b"x").unwrap();
        std::thread::yield_now();
    }
    drop(file);
    // On a busy system the writer may be held up for longer than the quiet time: a part is reported, then the whole.
    loop {
        let Some(Change::Content { bytes, .. }) = bench.next(LONG) else { panic!("the whole is never reported") };
        assert!(bytes.iter().all(|byte| *byte == b'x'));
        if bytes.len() == 100 {
            break;
        }
    }
    bench.expect_nothing();
}

#[test]
fn truncated_then_written_later() {
    let mut bench = Bench::plain();
    let mut file = File::create(&bench.file).unwrap();
    bench.expect_nothing();
    file.write_all(b"two").unwrap();
    drop(file);
    bench.expect("two");
}

#[test]
fn emptied_for_good() {
    let mut bench = Bench::plain();
    fs::write(&bench.file, "").unwrap();
    bench.expect("");
}

#[test]
fn written_and_kept_open() {
    let mut bench = Bench::plain();
    let mut file = OpenOptions::new().append(true).open(&bench.file).unwrap();
    file.write_all(b" and more").unwrap();
    bench.expect("one and more");
}

#[test]
fn renamed_over() {
    let mut bench = Bench::plain();
    for content in ["two", "three", "four"] {
        fs::write(bench.at("mine.wasm.tmp"), content).unwrap();
        fs::rename(bench.at("mine.wasm.tmp"), &bench.file).unwrap();
        bench.expect(content);
    }
    bench.expect_nothing();
}

#[test]
fn deleted_and_created_again() {
    let mut bench = Bench::plain();
    fs::remove_file(&bench.file).unwrap();
    bench.expect_nothing();
    fs::write(&bench.file, "one").unwrap();
    bench.expect_nothing();
    fs::remove_file(&bench.file).unwrap();
    sleep(Duration::from_millis(50));
    fs::write(&bench.file, "two").unwrap();
    bench.expect("two");
}

#[test]
fn deleted_for_good_and_back_after_all() {
    let mut bench = Bench::plain();
    fs::remove_file(&bench.file).unwrap();
    bench.expect_unreadable("No such file");
    bench.expect_nothing();
    // An empty file is not yet a new one.
    let mut file = File::create(&bench.file).unwrap();
    bench.expect_nothing();
    file.write_all(b"one").unwrap();
    drop(file);
    bench.expect("one");
}

#[test]
fn hard_links_swapped() {
    let mut bench = Bench::plain();
    fs::write(bench.at("other"), "two").unwrap();
    fs::remove_file(&bench.file).unwrap();
    fs::hard_link(bench.at("other"), &bench.file).unwrap();
    bench.expect("two");
}

#[test]
fn written_through_another_link() {
    let mut bench = Bench::plain();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::hard_link(&bench.file, elsewhere.path().join("link")).unwrap();
    // No notice comes of this one: the poll finds it, as it does on a network file system.
    fs::write(elsewhere.path().join("link"), "two").unwrap();
    bench.expect("two");
}

#[test]
fn a_config_map_is_flipped() {
    let mut bench = Bench::new("mine.wasm", |dir| {
        fs::create_dir(dir.join("..2024_1")).unwrap();
        fs::write(dir.join("..2024_1/mine.wasm"), "v1").unwrap();
        symlink("..2024_1", dir.join("..data")).unwrap();
        symlink("..data/mine.wasm", dir.join("mine.wasm")).unwrap();
    });
    bench.expect("v1");
    for version in 2..6 {
        let (old, new) = (format!("..2024_{}", version - 1), format!("..2024_{version}"));
        fs::create_dir(bench.at(&new)).unwrap();
        fs::write(bench.at(&new).join("mine.wasm"), format!("v{version}")).unwrap();
        symlink(&new, bench.at("..data_tmp")).unwrap();
        fs::rename(bench.at("..data_tmp"), bench.at("..data")).unwrap();
        fs::remove_dir_all(bench.at(&old)).unwrap();
        bench.expect(&format!("v{version}"));
    }
    // And the file behind the links is watched too.
    fs::write(bench.at("..2024_5/mine.wasm"), "in place").unwrap();
    bench.expect("in place");
    bench.expect_nothing();
}

#[test]
fn the_directory_is_replaced() {
    let mut bench = Bench::new("policies/mine.wasm", |dir| {
        fs::create_dir(dir.join("policies")).unwrap();
        fs::write(dir.join("policies/mine.wasm"), "one").unwrap();
    });
    bench.expect("one");
    fs::create_dir(bench.at("new")).unwrap();
    fs::write(bench.at("new/mine.wasm"), "two").unwrap();
    fs::rename(bench.at("policies"), bench.at("old")).unwrap();
    fs::rename(bench.at("new"), bench.at("policies")).unwrap();
    bench.expect("two");
    fs::write(bench.at("old/mine.wasm"), "of no interest").unwrap();
    bench.expect_nothing();
    fs::remove_dir_all(bench.at("policies")).unwrap();
    fs::create_dir(bench.at("policies")).unwrap();
    fs::write(&bench.file, "three").unwrap();
    bench.expect("three");
    fs::write(&bench.file, "four").unwrap();
    bench.expect("four");
}

#[test]
fn the_directory_comes_later() {
    let mut bench = Bench::new("a/b/c/mine.wasm", |_| {});
    bench.expect_unreadable("No such file");
    fs::create_dir(bench.at("a")).unwrap();
    sleep(Duration::from_millis(30));
    fs::create_dir_all(bench.at("a/b/c")).unwrap();
    fs::write(&bench.file, "one").unwrap();
    bench.expect("one");
    fs::write(&bench.file, "two").unwrap();
    bench.expect("two");
}

#[test]
fn what_changes_no_content_is_no_news() {
    let mut bench = Bench::plain();
    fs::read(&bench.file).unwrap();
    drop(OpenOptions::new().append(true).open(&bench.file).unwrap());
    fs::set_permissions(&bench.file, fs::Permissions::from_mode(0o600)).unwrap();
    File::open(&bench.file).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    fs::write(&bench.file, "one").unwrap();
    fs::write(bench.at("other.wasm"), "other").unwrap();
    bench.expect_nothing();
}

#[test]
fn what_is_no_file_or_too_large_is_said() {
    let mut bench = Bench::plain();
    File::create(&bench.file).unwrap().set_len((64 << 20) + 1).unwrap();
    bench.expect_unreadable("larger than 64 MiB");
    fs::remove_file(&bench.file).unwrap();
    fs::write(&bench.file, "two").unwrap();
    bench.expect("two");
    fs::remove_file(&bench.file).unwrap();
    fs::create_dir(&bench.file).unwrap();
    bench.expect_unreadable("not a regular file");
}

#[test]
fn the_last_of_a_thousand_saves_is_reported() {
    let mut bench = Bench::plain();
    for save in 0..1000 {
        if save % 2 == 0 {
            fs::write(&bench.file, format!("save {save}")).unwrap();
        } else {
            fs::write(bench.at("tmp"), format!("save {save}")).unwrap();
            fs::rename(bench.at("tmp"), &bench.file).unwrap();
        }
    }
    // The receiver was away all the time: it gets a few, and the last.
    let mut last = None;
    while let Some(Change::Content { bytes, .. }) = bench.next(Duration::from_millis(500)) {
        last = Some(bytes);
    }
    assert_eq!(last.as_deref(), Some(&b"save 999"[..]));
}

#[test]
fn only_other_content_than_the_callers_is_reported() {
    let mut bench = Bench::plain();
    let other = bench.at("other");
    fs::write(&other, "new").unwrap();
    let known = |text: &str| Some(Arc::from(text.as_bytes()));
    bench.watcher.watch(Files::from([(bench.file.clone(), None), (other.clone(), known("new"))]));
    bench.expect_nothing();
    bench.watcher.watch(Files::from([(bench.file.clone(), None)]));
    fs::write(&other, "newer").unwrap();
    bench.expect_nothing();
    bench.watcher.watch(Files::from([(other.clone(), known("new"))]));
    bench.file = other;
    bench.expect("newer");
}

#[test]
fn dropping_the_watcher_ends_the_changes() {
    let Bench { watcher, mut changes, runtime, .. } = Bench::plain();
    drop(watcher);
    assert!(runtime.block_on(async { timeout(LONG, changes.recv()).await }).unwrap().is_none());
}
