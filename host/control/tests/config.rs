//! The configuration as operators write it: what is said of bad files, what good files come to, and what differs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use sluicegate_control::config::{ClusterChange, Config, load, parse};

const BUILTINS: &[&str] = &["least-request", "p2c", "random", "round-robin"];

fn good(text: &str) -> Config {
    parse(text, Path::new("/etc/sluicegate/test.toml"), BUILTINS).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Compares what `render` makes of every file in a folder with the text beside it. `UPDATE_GOLDEN=1` rewrites it.
fn check_folder(folder: &str, render: impl Fn(&str, &Path) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    assert!(!files.is_empty());
    files.sort();
    for file in files {
        let golden = file.with_extension("txt");
        let actual = render(&fs::read_to_string(&file).unwrap(), Path::new(file.file_name().unwrap())) + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, actual).unwrap();
        } else {
            let expected = fs::read_to_string(&golden).unwrap_or_default();
            assert_eq!(actual, expected, "{}: UPDATE_GOLDEN=1 accepts what is on the left", golden.display());
        }
    }
}

#[test]
fn every_bad_file_has_its_errors() {
    check_folder("bad", |text, path| parse(text, path, BUILTINS).expect_err(&path.display().to_string()).to_string());
}

#[test]
fn every_good_file_has_its_meaning() {
    check_folder("good", |text, path| {
        let config = parse(text, &Path::new("/etc/sluicegate").join(path), BUILTINS);
        format!("{:#?}", config.unwrap_or_else(|errors| panic!("{errors}")))
    });
}

#[test]
fn a_file_is_read_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.toml");
    let error = || load(&path, BUILTINS).unwrap_err().to_string();
    assert!(error().contains("test.toml: cannot be opened: No such file"), "{}", error());
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(error().contains("test.toml: cannot be read: "), "{}", error());
    fs::File::create(&path).unwrap().set_len((16 << 20) + 1).unwrap();
    assert!(error().ends_with("is larger than 16 MiB, the most that is read"), "{}", error());
    let text = include_str!("config/good/documented.toml");
    fs::write(&path, text).unwrap();
    assert_eq!(load(&path, BUILTINS).unwrap(), parse(text, &path, BUILTINS).unwrap());
}

#[test]
fn what_needs_a_restart_is_named() {
    let check = |from: &str, to: &str, expected: &[&str]| {
        let text = "listener = [{ address = '127.0.0.1:1' }]\nroute = [{ cluster = 'a' }]\ncluster.a.endpoints = []\n";
        let (old, new) = (text.to_owned() + from, text.to_owned() + to);
        assert_eq!(good(&old).needs_restart(&good(&new)), expected, "{to}");
    };
    check("", "", &[]);
    check("", "[log]\nlevel = 'info'", &[]);
    check("", "[cluster.b]\nendpoints = ['127.0.0.1:2']\n[runtime]\ndrain_timeout_ms = 1", &[]);
    check("[admin]", "[admin]\naddress = '127.0.0.1:8082'", &["admin"]);
    check("", "[log]\naccess = false\nlevel = 'warn'\nformat = 'json'", &["log.format", "log.level", "log.access"]);
    check("", "[runtime]\nworkers = 2\n[policy]\ncache = false", &["runtime.workers", "policy.cache"]);
    let limits = ["policy.pick_timeout_ms", "policy.setup_timeout_ms", "policy.memory_mib"];
    check("", "[policy]\npick_timeout_ms = 2\nsetup_timeout_ms = 3\nmemory_mib = 4", &limits);
    let moved = |port: u16| {
        format!(
            "listener = [{{ address = '127.0.0.1:{port}' }}]\nroute = [{{ cluster = 'a' }}]\ncluster.a.endpoints = []"
        )
    };
    assert_eq!(good(&moved(1)).needs_restart(&good(&moved(2))), ["listener"]);
}

