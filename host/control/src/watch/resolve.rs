//! What a path depends on.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{self, Component, Path, PathBuf},
};

// As many as the kernel follows.
const MAX_LINKS: usize = 40;

/// What decides which file a path leads to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Resolved {
    /// Every name that was looked up on the way, without symbolic links before its last part.
    pub(super) names: BTreeSet<PathBuf>,
    /// The directories to watch: those with a symbolic link on the way, the last one that exists, and the one that
    /// this stands in, because it may be replaced as a whole. Others further up hardly ever change and are left to
    /// the poll.
    pub(super) dirs: BTreeSet<PathBuf>,
}

/// Walks along `path` as the kernel does. `None` when there is no current directory for a relative path.
pub(super) fn resolve(path: &Path) -> Option<Resolved> {
    let mut resolved = Resolved::default();
    let mut current = PathBuf::new();
    let mut rest = parts(&path::absolute(path).ok()?);
    let mut links = 0;
    while let Some(part) = rest.pop() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir | Component::Prefix(_)) => current = part.into(),
            Some(Component::Normal(_)) => {
                let name = current.join(part);
                resolved.names.insert(name.clone());
                match fs::symlink_metadata(&name).map(|metadata| metadata.file_type()) {
                    Ok(kind) if kind.is_symlink() && links < MAX_LINKS => {
                        links += 1;
                        resolved.dirs.insert(current.clone());
                        rest.extend(parts(&fs::read_link(&name).unwrap_or_default()));
                    }
                    Ok(kind) if kind.is_dir() => current = name,
                    // The file, or nothing.
                    _ => break,
                }
            }
            // `current` has no links in it, so its parent is what its path says.
            Some(Component::ParentDir) => drop(current.pop()),
            Some(Component::CurDir) | None => {}
        }
    }
    resolved.dirs.extend(current.parent().map(PathBuf::from));
    resolved.dirs.insert(current);
    Some(resolved)
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_counts() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("cfg/v1")).unwrap();
        fs::write(root.join("cfg/v1/mine.wasm"), "1").unwrap();
        symlink("v1", root.join("cfg/..data")).unwrap();
        symlink("..data/mine.wasm", root.join("cfg/mine.wasm")).unwrap();
        symlink("../cfg", root.join("cfg/again")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let check = |path: &str, dirs: &[&str], last: &[&str]| {
            let resolved = resolve(&root.join(path)).unwrap();
            assert_eq!(resolved.dirs, dirs.iter().map(|dir| root.join(dir).components().collect()).collect(), "{path}");
            last.iter().for_each(|name| assert!(resolved.names.contains(&root.join(name)), "{path} {name}"));
        };
        check("cfg/v1/mine.wasm", &["cfg", "cfg/v1"], &["cfg/v1/mine.wasm", "cfg/v1", "cfg"]);
        check("cfg/mine.wasm", &["cfg", "cfg/v1"], &["cfg/mine.wasm", "cfg/..data", "cfg/v1/mine.wasm"]);
        check("cfg/again/../cfg/v1/mine.wasm", &["cfg", "cfg/v1"], &["cfg/again", "cfg/v1/mine.wasm"]);
        check("cfg/later/mine.wasm", &["", "cfg"], &["cfg/later"]);
        assert!(resolve(&root.join("loop")).unwrap().dirs.contains(&root));
    }
}
