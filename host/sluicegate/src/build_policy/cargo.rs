//! Cargo, and what it says.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const TARGET: &str = "wasm32-unknown-unknown";

/// Lets scans of many endpoints take four at a time, where the user's own flags (`RUSTFLAGS`, or the key
/// `target.wasm32-unknown-unknown.rustflags`) do not stand in their place.
const FLAGS: (&str, &str) = ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-Ctarget-feature=+simd128");

/// The library that a crate is built to.
pub(crate) struct Library {
    /// As its module is called, without the extension.
    pub(crate) name: String,
    /// Where cargo puts what it makes.
    pub(crate) target_dir: PathBuf,
    package: String,
    manifest: PathBuf,
}

/// A cargo at work, which can be told to stop.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<Work>>);

#[derive(Default)]
struct Work {
    child: Option<Child>,
    is_over: bool,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops it, as Ctrl-C does, and whatever would come after it.
    pub(crate) fn interrupt(&self) {
        let mut work = self.lock();
        work.is_over = true;
        if let Some(child) = &work.child {
            // It may have ended by itself.
            let _ = kill_process(Pid::from_child(child), Signal::INT);
        }
    }
}

/// Finds out what is in a folder, before anything is built.
pub(crate) fn library(dir: &Path) -> Result<Library> {
    let manifest = dir.join("Cargo.toml");
    ensure!(manifest.is_file(), "{} has no Cargo.toml: name the folder of a policy's crate", dir.display());
    let manifest = fs::canonicalize(&manifest).with_context(|| manifest.display().to_string())?;
    let mut command = cargo(dir);
    command.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(&manifest);
    let output = command.stderr(Stdio::inherit()).output().map_err(not_started)?;
    ensure!(output.status.success(), "cargo can't read {}: its message is above", manifest.display());
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo's metadata is not JSON")?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let package = packages.iter().find(|package| is_at(package, &manifest));
    let package = package.ok_or_else(|| {
        anyhow!("{} holds no crate but a workspace: name the folder of one of its crates", dir.display())
    })?;
    let targets = package["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(library) = targets.iter().find(|target| is_cdylib(target)) else {
        bail!(
            "{} builds no module: its Cargo.toml needs\n\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n",
            dir.display()
        );
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let target_dir = text(&metadata["target_directory"]).into();
    let name = text(&library["name"]).replace('-', "_");
    Ok(Library { name, target_dir, package: text(&package["name"]), manifest })
}

/// Builds it, and returns where the module is. What cargo has to say goes to the user.
pub(crate) fn build(dir: &Path, library: &Library, running: &Running) -> Result<PathBuf> {
    let mut command = cargo(dir);
    if env::var_os(FLAGS.0).is_none() {
        command.env(FLAGS.0, FLAGS.1);
    }
    command.args(["build", "--release", "--lib", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    command.args(["--package", &library.package, "--manifest-path"]).arg(&library.manifest);
    let messages = {
        let mut work = running.lock();
        ensure!(!work.is_over, "stopped before it was built");
        let child = work.child.insert(command.stdout(Stdio::piped()).spawn().map_err(not_started)?);
        child.stdout.take()
    };
    let mut module = None;
    if let Some(messages) = messages {
        for line in BufReader::new(messages).lines() {
            module = module_of(&line?, library).or(module);
        }
    }
    // It has closed its output: it is about to end, if it has not.
    let ended = running.lock().child.take().map(|mut child| child.wait()).transpose()?;
    ensure!(
        ended.is_some_and(|status| status.success()),
        "{} could not be built: cargo's messages are above",
        library.package
    );
    module.ok_or_else(|| anyhow!("cargo built {}, but names no module of it", library.package))
}

/// The module, if this is the message about it.
fn module_of(message: &str, library: &Library) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let ours = message["reason"] == "compiler-artifact" && is_at(&message, &library.manifest);
    if !ours || !is_cdylib(&message["target"]) {
        return None;
    }
    let files = message["filenames"].as_array()?.iter().filter_map(Value::as_str).map(PathBuf::from);
    files.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

fn is_at(value: &Value, manifest: &Path) -> bool {
    let found = value["manifest_path"].as_str().map(Path::new);
    found.is_some_and(|found| found == manifest || fs::canonicalize(found).is_ok_and(|found| found == manifest))
}

fn is_cdylib(target: &Value) -> bool {
    target["crate_types"].as_array().is_some_and(|types| types.iter().any(|kind| kind == "cdylib"))
}

/// Without the target, rustc complains that it "can't find crate for `core`", once for every dependency.
pub(crate) fn ensure_target(dir: &Path) -> Result<()> {
    let mut rustc = Command::new(program("RUSTC", "rustc"));
    let printed = rustc.current_dir(dir).args(["--print", "target-libdir", "--target", TARGET]).output();
    // A toolchain that can't even say so is cargo's to complain about.
    let Ok(output) = printed else { return Ok(()) };
    let libraries = String::from_utf8_lossy(&output.stdout);
    ensure!(
        !output.status.success() || Path::new(libraries.trim()).exists(),
        "this Rust can't build WebAssembly yet. Run:\n\n    rustup target add {TARGET}\n"
    );
    Ok(())
}

fn cargo(dir: &Path) -> Command {
    let mut command = Command::new(program("CARGO", "cargo"));
    // What clippy, when this runs in its tests, means for another build. The user's own flags and folders stay.
    command.current_dir(dir).env_remove("RUSTC_WORKSPACE_WRAPPER").env_remove("CLIPPY_ARGS");
    command
}

/// Where cargo's own environment says, under `cargo run`, and on the path otherwise.
fn program(variable: &str, default: &str) -> OsString {
    env::var_os(variable).filter(|value| !value.is_empty()).unwrap_or_else(|| default.into())
}

fn not_started(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            anyhow!("cargo is not there: policies are written in Rust, which https://rustup.rs installs")
        }
        _ => anyhow!("cargo can't be started: {error}"),
    }
}
