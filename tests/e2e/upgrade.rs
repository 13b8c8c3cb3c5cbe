//! A new process takes over from the old one, while requests flow.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, TryRecvError},
    thread,
    time::Duration,
};

use sluicegate_tests::{Load, Origin, Proxy, binary, eventually, get};

use crate::config;

fn edit(proxy: &Proxy, from: &str, to: &str) {
    let text = fs::read_to_string(proxy.path("sluicegate.toml")).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(proxy.path("new"), text.replace(from, to)).unwrap();
    fs::rename(proxy.path("new"), proxy.path("sluicegate.toml")).unwrap();
}

/// Connects anew for every request, as often as it can, until `during` is over: what failed.
fn strangers<T>(address: SocketAddr, during: impl FnOnce() -> T) -> (Vec<String>, T) {
    let (stop, stopped) = mpsc::channel::<()>();
    let strangers = thread::spawn(move || {
        let mut failed = Vec::new();
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            match get(address, "/", "test") {
                Ok((200, _)) => {}
                other => failed.push(format!("{other:?}")),
            }
        }
        failed
    });
    let result = during();
    drop(stop);
    (strangers.join().unwrap(), result)
}

#[test]
fn upgrades_under_load_fail_nobody() {
    let origins = Origin::several(2);
    let mut proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    let (address, admin) = (proxy.address, proxy.admin);
    let load = Load::start(address, 16);
    // More workers, fewer, as many.
    for (from, to) in [("workers = 2", "workers = 3"), ("workers = 3", "workers = 1"), ("workers = 1", "workers = 2")] {
        edit(&proxy, from, to);
        let before = (proxy.pid(), load.so_far().good);
        let (failed, (code, new)) = strangers(address, || proxy.upgrade());
        assert_eq!((code, failed), (Some(0), Vec::new()));
        proxy = new;
        assert_ne!(proxy.pid(), before.0);
        assert_eq!((proxy.address, proxy.admin), (address, admin));
        let serving = proxy.wait_for("serving", |line| line["message"] == "serving");
        assert_eq!(serving["took_over_from"], before.0);
        assert_eq!(proxy.admin("/ready"), (200, "ready\n".into()));
        eventually("the new one serves", || (load.so_far().good > before.1 + 200).then_some(()));
    }
    let tally = load.stop();
    assert_eq!(tally.failed, Vec::<String>::new(), "of {} requests", tally.good);
    let path = proxy.path("upgrade.sock");
    assert!(path.exists());
    let (code, _dir) = proxy.stop();
    assert_eq!(code, Some(0));
    assert!(!path.exists(), "the last one takes the socket's file with it");
}

