//! `sluicegate build`: from a policy's crate to a module that the proxy takes.

pub(crate) mod cargo;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use anyhow::{Context, Result, anyhow};
use serde_json::json;
use sluicegate_policy::{Limits, Refusal};

use crate::{
    check::{Examination, report},
    cli,
};

/// How many endpoints the result is rehearsed with: as many as `sluicegate check` takes by itself.
pub(crate) const ENDPOINTS: u16 = 16;

/// Builds, checks, and only then puts the module in its place: what a proxy may be watching is not replaced by
/// something that it would refuse.
pub(crate) fn run(arguments: &cli::Build) -> Result<ExitCode> {
    let library = cargo::library(&arguments.dir)?;
    cargo::ensure_target(&arguments.dir)?;
    let built = cargo::build(&arguments.dir, &library, &cargo::Running::default())?;
    let bytes = fs::read(&built).with_context(|| format!("can't read {}", built.display()))?;
    let output = match &arguments.output {
        Some(output) => output.clone(),
        None => arguments.dir.join(format!("{}.wasm", library.name)),
    };
    let name = output.display().to_string();
    let examination =
        Examination::of(built.display().to_string(), bytes.clone(), &json!({}), ENDPOINTS, Limits::default())?;
    match &examination.verdict {
        Ok(rehearsal) => {
            replace(&output, &bytes)?;
            print_built(&name, &bytes, &examination);
            println!("{}: median pick {} ns\n", report::ok(), rehearsal.pick_ns);
        }
        // Whether it wants to be configured is for the operator to know: the module is all right.
        Err(Refusal::Configure { reason }) => {
            replace(&output, &bytes)?;
            print_built(&name, &bytes, &examination);
            println!("It wants a configuration ({reason}), so it was not rehearsed. Do that with:");
            println!("    sluicegate check {name} --config '{{...}}'\n");
        }
        Err(refusal) => {
            eprintln!("{}", report::refused(refusal));
            eprintln!("The module is {}; {name} stays as it was.", built.display());
            return Ok(ExitCode::FAILURE);
        }
    }
    println!("See it balance:  sluicegate demo --policy {name}");
    println!("Have it serve:   policy = {{ file = {name:?} }} in the configuration; a proxy that runs takes it now");
    Ok(ExitCode::SUCCESS)
}

fn print_built(name: &str, bytes: &[u8], examination: &Examination) {
    println!("{name}: {}, sha256 {}", report::bytes(bytes.len()), examination.digest);
}

/// Replaces a file at once: a proxy that watches it never sees half of it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = path.file_name().ok_or_else(|| anyhow!("{} is no file's name", path.display()))?;
    let unfinished: PathBuf = path.with_file_name(format!(".{}.{}.new", file.display(), process::id()));
    let written = fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&unfinished);
    }
    written.with_context(|| format!("can't write {}", path.display()))
}
