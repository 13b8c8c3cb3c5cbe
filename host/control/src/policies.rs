//! From what the configuration says of a policy to its bytes.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use sluicegate_policy::{Plugin, Refusal};

use crate::{
    config::{PolicySource, PolicySpec},
    trust::Trust,
};

/// What the policies' files said when their clusters came to use them.
#[derive(Debug, Default)]
pub(crate) struct FilesInUse(BTreeMap<PathBuf, Arc<[u8]>>);

impl FilesInUse {
    /// Takes in what was read. A file that said one thing to one cluster and another thing to the next was being
    /// changed: nobody knows what is in use of it.
    pub(crate) fn note<'a>(&mut self, plugins: impl Iterator<Item = (&'a PolicySpec, &'a Plugin)>) {
        let mut read = BTreeMap::<&PathBuf, Option<&Arc<[u8]>>>::new();
        for (spec, plugin) in plugins {
            let PolicySource::File(path) = &spec.source else { continue };
            read.entry(path)
                .and_modify(|other| *other = other.filter(|other| **other == plugin.bytes))
                .or_insert(Some(&plugin.bytes));
        }
        for (path, bytes) in read {
            match bytes {
                Some(bytes) => self.0.insert(path.clone(), Arc::clone(bytes)),
                None => self.0.remove(path),
            };
        }
    }

    pub(crate) fn get(&self, path: &Path) -> Option<&Arc<[u8]>> {
        self.0.get(path)
    }
}

/// Why there is no plugin.
pub(crate) enum FetchError {
    /// There are no bytes.
    Unread(String),
    /// They are not to be used.
    Refused(Refusal),
}

/// The plugin that a configuration asks for. Reads its file, if it is one.
pub(crate) fn fetch(spec: &PolicySpec, module_bytes: usize, trust: &Trust) -> Result<Plugin, String> {
    fetch_checked(spec, module_bytes, trust).map_err(|error| match error {
        FetchError::Unread(error) => error,
        FetchError::Refused(refusal) => format!("{} is refused: {refusal}", name(spec)),
    })
}

/// The same, with errors that can be told apart.
pub(crate) fn fetch_checked(spec: &PolicySpec, module_bytes: usize, trust: &Trust) -> Result<Plugin, FetchError> {
    let bytes: Arc<[u8]> = match &spec.source {
        PolicySource::Builtin(name) => match sluicegate_builtins::get(name) {
            Some(wasm) => wasm.into(),
            None => return Err(FetchError::Unread(format!("there is no built-in policy {name:?}"))),
        },
        PolicySource::File(path) => {
            let unread = |error| FetchError::Unread(format!("{}: {error}", path.display()));
            read(path, module_bytes).map_err(unread)?.into()
        }
    };
    with_bytes(spec, bytes, trust).map_err(FetchError::Refused)
}

/// The plugin that a configuration asks for, from bytes that were read already. A policy that comes with the proxy needs
/// no signature: it is as trusted as that.
pub(crate) fn with_bytes(spec: &PolicySpec, bytes: Arc<[u8]>, trust: &Trust) -> Result<Plugin, Refusal> {
    if let PolicySource::File(path) = &spec.source {
        trust.check(path, &bytes, spec.sha256)?;
    }
    Ok(Plugin { name: name(spec), bytes, config: spec.config.to_string().into() })
}

/// What the policy is called in logs, metrics and the status.
pub(crate) fn name(spec: &PolicySpec) -> Arc<str> {
    match &spec.source {
        PolicySource::Builtin(name) => name.as_str().into(),
        PolicySource::File(path) => path.file_name().map_or_else(|| "?".into(), |name| name.to_string_lossy()).into(),
    }
}

/// A byte more than the limit is enough for the engine to refuse the rest with a better message than ours.
fn read(path: &Path, limit: usize) -> std::io::Result<Vec<u8>> {
    // Opening a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("is not a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