#[test]
fn a_new_process_that_cannot_start_changes_nothing() {
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    let load = Load::start(proxy.address, 4);
    let good = fs::read_to_string(proxy.path("sluicegate.toml")).unwrap();
    let attempt = |text: &str| {
        let path = proxy.path("next.toml");
        fs::write(&path, text).unwrap();
        let output = Command::new(binary()).args(["run", "--upgrade", "--config"]).arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let origin = format!("127.0.0.1:{}", origins[0].address.port());
    for (text, error) in [
        (good.replace("p2c", "p3c"), "no built-in policy"),
        (good.replace("upgrade_socket", "# upgrade_socket"), "--upgrade needs"),
        (good.replace("upgrade.sock", "other.sock"), "nobody to take over from"),
        // Found after the sockets are there: an address that somebody else has, and a policy that does not exist.
        (good.replace("[admin]\naddress = \"127.0.0.1:0\"", &format!("[admin]\naddress = \"{origin}\"")), "can't bind"),
        (good.replace("\"p2c\"", "{ file = \"missing.wasm\" }"), "missing.wasm"),
    ] {
        let said = attempt(&text);
        assert!(said.contains(error), "{error} is missing in: {said}");
    }
    proxy.wait_for("it goes on", |line| line["message"] == "the upgrade failed: this process goes on");
    // Without --upgrade, it is not a second one by mistake.
    let output = Command::new(binary()).args(["run", "--config"]).arg(proxy.path("sluicegate.toml")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("a proxy runs already"), "{said}");
    assert_eq!(load.stop().failed, Vec::<String>::new());
    let (code, _proxy) = proxy.upgrade();
    assert_eq!(code, Some(0));
}

#[test]
fn an_upgrade_that_ends_before_its_time_changes_nothing() {
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    let load = Load::start(proxy.address, 4);
    // A name that nobody answers for keeps the new process waiting; the old one may know more.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let good = fs::read_to_string(proxy.path("sluicegate.toml")).unwrap();
    let named = "[cluster.named]\nendpoints = { dns = \"named.test:80\" }";
    let text = format!("{good}\n{named}\n[dns]\nservers = [\"{}\"]\n", silent.local_addr().unwrap());
    fs::write(proxy.path("next.toml"), text).unwrap();
    let upgrade = || {
        let mut command = Command::new(binary());
        command.args(["run", "--upgrade", "--config"]).arg(proxy.path("next.toml"));
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let ended = |mut upgrade: Child| {
        // One that serves would not end by itself.
        let is_over = |_: &u32| {
            thread::sleep(Duration::from_millis(50));
            upgrade.try_wait().unwrap().is_some()
        };
        (0..400).find(is_over);
        let _ = upgrade.kill();
        let output = upgrade.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let stopped = upgrade();
    proxy.wait_for("it has begun", |line| line["message"] == "a new process has the sockets, and starts");
    rustix::process::kill_process(rustix::process::Pid::from_child(&stopped), rustix::process::Signal::TERM).unwrap();
    let (code, said) = ended(stopped);
    assert!(code == Some(1) && said.contains("stopped before it served"), "{code:?} {said}");
    let (code, said) = ended(upgrade());
    assert!(code == Some(1) && said.contains("cluster named can't be resolved"), "{code:?} {said}");
    proxy.wait_for("it goes on", |line| line["message"] == "the upgrade failed: this process goes on");
    assert_eq!(load.stop().failed, Vec::<String>::new());
    assert_eq!(proxy.admin("/ready").0, 200);
}

#[test]
fn listeners_come_and_go_with_an_upgrade() {
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    let first = proxy.address;
    edit(&proxy, "[admin]", "[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]");
    let (_, proxy) = proxy.upgrade();
    assert_eq!((proxy.addresses.len(), proxy.addresses[0]), (2, first));
    let second = proxy.addresses[1];
    assert_eq!(get(second, "/", "test").unwrap().0, 200);
    // The second one by its port, and the first one not at all.
    edit(&proxy, "[[listener]]\naddress = \"127.0.0.1:0\"\n", "");
    edit(&proxy, "[admin]", &format!("[[listener]]\naddress = \"{second}\"\n[admin]"));
    let (_, proxy) = proxy.upgrade();
    assert_eq!(proxy.addresses, [second]);
    assert_eq!(get(second, "/", "test").unwrap().0, 200);
    assert!(TcpStream::connect(first).is_err(), "nobody listens there any more");
}

#[test]
fn an_idle_client_hears_that_its_connection_ends() {
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    let mut client = TcpStream::connect(proxy.address).unwrap();
    let mut ask = || {
        client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let body = origins[0].address.to_string();
        while !answer.ends_with(body.as_bytes()) {
            let mut bytes = [0; 1024];
            let count = client.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend(&bytes[..count]);
        }
        String::from_utf8(answer).unwrap().to_ascii_lowercase()
    };
    assert!(!ask().contains("connection: close"));
    let upgrade = thread::spawn(|| proxy.upgrade());
    // Longer than a drain leaves idle connections open when nobody has taken over.
    thread::sleep(Duration::from_millis(1500));
    assert!(ask().contains("connection: close"));
    assert_eq!(upgrade.join().unwrap().0, Some(0));
}

#[test]
fn the_admin_socket_is_handed_over() {
    let origins = Origin::several(1);
    let proxy = Proxy::start(&config("\"p2c\"", &origins), |_| {});
    edit(&proxy, "[admin]\n", "[admin]\nsocket = \"admin.sock\"\n");
    let (code, mut proxy) = proxy.upgrade();
    assert_eq!(code, Some(0));
    let path = proxy.path("admin.sock");
    let socket = format!("unix:{}", path.display());
    let list = || Command::new(binary()).args(["policy", "--admin", &socket, "list"]).output().unwrap();
    for _ in 0..2 {
        let output = list();
        assert!(String::from_utf8(output.stdout).unwrap().contains("p2c"));
        let pid = proxy.pid();
        proxy = proxy.upgrade().1;
        assert_ne!(proxy.pid(), pid);
        assert!(path.exists(), "the old one leaves the new one's file");
    }
    assert!(list().status.success());
    let (_, _dir) = proxy.stop();
    assert!(!path.exists());
}