#[test]
fn what_needs_a_restart_stays_until_then() {
    let of = |listener: &str, more: &str| {
        good(&format!("listener = [{listener}]\nroute = [{{ cluster = 'a' }}]\ncluster.a.endpoints = []\n{more}"))
    };
    let tls = |name: &str| format!("tls = {{ certificates = [{{ certificate = '{name}', key = '{name}' }}] }}");
    let secure = |name: &str| format!("{{ address = '127.0.0.1:1', {} }}", tls(name));
    let started = of(&secure("a"), "[runtime]\nworkers = 2");
    // Certificates may change; not in the same breath with the list of those who show them.
    let renewed = of(&secure("b"), "[runtime]\nworkers = 3\ndrain_timeout_ms = 1");
    let moved = of(&format!("{{ address = '127.0.0.1:2' }}, {}", secure("c")), "[runtime]\nworkers = 2");
    let in_force = renewed.clone().without_restart(&started);
    assert_eq!((&in_force.listeners, in_force.runtime.workers), (&renewed.listeners, Some(2)));
    assert_eq!(in_force.runtime.drain_timeout, renewed.runtime.drain_timeout);
    assert_eq!(moved.clone().without_restart(&started).listeners, started.listeners);
    assert_eq!(started.needs_restart(&moved.without_restart(&started)), <[&str; 0]>::default());
}

#[test]
fn changed_clusters_are_told_apart() {
    let config = |clusters: &str| {
        good(&("listener = [{ address = '127.0.0.1:1' }]\nroute = [{ cluster = 'a' }]\n".to_owned() + clusters))
    };
    let old =
        config("[cluster]\na.endpoints = []\nb.endpoints = []\nc.endpoints = []\nd.endpoints = []\nf.endpoints = []");
    let new = config(
        "[cluster]\na.endpoints = ['127.0.0.1:2']\nb = { endpoints = [], policy = 'random', max_attempts = 1 }\n\
         c.endpoints = []\ne.endpoints = []\nf = { endpoints = [], outlier = {} }",
    );
    let changes: Vec<_> =
        old.changed_clusters(&new).into_iter().map(|(name, change)| (name.to_string(), change)).collect();
    let changed =
        |endpoints, eligibility, policy, settings| ClusterChange::Changed { endpoints, eligibility, policy, settings };
    let expected = [
        ("a", changed(true, false, false, false)),
        ("b", changed(false, false, true, true)),
        ("d", ClusterChange::Removed),
        ("e", ClusterChange::Added),
        ("f", changed(false, true, false, false)),
    ];
    assert_eq!(changes, expected.map(|(name, change)| (name.to_owned(), change)));
    assert!(new.changed_clusters(&new).is_empty());
}

/// A piece of a configuration, so that arbitrary text gets past the first bracket.
fn piece() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "[[listener]]\n",
        "[[route]]\n",
        "[cluster.api]\n",
        "[cluster]\n",
        "[admin]\n",
        "[log]\n",
        "[policy]\n",
        "address",
        "cluster",
        "endpoints",
        "policy",
        "config",
        "host",
        "path",
        "weight",
        "labels",
        " = ",
        ".",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "\n",
        "\"p2c\"",
        "\"127.0.0.1:1\"",
        "\"/api\"",
        "\"\"",
        "1",
        "-1",
        "0x1f",
        "1.5",
        "nan",
        "1e999",
        "1979-05-27",
        "true",
        "'ü'",
        "#",
    ];
    prop_oneof![8 => prop::sample::select(PIECES).prop_map(str::to_owned), 1 => ".{0,5}"]
}

proptest! {
    #[test]
    fn no_text_panics_the_parser(text in prop_oneof![prop::collection::vec(piece(), 0..40).prop_map(|all| all.concat()), ".*"]) {
        if let Err(errors) = parse(&text, Path::new("x.toml"), BUILTINS) {
            prop_assert!(!errors.errors().is_empty());
            prop_assert!(errors.to_string().starts_with("x.toml:"));
        }
    }

    #[test]
    fn no_edit_panics_the_parser(at in 0..700_usize, cut in 0..9_usize, with in piece()) {
        let mut text = include_str!("config/good/everything.toml").to_owned();
        let (start, end) = (at.min(text.len()), (at + cut).min(text.len()));
        text.replace_range(start..end, &with);
        let _ = parse(&text, Path::new("x.toml"), BUILTINS);
    }
}
