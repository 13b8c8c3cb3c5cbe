//! Who may change policies, and which are let in: tokens, pins and signatures.

use std::{fs, process::Command};

use serde_json::{Value, json};
use sluicegate_tests::{
    Load, Origin, Proxy, binary,
    wasm::{self, ByHand},
};

use crate::{
    config,
    trials::{done, policy, sluicegate},
};

/// A folder with a configuration whose admin listener has these settings.
fn guarded(admin: &str, origins: &[Origin]) -> tempfile::TempDir {
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n{admin}\n\
         [runtime]\nworkers = 1\n[log]\nformat = \"json\"\naccess = false\n[policy]\ncache = \"cache\"\n{}",
        config("\"p2c\"", origins)
    );
    let dir = tempfile::TempDir::new().unwrap();
    fs::write(dir.path().join("sluicegate.toml"), text).unwrap();
    dir
}

#[test]
fn a_socket_and_a_token() {
    let origins = Origin::several(1);
    let dir = guarded("socket = \"admin.sock\"\ntoken_file = \"token\"", &origins);
    fs::write(dir.path().join("token"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let proxy = Proxy::start_as_it_is(dir);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(proxy.path("admin.sock")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // Without the token, nothing can be changed, nor looked at: a policy may be configured with a secret.
    assert_eq!((proxy.admin("/status").0, proxy.admin("/policies/api").0, proxy.admin("/metrics").0), (401, 401, 200));
    let (status, answer) = proxy.post("/policies/api/swap", &json!({ "policy": "random" }));
    assert_eq!((status, &answer["error"]["code"]), (401, &json!("token")));
    let socket = format!("unix:{}", proxy.path("admin.sock").display());
    let (ok, _, err) = sluicegate(&["policy", "--admin", &socket, "swap", "api", "random"]);
    assert!(!ok && err.contains("--token-file"), "{err}");
    let wrong = proxy.path("wrong");
    fs::write(&wrong, "0123456789abcdef0123456789abcdee").unwrap();
    let (ok, _, err) =
        sluicegate(&["policy", "--admin", &socket, "--token-file", wrong.to_str().unwrap(), "swap", "api", "random"]);
    assert!(!ok && err.contains("another one"), "{err}");
    // The configuration says all that is needed.
    let file = proxy.path("sluicegate.toml").display().to_string();
    assert!(sluicegate(&["policy", "--config", &file, "show", "api"]).0);
    let (ok, out, err) = sluicegate(&["policy", "--config", &file, "swap", "api", "random"]);
    assert!(ok && out.contains("generation 2 serves"), "{out}{err}");
    let path = proxy.path("admin.sock");
    let (_, _dir) = proxy.stop();
    assert!(!path.exists(), "its file goes with it");
}

#[test]
fn a_token_from_the_environment() {
    const TOKEN: &str = "0123456789abcdef";
    let origins = Origin::several(1);
    let dir = guarded("token_env = \"GATE_TOKEN\"", &origins);
    let file = dir.path().join("sluicegate.toml");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--config").arg(&file).env_remove("GATE_TOKEN");
        command
    };
    for (token, error) in [(None, "GATE_TOKEN is not set"), (Some("short"), "16 visible ASCII characters")] {
        let output = command(&["run"]).envs(token.map(|token| ("GATE_TOKEN", token))).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(error), "{said}");
    }
    let proxy = Proxy::start_with(dir, &[("GATE_TOKEN", TOKEN)]);
    let (status, answer) = proxy.post("/policies/api/swap", &json!({ "policy": "random" }));
    assert_eq!((status, &answer["error"]["code"]), (401, &json!("token")));
    // The file says the address only where that is not for the system to choose.
    let admin = format!("http://{}", proxy.admin);
    let swap = |token: &str| {
        let mut swap = Command::new(binary());
        swap.args(["policy", "--admin", &admin, "swap", "api", "random"]).env("SLUICEGATE_ADMIN_TOKEN", token);
        swap.output().unwrap().status.success()
    };
    assert!(!swap("0123456789abcdee"));
    assert!(swap(TOKEN));
    proxy.wait_for_generation(2);
}

#[test]
fn a_pin_lets_no_other_file_in() {
    let origins = Origin::several(1);
    let (good, other) = (ByHand::default().module(), wasm::builtin("p2c", "fast"));
    let pinned = |bytes: &[u8]| {
        let digest = sluicegate_policy::Digest::of(bytes);
        config(&format!("{{ file = \"policy.wasm\", sha256 = \"{digest}\" }}"), &origins)
    };
    let proxy = Proxy::start(&pinned(&good), |dir| fs::write(dir.join("policy.wasm"), &good).unwrap());
    let load = Load::start(proxy.address, 2);
    // The file first: it is refused, until its pin is there.
    fs::write(proxy.path("policy.wasm"), &other).unwrap();
    proxy.wait_for("a refusal", |line| line["label"] == "wrong_digest");
    assert_eq!(policy(&proxy)["active"]["generation"], 1);
    proxy.reconfigure(&pinned(&other));
    proxy.wait_for_generation(2);
    // The pin first: the configuration is refused, until its file is there.
    let seen = proxy.log().len();
    proxy.reconfigure(&pinned(&good));
    let refused = |line: &Value| line["message"].as_str().is_some_and(|text| text.contains("as pinned"));
    proxy.wait_after(seen, "a refusal", refused);
    assert_eq!(policy(&proxy)["active"]["generation"], 2);
    fs::write(proxy.path("policy.wasm"), &good).unwrap();
    proxy.wait_for_generation(3);
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

/// A new key: the file of its private part, and the public one.
fn key(dir: &tempfile::TempDir, name: &str) -> (String, String) {
    let path = dir.path().join(name).display().to_string();
    let (ok, public, err) = sluicegate(&["keygen", &path]);
    assert!(ok, "{err}");
    (path, public.trim().to_owned())
}

#[test]
fn only_what_a_trusted_key_has_signed_is_let_in() {
    let dir = tempfile::TempDir::new().unwrap();
    let key = |name: &str| key(&dir, name);
    let ((ours, public), (theirs, other)) = (key("ours"), key("theirs"));
    let (ok, _, err) = sluicegate(&["keygen", &ours]);
    assert!(!ok && err.contains("can't write"), "a key is not replaced: {err}");
    let sign = |file: &std::path::Path, key: &str| {
        let (ok, out, err) = sluicegate(&["sign", file.to_str().unwrap(), "--key", key]);
        assert!(ok && out.trim().ends_with(".wasm.sig"), "{err}");
    };
    let origins = Origin::several(1);
    let (first, second) = (ByHand::default().module(), wasm::builtin("random", "fast"));
    // The kit's text ends in the [policy] section.
    let settings = format!("trusted_keys = [\"{public}\"]\n{}", config("{ file = \"policy.wasm\" }", &origins));
    let proxy = Proxy::start(&settings, |dir| {
        fs::write(dir.join("policy.wasm"), &first).unwrap();
        sign(&dir.join("policy.wasm"), &ours);
    });
    let load = Load::start(proxy.address, 2);
    fs::write(proxy.path("policy.wasm"), &second).unwrap();
    let line = proxy.wait_for("a refusal", |line| line["label"] == "untrusted");
    assert!(line["message"].as_str().unwrap().contains("not of these bytes"), "{line}");
    let seen = proxy.log().len();
    sign(&proxy.path("policy.wasm"), &theirs);
    proxy.wait_after(seen, "a refusal", |line| line["label"] == "untrusted");
    assert_eq!(policy(&proxy)["active"]["generation"], 1);
    sign(&proxy.path("policy.wasm"), &ours);
    proxy.wait_for_generation(2);
    // Over the API, the rule is the same.
    fs::write(proxy.path("other.wasm"), &first).unwrap();
    let (status, answer) = proxy.post("/policies/api/swap", &json!({ "file": proxy.path("other.wasm") }));
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("untrusted")));
    sign(&proxy.path("other.wasm"), &ours);
    assert_eq!(done(&proxy, "/policies/api/swap", &json!({ "file": proxy.path("other.wasm") }))["generation"], 3);
    // A key is not taken back from under a policy that it has signed: the next start would find nothing to serve with.
    let seen = proxy.log().len();
    proxy.reconfigure(&settings.replace(&public, &other));
    let refused = proxy.wait_after(seen, "a refusal", |line| line["level"] == "ERROR");
    assert!(refused["message"].as_str().unwrap().contains("policy.wasm is refused"), "{refused}");
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

#[test]
fn what_a_key_has_signed_is_not_gone_back_to_without_the_key() {
    let dir = tempfile::TempDir::new().unwrap();
    let key = |name: &str| key(&dir, name);
    let ((old, old_public), (new, new_public)) = (key("old"), key("new"));
    let save = |file: &std::path::Path, bytes: &[u8], key: &str| {
        fs::write(file, bytes).unwrap();
        assert!(sluicegate(&["sign", file.to_str().unwrap(), "--key", key]).0);
    };
    let origins = Origin::several(1);
    let settings = |keys: &str| format!("trusted_keys = [{keys}]\n{}", config("{ file = \"policy.wasm\" }", &origins));
    let (both, only_new) = (format!("\"{old_public}\", \"{new_public}\""), format!("\"{new_public}\""));
    let proxy = Proxy::start(&settings(&both), |dir| {
        save(&dir.join("policy.wasm"), &ByHand::default().module(), &old);
    });
    save(&proxy.path("policy.wasm"), &wasm::builtin("random", "fast"), &new);
    proxy.wait_for_generation(2);
    let seen = proxy.log().len();
    proxy.reconfigure(&settings(&only_new));
    proxy.wait_after(seen, "the keys", |line| line["message"] == "configuration applied");
    let (status, answer) = proxy.post("/policies/api/rollback", &json!({}));
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("untrusted")));
    assert!(answer["error"]["message"].as_str().unwrap().contains("trusted now"), "{answer}");
    assert_eq!(policy(&proxy)["active"]["generation"], 2);
    let seen = proxy.log().len();
    proxy.reconfigure(&settings(&both));
    proxy.wait_after(seen, "the keys", |line| line["message"] == "configuration applied");
    assert_eq!(done(&proxy, "/policies/api/rollback", &json!({}))["generation"], 1);
}

