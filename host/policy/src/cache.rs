//! Compiled artifacts on disk, so that a restart compiles nothing.
//!
//! Loading compiled code means running it: a file is used only if it lies in a folder, and is a file, that belongs
//! to this user and that no one else may write, if its name says that this very engine made it of these very bytes,
//! and if its checksum is right. Anything else is compiled anew, and replaced.

use std::{
    fs::{self, DirBuilder, File},
    hash::{Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};
use wasmtime::{Module, component::Component};

use crate::{Digest, LaneKind, artifact::Compiled};

const MAGIC: &[u8; 8] = b"SLUICE01";

/// More than enough for the policies of one proxy and their recent versions; those that were not used for longest go first.
const ENTRIES: usize = 128;

pub(crate) struct Cache {
    dir: PathBuf,
    /// Stands for the engine's version, its settings and the processor: code made under another one is not looked at.
    engine: String,
}

impl Cache {
    pub(crate) fn open(dir: &Path, engine: &wasmtime::Engine) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        if !only_ours(&fs::metadata(dir)?) {
            return Err(io::Error::other("it belongs to someone else, or others may write to it"));
        }
        let mut hasher = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        let engine = Digest(hasher.0.finalize().into()).short();
        Ok(Self { dir: dir.to_owned(), engine })
    }

    /// With the lane: of one file, there may be a component's code and that of the module taken out of it.
    fn path(&self, digest: Digest, kind: LaneKind) -> PathBuf {
        self.dir.join(format!("{digest}-{}-{}.cwasm", kind.label(), self.engine))
    }

    /// The compiled code of the plugin with this digest, if it is here and to be trusted.
    pub(crate) fn get(&self, engine: &wasmtime::Engine, digest: Digest, kind: LaneKind) -> Option<Compiled> {
        let path = self.path(digest, kind);
        let code = match read_checked(&path) {
            Ok(code) => code,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled policy in the cache is not used");
                return None;
            }
        };
        match deserialize(engine, kind, &code) {
            Ok(compiled) => Some(compiled),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled policy in the cache is not used");
                None
            }
        }
    }

    /// Keeps compiled code. A failure costs the next start some time, and nothing else.
    pub(crate) fn put(&self, digest: Digest, code: &Compiled) {
        let bytes = match code {
            Compiled::Module(module) => module.serialize(),
            Compiled::Component(component) => component.serialize(),
        };
        let path = self.path(digest, code.kind());
        let result = bytes.map_err(io::Error::other).and_then(|bytes| write_checked(&path, &bytes));
        if let Err(error) = result.and_then(|()| self.prune()) {
            tracing::warn!(path = %path.display(), %error, "a compiled policy could not be kept");
        }
    }

    fn prune(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            entries.push((entry.metadata()?.modified()?, entry.path()));
        }
        entries.sort();
        let surplus = entries.len().saturating_sub(ENTRIES);
        entries.into_iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

#[allow(unsafe_code)]
fn deserialize(engine: &wasmtime::Engine, kind: LaneKind, code: &[u8]) -> wasmtime::Result<Compiled> {
    match kind {
        // SAFETY: `read_checked` has made sure that the bytes are whole and that only this user can have written
        // them; wasmtime itself checks that they were made by the same version with the same settings.
        LaneKind::Fast => Ok(Compiled::Module(unsafe { Module::deserialize(engine, code)? })),
        // SAFETY: as above.
        LaneKind::Portable => Ok(Compiled::Component(unsafe { Component::deserialize(engine, code)? })),
    }
}

fn only_ours(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0
}

fn read_checked(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    if !only_ours(&file.metadata()?) {
        return Err(io::Error::other("it belongs to someone else, or others may write to it"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
    let (magic, rest) = bytes.split_at_checked(MAGIC.len()).ok_or_else(damaged)?;
    let (checksum, code) = rest.split_at_checked(32).ok_or_else(damaged)?;
    if magic != MAGIC || checksum != Digest::of(code).0 {
        return Err(damaged());
    }
    // It is used, and not to be the next that goes. If that can't be said, it goes earlier.
    let _ = file.set_modified(SystemTime::now());
    Ok(code.to_vec())
}

/// Writes to a new file beside, and renames it into its place: a reader sees all of it or nothing.
fn write_checked(path: &Path, code: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(MAGIC)?;
    file.write_all(&Digest::of(code).0)?;
    file.write_all(code)?;
    file.persist(path)?;
    Ok(())
}

/// Feeds whatever wasmtime hashes into SHA-256, which is the same in every build of ours.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{Engine, Limits, Refusal, testing::ByHand};

    fn engine(dir: &TempDir) -> std::sync::Arc<Engine> {
        Engine::new(Limits::default(), Some(dir.path().to_owned())).unwrap()
    }

    fn names(dir: &TempDir) -> Vec<String> {
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn only_what_fits_the_contract_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let no_policy = wat::parse_str("(module (func (export \"f\")))").unwrap();
        assert!(matches!(engine(&dir).load(&no_policy), Err(Refusal::MissingExport { .. })));
        assert_eq!(names(&dir), Vec::<String>::new());
    }

    #[test]
    fn lanes_do_not_take_each_others_entries() {
        let dir = tempfile::tempdir().unwrap();
        for (plugin, lane) in [(ByHand::default().module(), "-fast-"), (ByHand::default().component(), "-portable-")] {
            assert!(!engine(&dir).load(&plugin).unwrap().cached);
            assert!(engine(&dir).load(&plugin).unwrap().cached);
            let name = names(&dir).into_iter().find(|name| name.starts_with(&Digest::of(&plugin).to_string()));
            assert!(name.unwrap().contains(lane));
        }
    }

    #[test]
    fn what_is_used_is_not_the_next_to_go() {
        let dir = tempfile::tempdir().unwrap();
        let module = ByHand::default().module();
        engine(&dir).load(&module).unwrap();
        let path = dir.path().join(&names(&dir)[0]);
        File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(engine(&dir).load(&module).unwrap().cached);
        let age = fs::metadata(&path).unwrap().modified().unwrap().elapsed().unwrap();
        assert!(age.as_secs() < 3600, "{age:?}");
    }
}
