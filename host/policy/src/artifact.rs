//! A plugin as loaded: its bytes' digest, its compiled code, and what it exports and imports.

mod unwrap;

use std::{
    fmt,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use wasmtime::{InstancePre, Module, component, component::Component};

use crate::{
    Engine, Exports, Refusal, Uses, compiling,
    lane::{fast, portable},
    state::HostState,
};

/// The version of the contract that this host speaks.
pub(crate) const CONTRACT_VERSION: &str = "0.1.0";
pub(crate) const CONTRACT_PACKAGE: &str = "sluicegate:policy/";

/// SHA-256 of a plugin's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// From 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, start) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[start..start + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The first digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a plugin is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LaneKind {
    /// A core module, called directly.
    Fast,
    /// A component, called through the component model.
    Portable,
}

impl LaneKind {
    /// A short, stable name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Portable => "portable",
        }
    }
}

/// A plugin that is compiled and keeps to the contract's shape. What it does is for the rehearsal to find out.
pub struct Artifact {
    /// Of the file.
    pub digest: Digest,
    /// Of the file, in bytes.
    pub bytes: usize,
    /// The optional calls it exports.
    pub exports: Exports,
    /// The contract's functions that it imports, as `interface.function`.
    pub imports: Vec<String>,
    /// What of these makes a difference to the host.
    pub uses: Uses,
    /// How long it took to compile, or to read from the cache.
    pub load_time: Duration,
    /// Whether it came from the cache.
    pub cached: bool,
    /// Why it is run in its lane.
    pub lane_reason: String,
    pub(crate) code: Code,
}

/// Compiled code, linked to the host's functions.
#[derive(Clone)]
pub(crate) enum Code {
    Fast(InstancePre<HostState>),
    Portable(component::InstancePre<HostState>),
}

impl Artifact {
    /// How it is run.
    pub fn lane(&self) -> LaneKind {
        match self.code {
            Code::Fast(_) => LaneKind::Fast,
            Code::Portable(_) => LaneKind::Portable,
        }
    }

    /// The version of the contract that it was built for.
    pub fn contract_version(&self) -> &'static str {
        CONTRACT_VERSION
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact").field("digest", &self.digest).field("lane", &self.lane()).finish_non_exhaustive()
    }
}

pub(crate) fn load(engine: &Engine, digest: Digest, bytes: &[u8]) -> Result<Artifact, Refusal> {
    let limit = engine.limits.module_bytes;
    if bytes.len() > limit {
        return Err(Refusal::TooLarge { bytes: bytes.len(), limit });
    }
    let start = Instant::now();
    let (lane_reason, loaded) = match lane_of(bytes)? {
        LaneKind::Fast => ("a core module".into(), load_as(engine, LaneKind::Fast, digest, bytes)?),
        LaneKind::Portable => load_component(engine, digest, bytes)?,
    };
    let Loaded { checked: Checked { code, inspection: Inspection { exports, imports } }, cached } = loaded;
    let uses = Uses::of(&imports);
    let load_time = start.elapsed();
    Ok(Artifact { digest, bytes: bytes.len(), exports, imports, uses, load_time, cached, lane_reason, code })
}

struct Loaded {
    checked: Checked,
    cached: bool,
}

/// A component goes into the fast lane if it merely wraps a module that could go there by itself.
fn load_component(engine: &Engine, digest: Digest, bytes: &[u8]) -> Result<(String, Loaded), Refusal> {
    let reason = match unwrap::core_module(bytes) {
        Ok(range) => match load_as(engine, LaneKind::Fast, digest, &bytes[range]) {
            Ok(loaded) => return Ok(("a component that merely wraps one core module, taken out of it".into(), loaded)),
            Err(refusal) => format!("its core module can't be called directly: {refusal}"),
        },
        Err(reason) => reason,
    };
    let loaded = load_as(engine, LaneKind::Portable, digest, bytes)?;
    Ok((format!("a component, and not merely one wrapped core module: {reason}"), loaded))
}

/// Compiles, or finds compiled, and inspects. `digest`: of the whole file.
fn load_as(engine: &Engine, kind: LaneKind, digest: Digest, bytes: &[u8]) -> Result<Loaded, Refusal> {
    let found = engine.cache.as_ref().and_then(|cache| cache.get(&engine.wasm, digest, kind));
    let (checked, cached) = match found {
        Some(compiled) => (compiled.inspect(engine)?, true),
        None => (compiling::compile(engine, kind, digest, bytes)?, false),
    };
    Ok(Loaded { checked, cached })
}

