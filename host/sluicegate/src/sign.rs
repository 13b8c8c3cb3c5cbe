//! `sluicegate keygen` and `sluicegate sign`: for proxies that trust only what somebody has signed.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result, anyhow};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use sluicegate_control::signature_path;
use sluicegate_policy::Digest;

use crate::cli;

/// Makes a key pair: the private key in a file that only this user may read, the public one on the screen.
pub(crate) fn keygen(arguments: &cli::Keygen) -> Result<ExitCode> {
    let path = &arguments.file;
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| anyhow!("the system gives no random numbers"))?;
    // An existing key is not replaced: what it has signed would be worthless.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written =
        file.as_mut().map_err(|error| anyhow!("{error}")).and_then(|file| Ok(file.write_all(pkcs8.as_ref())?));
    written.with_context(|| format!("can't write {}", path.display()))?;
    println!("{}", public_key(path)?);
    eprintln!("the private key is in {}; the line above goes into the configuration:", path.display());
    eprintln!("[policy]\ntrusted_keys = [\"...\"]");
    Ok(ExitCode::SUCCESS)
}

/// Signs a file: the signature goes beside it.
pub(crate) fn sign(arguments: &cli::Sign) -> Result<ExitCode> {
    let pair = read(&arguments.key)?;
    let bytes = fs::read(&arguments.file).with_context(|| format!("can't read {}", arguments.file.display()))?;
    let signature: String = pair.sign(&bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let path = signature_path(&arguments.file);
    let written = File::create(&path).and_then(|mut file| writeln!(file, "{signature}"));
    written.with_context(|| format!("can't write {}", path.display()))?;
    println!("{}", path.display());
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Ed25519KeyPair> {
    let bytes = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&bytes).map_err(|error| {
        anyhow!("{}: not an Ed25519 key in PKCS #8 (DER), as `sluicegate keygen` makes it: {error}", path.display())
    })
}

fn public_key(path: &Path) -> Result<String> {
    let pair = read(path)?;
    let bytes = <[u8; 32]>::try_from(pair.public_key().as_ref())?;
    Ok(Digest(bytes).to_string())
}
