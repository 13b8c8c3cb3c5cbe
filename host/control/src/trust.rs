//! Whose policies are put to use: pins and signatures.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ring::signature::{ED25519, UnparsedPublicKey};
use sluicegate_policy::{Digest, Refusal};

/// Somebody whose signature is trusted: an Ed25519 public key (RFC 8032).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// From 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(hex(text)?.try_into().ok()?))
    }

    /// Whether the owner of this key has signed these bytes.
    pub fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(bytes, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Digest(self.0).fmt(f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the signature of a policy's file is.
pub fn signature_path(file: &Path) -> PathBuf {
    let mut path = OsString::from(file);
    path.push(".sig");
    path.into()
}

/// How many signatures are remembered: as many as a thousand clusters can go back to. What is older has to be swapped in
/// with its file.
const MAX_SIGNED: usize = 4096;

/// The keys that are trusted, and what is known to be signed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    keys: Vec<PublicKey>,
    /// Whose signature of which file was seen, the latest last; whatever the keys are. A generation that is gone back to
    /// has neither file nor signature any more.
    signed: Arc<Mutex<VecDeque<(Digest, PublicKey)>>>,
}

impl Trust {
    /// The same with other keys.
    pub(crate) fn with_keys(&self, keys: &[PublicKey]) -> Self {
        Self { keys: keys.to_vec(), signed: Arc::clone(&self.signed) }
    }

    /// Checks what a policy's file holds against the pin, if there is one, and its signature, if any key is trusted.
    pub(crate) fn check(&self, file: &Path, bytes: &[u8], pin: Option<Digest>) -> Result<(), Refusal> {
        let digest = Digest::of(bytes);
        if let Some(pin) = pin.filter(|pin| *pin != digest) {
            return Err(Refusal::WrongDigest { pinned: pin.to_string(), found: digest.to_string() });
        }
        if self.keys.is_empty() {
            return Ok(());
        }
        let path = signature_path(file);
        let untrusted = |reason: String| Err(Refusal::Untrusted { reason });
        let signature = match read(&path) {
            Ok(signature) => signature,
            Err(error) => return untrusted(format!("{} can't be read: {error}", path.display())),
        };
        match self.keys.iter().find(|key| key.has_signed(bytes, &signature)) {
            Some(key) => {
                self.remember((digest, *key));
                Ok(())
            }
            None => untrusted(format!("{} is not of these bytes, or by somebody else", path.display())),
        }
    }

    /// Checks what was let in some time ago, when other keys may have been trusted, or none. A policy that comes with the
    /// proxy needs no signature.
    pub(crate) fn check_again(&self, digest: Digest) -> Result<(), Refusal> {
        let is_builtin =
            || sluicegate_builtins::names().filter_map(sluicegate_builtins::get).any(|wasm| Digest::of(wasm) == digest);
        let is_signed = |(of, key): &(Digest, PublicKey)| *of == digest && self.keys.contains(key);
        if self.keys.is_empty() || self.signed().iter().any(is_signed) || is_builtin() {
            return Ok(());
        }
        let reason =
            format!("those that are trusted now are not known to have signed {digest}: sign its file and swap it in");
        Err(Refusal::Untrusted { reason })
    }

    fn remember(&self, signature: (Digest, PublicKey)) {
        let mut signed = self.signed();
        signed.retain(|known| *known != signature);
        if signed.len() == MAX_SIGNED {
            signed.pop_front();
        }
        signed.push_back(signature);
    }

    fn signed(&self) -> std::sync::MutexGuard<'_, VecDeque<(Digest, PublicKey)>> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A signature: 64 bytes as they are, or as hexadecimal digits.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    // Text has twice as many characters, and a line's end.
    const MAX_BYTES: u64 = 200;
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err("it is no file with a signature: write 64 bytes, or 128 hexadecimal digits".into());
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    Ok(std::str::from_utf8(&bytes).ok().and_then(|text| hex(text.trim())).unwrap_or(bytes))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|start| u8::from_str_radix(&text[start..start + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2: a public key, a message of one byte, and its signature.
    const KEY: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const MESSAGE: &[u8] = &[0x72];
    const SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    #[test]
    fn the_published_signature_counts_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.wasm");
        let sign = |signature: &[u8]| fs::write(dir.path().join("mine.wasm.sig"), signature).unwrap();
        let keys = [PublicKey([7; 32]), PublicKey::parse(KEY).unwrap()];
        let check = |bytes: &[u8], keys: &[PublicKey]| Trust::default().with_keys(keys).check(&file, bytes, None);
        let reason = |bytes: &[u8], keys: &[PublicKey]| check(bytes, keys).unwrap_err().to_string();
        assert!(reason(MESSAGE, &keys).contains("mine.wasm.sig can't be read: No such file"));
        sign(SIGNATURE.as_bytes());
        check(MESSAGE, &keys).unwrap();
        sign(&hex(SIGNATURE).unwrap());
        check(MESSAGE, &keys).unwrap();
        assert!(reason(&[0x73], &keys).contains("is not of these bytes"));
        assert!(reason(MESSAGE, &keys[..1]).contains("by somebody else"));
        sign(&[b'x'; 500]);
        assert!(reason(MESSAGE, &keys).contains("it is no file with a signature"));
        check(MESSAGE, &[]).unwrap();
    }

    #[test]
    fn what_was_let_in_is_checked_by_the_keys_of_now() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.wasm");
        fs::write(signature_path(&file), SIGNATURE).unwrap();
        let (key, other) = (PublicKey::parse(KEY).unwrap(), PublicKey([7; 32]));
        let trust = Trust::default().with_keys(&[other, key]);
        let again = |keys: &[PublicKey]| trust.with_keys(keys).check_again(Digest::of(MESSAGE));
        assert!(again(&[key]).is_err(), "nobody has seen its signature yet");
        trust.check(&file, MESSAGE, None).unwrap();
        assert!(again(&[other, key]).is_ok() && again(&[key]).is_ok() && again(&[]).is_ok());
        let error = again(&[other]).unwrap_err().to_string();
        assert!(error.contains("trusted now") && error.contains(&Digest::of(MESSAGE).to_string()), "{error}");
        assert!(trust.check_again(Digest::of(sluicegate_builtins::get("p2c").unwrap())).is_ok());
        // A bound on what is remembered: the oldest goes first.
        (0..MAX_SIGNED as u64).for_each(|number| trust.remember((Digest::of(&number.to_be_bytes()), key)));
        assert!(again(&[key]).is_err() && trust.signed().len() == MAX_SIGNED);
    }

    #[test]
    fn a_pin_is_for_one_file() {
        let pin = Digest::of(MESSAGE);
        let check = |bytes: &[u8]| Trust::default().check(Path::new("x"), bytes, Some(pin));
        check(MESSAGE).unwrap();
        let error = check(&[]).unwrap_err().to_string();
        assert!(error.contains(&pin.to_string()) && error.contains(&Digest::of(&[]).to_string()), "{error}");
    }

    #[test]
    fn keys_have_64_digits() {
        assert!(PublicKey::parse(KEY).is_some_and(|key| key.to_string() == KEY));
        for wrong in ["", &KEY[1..], &KEY[2..], &format!("{KEY}00"), &KEY.replace('3', "g"), "ä"] {
            assert_eq!(PublicKey::parse(wrong), None, "{wrong}");
        }
    }
}