/// Code that fits the contract.
#[derive(Clone)]
pub(crate) struct Checked {
    code: Code,
    inspection: Inspection,
}

/// What a plugin exports and imports, once it is known to fit the contract.
#[derive(Clone)]
pub(crate) struct Inspection {
    pub(crate) exports: Exports,
    pub(crate) imports: Vec<String>,
}

/// Code, not linked yet.
pub(crate) enum Compiled {
    Module(Module),
    Component(Component),
}

impl Compiled {
    /// Which lane it is for.
    pub(crate) fn kind(&self) -> LaneKind {
        match self {
            Self::Module(_) => LaneKind::Fast,
            Self::Component(_) => LaneKind::Portable,
        }
    }

    /// Checks it against the contract, and links it.
    pub(crate) fn inspect(&self, engine: &Engine) -> Result<Checked, Refusal> {
        let (code, inspection) = match self {
            Self::Module(module) => fast::inspect(engine, module)?,
            Self::Component(component) => portable::inspect(engine, component)?,
        };
        Ok(Checked { code, inspection })
    }
}

fn lane_of(bytes: &[u8]) -> Result<LaneKind, Refusal> {
    let hint = |hint| Err(Refusal::NotWasm { hint });
    match bytes {
        [] => hint("the file is empty"),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(LaneKind::Fast),
        [0, b'a', b's', b'm', _, 0, 1, 0, ..] => Ok(LaneKind::Portable),
        [0, b'a', b's', b'm', ..] if bytes.len() < 8 => Err(Refusal::Truncated { reason: "no version".into() }),
        [0, b'a', b's', b'm', ..] => hint("it is WebAssembly of an unknown version"),
        [0x7f, b'E', b'L', b'F', ..] => hint("it is a native library; build for the target wasm32-unknown-unknown"),
        _ if bytes.trim_ascii_start().starts_with(b"(") => {
            hint("it is WebAssembly text; a policy is a binary .wasm file")
        }
        _ => hint("it does not begin like a .wasm file"),
    }
}

/// Splits `sluicegate:policy/endpoints@0.1.0` into its interface, if it is the contract's and of our version.
pub(crate) fn contract_interface(name: &str) -> Result<Option<&str>, Refusal> {
    let Some(rest) = name.strip_prefix(CONTRACT_PACKAGE) else { return Ok(None) };
    match rest.split_once('@') {
        Some((interface, CONTRACT_VERSION)) => Ok(Some(interface)),
        Some((_, found)) => Err(Refusal::WrongVersion { found: found.to_owned(), supported: CONTRACT_VERSION }),
        None => Err(Refusal::WrongVersion { found: "(none)".into(), supported: CONTRACT_VERSION }),
    }
}

/// Refuses an import that is not the contract's, with what most likely went wrong.
pub(crate) fn unknown_import(module: &str, name: &str) -> Refusal {
    let hint = if module.starts_with("wasi") {
        ": policies have no WASI (no files, network, clocks); build for wasm32-unknown-unknown, or without the parts of \
         the standard library that need a system"
    } else if module == "env" {
        ": a function was declared but not linked"
    } else if module.contains("wbindgen") {
        ": wasm-bindgen is for browsers; some dependency wants a JavaScript host"
    } else {
        ""
    };
    Refusal::UnknownImport { module: module.to_owned(), name: name.to_owned(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_and_both_named() {
        assert!(matches!(contract_interface("sluicegate:policy/balancer@0.1.0"), Ok(Some("balancer"))));
        assert!(matches!(contract_interface("wasi:io/poll@0.2.0"), Ok(None)));
        let error = contract_interface("sluicegate:policy/balancer@0.9.0").unwrap_err().to_string();
        assert!(error.contains("0.9.0") && error.contains(CONTRACT_VERSION), "{error}");
    }

    #[test]
    fn files_that_are_not_wasm_are_told_apart() {
        for (bytes, expected) in [
            (&b""[..], "empty"),
            (b"\0asm", "incomplete"),
            (b"\0asm\x09\x09\x09\x09", "unknown version"),
            (b"\x7fELF....", "native library"),
            (b" (module)", "text"),
            (b"<html>", "does not begin"),
        ] {
            let error = lane_of(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
