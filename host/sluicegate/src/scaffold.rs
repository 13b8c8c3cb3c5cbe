//! `sluicegate new`: a policy's crate, which builds and passes its tests as it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use anyhow::{Context, Result, bail, ensure};

use crate::cli;

/// The SDK's files, by their names inside its folder.
const SDK: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Where the SDK's copy goes.
const SDK_DIR: &str = "sluicegate-sdk";

const MANIFEST: &str = include_str!("templates/manifest.toml");
const LIB: &str = include_str!("templates/lib.rs");
const README: &str = include_str!("templates/readme.md");
const GITIGNORE: &str = include_str!("templates/gitignore");

/// Rust's keywords, those in waiting included: a crate of such a name can't be spoken of.
const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else enum extern false \
    final fn for gen if impl in let loop macro match mod move mut override priv pub ref return self static struct \
    super trait true try type typeof unsafe unsized use virtual where while yield";

/// Crates that are there already.
const TAKEN: &str = "alloc core proc_macro serde serde_derive serde_json sluicegate_sdk std test wit_bindgen";

/// Makes the crate, and says what to do with it.
pub(crate) fn run(arguments: &cli::New) -> Result<ExitCode> {
    let name = &arguments.name;
    if let Err(reason) = check_name(name) {
        bail!("{name:?} can't be a crate's name: {reason}");
    }
    let target = Path::new(name);
    ensure!(is_free(target)?, "{name} exists already: choose another name, or empty it");
    let sdk = arguments.sdk.as_deref().map(existing_sdk).transpose()?;
    write_whole(target, &files(name, sdk.as_deref())?).with_context(|| format!("can't make {name}"))?;
    let file = name.replace('-', "_");
    println!("Made {name}: a policy, in {name}/src/lib.rs. Next:\n");
    println!("    (cd {name} && cargo test)");
    println!("    sluicegate build {name}");
    println!("    sluicegate demo --policy {name}/{file}.wasm");
    Ok(ExitCode::SUCCESS)
}

/// Cargo's rules for names, and those that its compiler adds.
fn check_name(name: &str) -> Result<(), String> {
    let known = |list: &str| list.split_whitespace().any(|word| word == name.replace('-', "_"));
    let strange = |c: &char| !c.is_ascii_alphanumeric() && !['-', '_'].contains(c);
    if name.is_empty() {
        return Err("it is empty".into());
    }
    if let Some(strange) = name.chars().find(strange) {
        return Err(format!("it has {strange:?}; letters, digits, `-` and `_` are allowed"));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err("it does not start with a letter".into());
    }
    if name.len() > 64 {
        return Err("it is longer than 64 characters".into());
    }
    if known(KEYWORDS) {
        return Err("it is a Rust keyword".into());
    }
    if known(TAKEN) {
        return Err("a crate of that name is part of every policy".into());
    }
    Ok(())
}

/// Whether nothing would be overwritten.
fn is_free(target: &Path) -> Result<bool> {
    match fs::read_dir(target) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error).with_context(|| format!("can't look into {}", target.display())),
    }
}

/// The SDK in a folder of the user's, by a path that holds wherever the crate goes.
fn existing_sdk(dir: &Path) -> Result<String> {
    let manifest = dir.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| format!("no SDK: can't read {}", manifest.display()))?;
    ensure!(text.contains("name = \"sluicegate-sdk\""), "no SDK: {} is another crate's", manifest.display());
    let dir = fs::canonicalize(dir).with_context(|| format!("no SDK: {}", dir.display()))?;
    dir.into_os_string().into_string().map_err(|dir| anyhow::anyhow!("the SDK's path is not text: {}", dir.display()))
}

/// All files of the crate, by their names inside its folder.
fn files(name: &str, sdk: Option<&str>) -> Result<Vec<(String, String)>> {
    let note = match sdk {
        Some(_) => "The SDK is the one that `Cargo.toml` names.".to_owned(),
        None => format!(
            "`{SDK_DIR}` is the SDK, in the version ({}) of the Sluicegate that made this crate: the one that fits it.",
            env!("CARGO_PKG_VERSION"),
        ),
    };
    // A JSON string is a TOML string too.
    let path = serde_json::to_string(sdk.unwrap_or(SDK_DIR))?;
    let fill = |template: &str| {
        let values =
            [("{{name}}", name), ("{{file}}", &name.replace('-', "_")), ("{{sdk}}", &path), ("{{sdk_note}}", &note)];
        values.iter().fold(template.to_owned(), |text, (key, value)| text.replace(key, value))
    };
    let own = [("Cargo.toml", MANIFEST), ("src/lib.rs", LIB), ("README.md", README), (".gitignore", GITIGNORE)];
    let own = own.iter().map(|(path, template)| ((*path).to_owned(), fill(template)));
    let carried = if sdk.is_none() { SDK } else { &[] };
    let carried = carried.iter().map(|(path, text)| (format!("{SDK_DIR}/{path}"), (*text).to_owned()));
    Ok(own.chain(carried).collect())
}

/// Writes a folder beside its place and moves it there: it is whole, or it is not there.
fn write_whole(target: &Path, files: &[(String, String)]) -> Result<()> {
    let unfinished = PathBuf::from(format!(".{}.{}.new", target.display(), process::id()));
    let write = || -> Result<()> {
        for (path, text) in files {
            let path = unfinished.join(path);
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        // An empty folder gives way.
        Ok(fs::rename(&unfinished, target)?)
    };
    let written = write();
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_dir_all(&unfinished);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_cargo_takes() {
        for name in ["my-policy", "p2c", "a", "least_loaded2"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, expected) in [
            ("", "empty"),
            ("2fast", "start with a letter"),
            ("-x", "start with a letter"),
            ("_", "start with a letter"),
            ("a b", "' '"),
            ("../up", "'.'"),
            ("größe", "'ö'"),
            ("match", "keyword"),
            ("sluicegate-sdk", "part of every policy"),
            (&"x".repeat(65), "longer"),
        ] {
            let reason = check_name(name).unwrap_err();
            assert!(reason.contains(expected), "{name:?}: {reason}");
        }
    }

    #[test]
    fn every_placeholder_is_filled() {
        for sdk in [None, Some("/some\\where \"else\"")] {
            let files = files("my-policy", sdk).unwrap();
            assert!(files[..4].iter().all(|(_, text)| !text.contains("{{")));
            assert_eq!(files.iter().any(|(path, _)| path == "sluicegate-sdk/wit/policy.wit"), sdk.is_none());
        }
    }
}