#[test]
fn keys_that_come_later_have_their_signatures_watched() {
    let dir = tempfile::TempDir::new().unwrap();
    let ours = dir.path().join("ours").display().to_string();
    let (ok, public, err) = sluicegate(&["keygen", &ours]);
    assert!(ok, "{err}");
    let sign = |file: &std::path::Path| assert!(sluicegate(&["sign", file.to_str().unwrap(), "--key", &ours]).0);
    let origins = Origin::several(1);
    let unsigned = config("{ file = \"policy.wasm\" }", &origins);
    let proxy = Proxy::start(&unsigned, |dir| {
        fs::write(dir.join("policy.wasm"), ByHand::default().module()).unwrap();
        sign(&dir.join("policy.wasm"));
    });
    let seen = proxy.log().len();
    proxy.reconfigure(&format!("trusted_keys = [\"{}\"]\n{unsigned}", public.trim()));
    proxy.wait_after(seen, "the keys", |line| line["message"] == "configuration applied");
    // First the policy, which is refused, and then its signature.
    let seen = proxy.log().len();
    fs::write(proxy.path("policy.wasm"), wasm::builtin("random", "fast")).unwrap();
    proxy.wait_after(seen, "a refusal", |line| line["label"] == "untrusted");
    sign(&proxy.path("policy.wasm"));
    proxy.wait_for_generation(2);
}
