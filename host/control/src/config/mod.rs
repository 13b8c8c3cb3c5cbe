//! The configuration: one TOML file, checked whole before anything acts on it.
//!
//! The text becomes a tree of values that know where they stand (`tree`), and the tree becomes a [`Config`] (`read`,
//! `cluster`, `route` and `tls`), with no I/O and nothing bound on the way. Every mistake in the file is reported at once, each with
//! its place, so that an operator mends a file in one go. Only the validated [`Config`] travels further.

mod admin;
mod cluster;
mod diff;
mod discovery;
mod eligibility;
mod errors;
mod forwarding;
mod limits;
mod model;
mod read;
mod retry;
mod route;
mod route_changes;
mod route_target;
mod tls;
mod tree;

pub use diff::ClusterChange;
pub use errors::{ConfigError, ConfigErrors};
pub use model::{
    Admin, CertificateFiles, ClientCertificates, Cluster, ClusterTls, Config, Discovery, Dns, Eligibility, HealthCheck,
    Listener, ListenerTls, Log, LogFormat, Lookup, ModuleCache, PolicyLimits, PolicySource, PolicySpec, Question,
    Runtime, TokenSource,
};

use std::{io::Read as _, path::Path};

use sluicegate_core::EndpointSpec;

use toml::de::{DeTable, DeValue};

use tree::Sink;

// A file of this size holds ten thousand endpoints many times over; reading a larger one by mistake (a device, a log)
// must not fill the memory.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Reads and validates the file at `path`. `builtins` are the names of the policies that come with the proxy.
pub fn load(path: &Path, builtins: &[&str]) -> Result<Config, ConfigErrors> {
    match text_of(path) {
        Ok(text) => parse(&text, path, builtins),
        Err(message) => Err(ConfigErrors::unread(path, message)),
    }
}

/// Validates the text of the file at `path`, which is not read: it names the file in errors, and relative paths in
/// the text are relative to its directory.
pub fn parse(text: &str, path: &Path, builtins: &[&str]) -> Result<Config, ConfigErrors> {
    let dir = path.parent().unwrap_or(Path::new(""));
    read(text, path, |document, sink| read::config(document, dir, builtins, sink))
}

/// Validates the text of a file with nothing but `endpoints = [...]` in it.
pub fn parse_endpoints(text: &str, path: &Path) -> Result<Vec<EndpointSpec>, ConfigErrors> {
    read(text, path, cluster::endpoints_file)
}

/// Reads and validates such a file.
pub fn load_endpoints(path: &Path) -> Result<Vec<EndpointSpec>, ConfigErrors> {
    match text_of(path) {
        Ok(text) => parse_endpoints(&text, path),
        Err(message) => Err(ConfigErrors::unread(path, message)),
    }
}

fn read<T>(
    text: &str,
    path: &Path,
    read: impl FnOnce(&DeValue<'_>, &Sink<'_>) -> Option<T>,
) -> Result<T, ConfigErrors> {
    let sink = Sink::new(path, text);
    match DeTable::parse(text) {
        Ok(document) => {
            let document = DeValue::Table(document.into_inner());
            let value = read(&document, &sink);
            let errors = sink.finish();
            match value {
                Some(value) if errors.is_empty() => Ok(value),
                _ => Err(errors),
            }
        }
        // After a syntax error, what follows would be guesswork, so it is the only one reported.
        Err(error) => {
            let start = error.span().map_or(text.len(), |span| span.start);
            let rest = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
            let found: String = rest.chars().take(30).collect();
            let found = if found.is_empty() { "the end of the line".to_owned() } else { format!("{found:?}") };
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            sink.error(start, "", format_args!("not TOML at {found}: {message}"));
            Err(sink.finish())
        }
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    match read.map_err(|error| format!("cannot be read: {error}"))? as u64 {
        0..=MAX_FILE_BYTES => Ok(text),
        _ => Err(format!("is larger than {} MiB, the most that is read", MAX_FILE_BYTES >> 20)),
    }
}
