//! What a policy is built from, and whether it has changed.
//!
//! Files are looked at again and again rather than watched: there are few, editors replace them in many ways, and nothing
//! gets lost on a file system that tells nobody of changes.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// How a file looks from outside: when it was changed, its size, and which file it is.
type Looks = (i64, i64, u64, u64);

/// More files than a crate has: a folder of something else should not keep the machine busy.
const MOST_FILES: usize = 10_000;

/// All files of a crate.
pub(super) struct Sources {
    dir: PathBuf,
    /// What the compiler writes is not what it reads.
    target_dir: PathBuf,
    last: BTreeMap<PathBuf, Looks>,
}

/// How they all looked at one time.
#[derive(PartialEq, Eq)]
pub(super) struct Seen(BTreeMap<PathBuf, Looks>);

impl Sources {
    /// Of the crate in this folder, which is built to `target_dir`.
    pub(super) fn new(dir: &Path, target_dir: &Path) -> Self {
        let absolute = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Self { dir: absolute(dir), target_dir: absolute(target_dir), last: BTreeMap::new() }
    }

    /// How they look now.
    pub(super) fn look(&mut self) -> Seen {
        self.last = self.files();
        Seen(self.last.clone())
    }

    /// Whether they have changed since, and are not changing any more: whoever saves several files has saved the last one.
    pub(super) fn have_settled_since(&mut self, seen: &Seen) -> bool {
        let now = self.files();
        let settled = now == self.last;
        self.last = now;
        settled && self.last != seen.0
    }

    fn files(&self) -> BTreeMap<PathBuf, Looks> {
        let (mut files, mut dirs) = (BTreeMap::new(), vec![self.dir.clone()]);
        while let Some(dir) = dirs.pop() {
            // What is gone again in this moment is seen to be gone the next time.
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                let is_made = name == "Cargo.lock" || path.extension().is_some_and(|extension| extension == "wasm");
                if name.as_encoded_bytes().starts_with(b".") || is_made || path == self.target_dir {
                    continue;
                }
                let Ok(about) = fs::metadata(&path) else { continue };
                // A link to a folder may lead back.
                if about.is_dir() && !entry.file_type().is_ok_and(|kind| kind.is_symlink()) && name != "target" {
                    dirs.push(path);
                } else if about.is_file() && files.len() < MOST_FILES {
                    files.insert(path, (about.mtime(), about.mtime_nsec(), about.len(), about.ino()));
                }
            }
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_once_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("src")).unwrap();
        fs::create_dir_all(path("out")).unwrap();
        fs::write(path("src/lib.rs"), "1").unwrap();
        let mut sources = Sources::new(dir.path(), &path("out"));
        let seen = sources.look();
        assert!(!sources.have_settled_since(&seen));
        // What is built is not what it is built from.
        for made in ["out/made", "mine.wasm", ".lib.rs.swp", "Cargo.lock"] {
            fs::write(path(made), "1").unwrap();
        }
        assert!(!sources.have_settled_since(&seen) && !sources.have_settled_since(&seen));
        fs::write(path("src/other.rs"), "22").unwrap();
        assert!(!sources.have_settled_since(&seen), "it may be changing still");
        assert!(sources.have_settled_since(&seen));
        // Another file of the same name and size is another one.
        let seen = sources.look();
        fs::write(path("src/new"), "33").unwrap();
        fs::rename(path("src/new"), path("src/other.rs")).unwrap();
        sources.have_settled_since(&seen);
        assert!(sources.have_settled_since(&seen));
    }
}
