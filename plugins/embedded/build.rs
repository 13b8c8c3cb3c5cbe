//! Builds the built-in policies for wasm, so that the proxy carries what its users would build.
//!
//! Cargo cannot build a dependency for another target yet, so this runs another cargo. It builds into a directory of
//! its own, where it does not wait for the lock that the outer one holds.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "plugin";
/// Scans of many endpoints take four at a time. The proxy always has it, and it gives the same answers everywhere.
const FLAGS: &str = "-Ctarget-feature=+simd128";
const PLUGINS: [&str; 17] = [
    "bounded-load",
    "c3",
    "least-request",
    "maglev",
    "orca-weighted",
    "p2c",
    "peak-ewma",
    "prefix-affinity",
    "prequal",
    "random",
    "rendezvous",
    "ring-hash",
    "round-robin",
    "sticky",
    "subset",
    "weighted-round-robin",
    "zone-aware",
];

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    watch(&root);

    let target_dir = out.join("plugins");
    let status = cargo(&root, &target_dir).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(_) => fail(explain()),
        Err(error) => fail(format!("cargo could not be started to build the built-in policies: {error}")),
    }
    for plugin in PLUGINS {
        let built = format!("sluicegate_plugin_{}.wasm", plugin.replace('-', "_"));
        let from = target_dir.join(TARGET).join(PROFILE).join(built);
        if let Err(error) = fs::copy(&from, out.join(format!("{plugin}.wasm"))) {
            fail(format!("the built-in policy `{plugin}` was built, but {} cannot be copied: {error}", from.display()));
        }
    }
}

/// What the modules are made of. Cargo looks into folders.
fn watch(root: &Path) {
    let sdk =
        ["plugin-sdk/Cargo.toml", "plugin-sdk/src", "plugin-sdk/wit", "Cargo.toml", "Cargo.lock"].map(String::from);
    let plugins =
        PLUGINS.iter().flat_map(|plugin| ["Cargo.toml", "src"].map(|file| format!("plugins/{plugin}/{file}")));
    for path in plugins.chain(sdk) {
        // A path that is not there would run this script every time.
        let path = root.join(path);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
}

fn cargo(root: &Path, target_dir: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["build", "--target", TARGET, "--profile", PROFILE]);
    cargo.arg("--target-dir").arg(target_dir);
    for plugin in PLUGINS {
        cargo.args(["--package", &format!("sluicegate-plugin-{plugin}")]);
    }
    if root.join("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
    // What is meant for the outer build would be wrong for this one: flags for the host's target, clippy's and
    // coverage's wrappers, the features and the profile of this very crate, and the outer jobserver, which cargo
    // does not pass on in a way that a build script's child could rely on.
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let ours = ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_TERM_COLOR", "CARGO_HTTP_PROXY", "CARGO_HTTP_CAINFO"];
        let registry = name.starts_with("CARGO_REGISTR") || name.starts_with("CARGO_NET_") || ours.contains(&name);
        let others = ["RUSTFLAGS", "RUSTDOCFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];
        let toolchain = ["TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "OUT_DIR", "NUM_JOBS", "MAKEFLAGS"];
        let outer = name.starts_with("CARGO_") || name.starts_with("DEP_") || name.starts_with("CLIPPY_");
        if outer && !registry || others.contains(&name) || toolchain.contains(&name) {
            cargo.env_remove(name);
        }
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS);
    cargo
}

/// The likeliest reason by far, and what to do about it.
fn explain() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let installed = libraries.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists());
    if installed {
        "the built-in policies could not be built: cargo's own messages are above".into()
    } else {
        format!(
            "the built-in policies are WebAssembly, and Rust cannot build that yet. Run:  rustup target add {TARGET}"
        )
    }
}

fn fail(message: String) -> ! {
    println!("cargo::error={message}");
    exit(1);
}
