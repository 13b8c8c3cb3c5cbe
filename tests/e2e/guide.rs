//! The guide's listings in TOML and shell, read and run by the real binary. Those in Rust are tests of the guide's crate.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use sluicegate_tests::{Origin, Proxy, binary};
use tempfile::TempDir;

use crate::config;

/// The listings of a kind, of every chapter: the chapter's file, and the listing.
fn listings(kind: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for entry in fs::read_dir(docs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        // Before the first fence, then within one, then outside again.
        for block in text.split("\n```").skip(1).step_by(2) {
            let (info, listing) = block.split_once('\n').unwrap();
            if info == kind {
                found.push((name.clone(), listing.to_owned()));
            }
        }
    }
    assert!(!found.is_empty(), "no {kind} in the guide");
    found
}

fn policy() -> &'static [u8] {
    sluicegate_builtins::get("least-request").unwrap()
}

#[test]
fn every_configuration_is_taken() {
    for (chapter, listing) in listings("toml") {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("sluicegate.toml");
        // The policies that are named are not these, so that what only they can be configured with is left out.
        let listing = listing.replace(", config = { rest_ms = 500 }", "");
        fs::write(&path, format!("{listing}\n")).unwrap();
        fs::create_dir(dir.path().join("policies")).unwrap();
        for file in ["mine.wasm", "policies/calm.wasm"] {
            fs::write(dir.path().join(file), policy()).unwrap();
        }
        let output = Command::new(binary()).args(["run", "--check", "--config"]).arg(&path).output().unwrap();
        assert!(output.status.success(), "{chapter}: {}\n{listing}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Each chapter's commands, in their order, against a proxy of its own.
#[test]
fn every_command_works() {
    let mut chapters: Vec<(String, String)> = Vec::new();
    for (chapter, listing) in listings("sh") {
        match chapters.iter_mut().find(|(name, _)| *name == chapter) {
            Some((_, script)) => script.push_str(&listing),
            None => chapters.push((chapter, listing)),
        }
        chapters.last_mut().unwrap().1.push('\n');
    }
    for (chapter, script) in chapters {
        let origins = Origin::several(2);
        let proxy = Proxy::start(&config("\"p2c\"", &origins), |dir| {
            fs::write(dir.join("mine.wasm"), policy()).unwrap();
        });
        // The proxy of the guide listens at the default address, this one somewhere else.
        let wrapper = proxy.path("sluicegate");
        let (program, admin) = (binary().display(), proxy.admin);
        let text = format!(
            "#!/bin/sh\nif [ \"$1\" = policy ]; then exec {program} \"$@\" --admin http://{admin}; fi\nexec {program} \"$@\"\n"
        );
        fs::write(&wrapper, text).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", proxy.dir.path().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        let output = shell.args(["-euc", &script]).current_dir(proxy.dir.path()).env("PATH", path).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{chapter}: {}\n{script}", String::from_utf8_lossy(&said));
    }
}
