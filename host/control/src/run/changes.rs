//! Changed files on their way into use: which of them may be next.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

/// A file's new content.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Changed {
    pub(super) path: PathBuf,
    pub(super) bytes: Arc<[u8]>,
    /// When the change was first noticed.
    pub(super) seen: Instant,
}

/// Those that wait, and those that are under way. A file has at most one of each.
#[derive(Debug, Default)]
pub(super) struct Changes {
    waiting: VecDeque<Changed>,
    /// Whether they compile something.
    under_way: BTreeMap<PathBuf, bool>,
}

impl Changes {
    /// Takes in a change. Of contents that wait only the latest is of interest.
    pub(super) fn add(&mut self, changed: Changed) {
        match self.waiting.iter_mut().find(|waiting| waiting.path == changed.path) {
            Some(waiting) => *waiting = changed,
            None => self.waiting.push_back(changed),
        }
    }

    /// Takes out one that may begin: nothing of the same file is under way, and not too many compile. `compiles`: whether a
    /// file's change has something compiled.
    pub(super) fn begin(&mut self, most_compiles: usize, compiles: impl Fn(&Path) -> bool) -> Option<Changed> {
        let is_full = self.under_way.values().filter(|compiles| **compiles).count() >= most_compiles;
        let has_to_wait =
            |changed: &Changed| self.under_way.contains_key(&changed.path) || (is_full && compiles(&changed.path));
        let index = self.waiting.iter().position(|changed| !has_to_wait(changed))?;
        let changed = self.waiting.remove(index)?;
        self.under_way.insert(changed.path.clone(), compiles(&changed.path));
        Some(changed)
    }

    /// What was under way of a file is done.
    pub(super) fn end(&mut self, path: &Path) {
        self.under_way.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 2;

    /// Adds changes by their files' names and contents.
    fn add(changes: &mut Changes, all: &[(&str, &str)]) {
        for (path, content) in all {
            let bytes = content.as_bytes().into();
            changes.add(Changed { path: path.into(), bytes, seen: Instant::now() });
        }
    }

    /// What begins now, until nothing may any more.
    fn begun(changes: &mut Changes) -> Vec<String> {
        let compiles = |path: &Path| path.extension().is_some_and(|end| end == "wasm");
        let next = || changes.begin(MOST, compiles);
        std::iter::from_fn(next).map(|it| String::from_utf8_lossy(&it.bytes).into_owned()).collect()
    }

    #[test]
    fn a_file_that_takes_long_holds_up_no_other() {
        let mut changes = Changes::default();
        add(&mut changes, &[("a.wasm", "a1")]);
        assert_eq!(begun(&mut changes), ["a1"]);
        add(&mut changes, &[("b.wasm", "b1")]);
        assert_eq!(begun(&mut changes), ["b1"]);
        changes.end(Path::new("b.wasm"));
        add(&mut changes, &[("b.wasm", "b2")]);
        assert_eq!(begun(&mut changes), ["b2"]);
    }

    #[test]
    fn changes_of_one_file_come_one_after_the_other_and_the_latest_last() {
        let mut changes = Changes::default();
        add(&mut changes, &[("a.wasm", "a1")]);
        assert_eq!(begun(&mut changes), ["a1"]);
        add(&mut changes, &[("a.wasm", "a2"), ("b.wasm", "b1"), ("a.wasm", "a3")]);
        assert_eq!(begun(&mut changes), ["b1"]);
        changes.end(Path::new("a.wasm"));
        assert_eq!(begun(&mut changes), ["a3"]);
        changes.end(Path::new("a.wasm"));
        assert_eq!(begun(&mut changes), [""; 0]);
    }

    #[test]
    fn a_few_compile_at_once_and_what_compiles_nothing_does_not_wait_for_them() {
        let mut changes = Changes::default();
        add(&mut changes, &[("a.wasm", "a"), ("b.wasm", "b"), ("c.wasm", "c"), ("d.wasm", "d"), ("list.toml", "list")]);
        assert_eq!(begun(&mut changes), ["a", "b", "list"]);
        changes.end(Path::new("list.toml"));
        assert_eq!(begun(&mut changes), [""; 0]);
        changes.end(Path::new("b.wasm"));
        assert_eq!(begun(&mut changes), ["c"]);
    }
}
