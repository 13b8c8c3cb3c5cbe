//! From what the configuration says of a policy to its bytes.

use std::{fs, io::Read as _, path::Path, sync::Arc};

use sluicegate_policy::Plugin;

use crate::config::{PolicySource, PolicySpec};

/// The plugin that a configuration asks for. Reads its file, if it is one.
pub(crate) fn fetch(spec: &PolicySpec, module_bytes: usize) -> Result<Plugin, String> {
    match &spec.source {
        PolicySource::Builtin(name) => {
            let wasm = sluicegate_builtins::get(name).ok_or_else(|| format!("there is no built-in policy {name:?}"))?;
            Ok(with_bytes(spec, wasm.into()))
        }
        PolicySource::File(path) => {
            let bytes = read(path, module_bytes).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(with_bytes(spec, bytes.into()))
        }
    }
}

/// The plugin that a configuration asks for, from bytes that were read already.
pub(crate) fn with_bytes(spec: &PolicySpec, bytes: Arc<[u8]>) -> Plugin {
    Plugin { name: name(&spec.source), bytes, config: spec.config.to_string().into() }
}

/// What the policy is called in logs, metrics and the status.
fn name(source: &PolicySource) -> Arc<str> {
    match source {
        PolicySource::Builtin(name) => name.as_str().into(),
        PolicySource::File(path) => path.file_name().map_or_else(|| "?".into(), |name| name.to_string_lossy()).into(),
    }
}

/// A byte more than the limit is enough for the engine to refuse the rest with a better message than ours.
fn read(path: &Path, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
