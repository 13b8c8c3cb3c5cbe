//! Every way in which editors, compilers and orchestrators save a file.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    thread,
    time::Duration,
};

use sluicegate_tests::{Load, Origin, Proxy, wasm};

use crate::config;

/// Starts with one policy, saves another in some way, and expects it to be in service, with no request lost.
fn check(prepare: impl FnOnce(&Path, &[u8]), save: impl FnOnce(&Path, &[u8])) {
    let origins = Origin::several(2);
    let proxy = Proxy::start(&config("{ file = \"policy.wasm\" }", &origins), |dir| {
        prepare(dir, &wasm::builtin("p2c", "fast"));
    });
    let load = Load::start(proxy.address, 4);
    save(proxy.dir.path(), &wasm::builtin("round-robin", "fast"));
    proxy.wait_for_generation(2);
    let tally = load.stop();
    assert_eq!(tally.failed, Vec::<String>::new(), "of {} requests", tally.good);
}

fn plain(dir: &Path, module: &[u8]) {
    fs::write(dir.join("policy.wasm"), module).unwrap();
}

#[test]
fn written_in_place() {
    check(plain, plain);
}

#[test]
fn renamed_over() {
    check(plain, |dir, module| {
        fs::write(dir.join(".policy.wasm.swp"), module).unwrap();
        fs::rename(dir.join(".policy.wasm.swp"), dir.join("policy.wasm")).unwrap();
    });
}

#[test]
fn deleted_and_created_again() {
    check(plain, |dir, module| {
        fs::remove_file(dir.join("policy.wasm")).unwrap();
        thread::sleep(Duration::from_millis(100));
        plain(dir, module);
    });
}

#[test]
fn written_in_small_pieces() {
    check(plain, |dir, module| {
        let mut file = OpenOptions::new().write(true).truncate(true).open(dir.join("policy.wasm")).unwrap();
        for piece in module.chunks(module.len() / 20) {
            file.write_all(piece).unwrap();
            file.flush().unwrap();
            thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn half_written_for_a_while() {
    check(plain, |dir, module| {
        plain(dir, &module[..module.len() / 2]);
        thread::sleep(Duration::from_millis(300));
        plain(dir, module);
    });
}

#[test]
fn moved_in_as_a_hard_link() {
    check(plain, |dir, module| {
        fs::write(dir.join("built.wasm"), module).unwrap();
        fs::remove_file(dir.join("policy.wasm")).unwrap();
        fs::hard_link(dir.join("built.wasm"), dir.join("policy.wasm")).unwrap();
    });
}

/// As Kubernetes updates a mounted config map: the file is a link through `..data`, which is a link to a dated folder
/// and is renamed over.
#[test]
fn flipped_by_symlink() {
    fn dated(dir: &Path, name: &str, module: &[u8]) {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("policy.wasm"), module).unwrap();
    }
    check(
        |dir, module| {
            dated(dir, "..2026_01", module);
            symlink("..2026_01", dir.join("..data")).unwrap();
            symlink("..data/policy.wasm", dir.join("policy.wasm")).unwrap();
        },
        |dir, module| {
            dated(dir, "..2026_02", module);
            symlink("..2026_02", dir.join("..data_tmp")).unwrap();
            fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
            fs::remove_dir_all(dir.join("..2026_01")).unwrap();
        },
    );
}

/// A policy that serves already is not put to use once more, when its file is first looked at: by then, another one may
/// serve by hand.
#[test]
fn a_start_is_no_change() {
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("{ file = \"policy.wasm\" }", &origins), |dir| {
        plain(dir, &wasm::builtin("p2c", "fast"));
    });
    plain(proxy.dir.path(), &wasm::builtin("round-robin", "fast"));
    proxy.wait_for_generation(2);
    let metrics = proxy.admin("/metrics").1;
    assert!(metrics.contains("result=\"swapped\"} 2"), "{metrics}");
    assert!(!metrics.contains("result=\"unchanged\"} 1"), "{metrics}");
}
