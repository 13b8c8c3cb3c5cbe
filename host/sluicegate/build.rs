//! Packs the SDK's sources into the binary: the SDK that fits a proxy is the one that speaks the same contract, so
//! `sluicegate new` hands out its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// What a crate needs to be built. The SDK's own tests stay at home.
const PARTS: [&str; 3] = ["Cargo.toml", "src", "wit"];

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let sdk = here.join("../../plugin-sdk");
    let mut files = Vec::new();
    for part in PARTS {
        let path = sdk.join(part);
        println!("cargo::rerun-if-changed={}", path.display());
        collect(&path, part.to_owned(), &mut files);
    }
    println!("cargo::rerun-if-changed=build.rs");
    files.sort();
    let entries = files.iter().map(|(name, path)| format!("    ({name:?}, include_str!({path:?})),\n"));
    let table = format!("&[\n{}]\n", entries.collect::<String>());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("sdk.rs"), table).expect("the table of the SDK's files can be written");
}

/// Lists a file, or all files under a folder, by their names inside the SDK.
fn collect(path: &Path, name: String, files: &mut Vec<(String, PathBuf)>) {
    if !path.is_dir() {
        return files.push((name, path.to_owned()));
    }
    let entries = fs::read_dir(path).expect("the SDK's folder can be read");
    for entry in entries {
        let entry = entry.expect("the SDK's folder can be read");
        let file = entry.file_name().into_string().expect("the SDK's files have plain names");
        // What editors leave behind.
        if !file.starts_with('.') && !file.ends_with('~') {
            collect(&entry.path(), format!("{name}/{file}"), files);
        }
    }
}
