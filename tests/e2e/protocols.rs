//! HTTP/1.1 and HTTP/2 on either side, plain and over TLS, with clients and origins that we did not write.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use sluicegate_tests::{
    Authority, Proxy,
    peers::{self, Nginx},
};

/// What NGINX answers: everything that the proxy told it.
const ECHO: &str = r#"location / { return 200 "$server_protocol|$http_x_forwarded_proto|$http_host|$request_uri|$http_cookie|$http_x_forwarded_client_cert|$request_method|"; }"#;

/// A configuration that sends everything to one origin.
fn config(origin: SocketAddr, cluster: &str, listener: &str) -> String {
    format!("[[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"{origin}\"]\n{cluster}\n{listener}\n")
}

const TLS: &str = r#"
[listener.tls]
certificates = [{ certificate = "one.pem", key = "one.key" }, { certificate = "two.pem", key = "two.key" }]
"#;

fn issue(dir: &Path) -> Authority {
    let authority = Authority::new(dir);
    authority.issue(dir, "one", &["one.test", "127.0.0.1"]);
    authority.issue(dir, "two", &["*.two.test"]);
    authority.issue(dir, "client", &["client.test"]);
    authority
}

/// A GET with curl, with its own idea of where `host` is.
fn curl(proxy: &Proxy, host: &str, more: &[&str]) -> String {
    let port = proxy.address.port();
    let (resolve, url) = (format!("{host}:{port}:127.0.0.1"), format!("https://{host}:{port}/a?b=c"));
    let ca = proxy.path("ca.pem");
    let always = ["-sS", "--max-time", "20", "--resolve", &resolve, "--cacert", ca.to_str().unwrap(), &url];
    peers::text("curl", &[&always, more].concat())
}

#[test]
fn every_combination_of_versions_carries_the_same() {
    if !["nginx", "curl"].into_iter().all(peers::has) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    issue(dir.path());
    let tls = "ssl_certificate one.pem; ssl_certificate_key one.key;";
    let tls = tls.replace("one.", &format!("{}/one.", dir.path().display()));
    let plain = Nginx::start(dir.path(), "", ECHO);
    let plain_http2 = Nginx::start(dir.path(), "http2", ECHO);
    let secure = Nginx::start(dir.path(), "ssl http2", &format!("{tls}\n{ECHO}"));
    let ca = format!("{}/ca.pem", dir.path().display());
    let trust = format!("tls = {{ ca = \"{ca}\" }}");
    for (origin, cluster, version) in [
        (&plain, String::new(), "HTTP/1.1"),
        (&plain_http2, "protocol = \"http2\"".into(), "HTTP/2.0"),
        (&secure, trust.clone(), "HTTP/1.1"),
        (&secure, format!("protocol = \"http2\"\n{trust}"), "HTTP/2.0"),
    ] {
        let proxy = Proxy::start(&config(origin.address, &cluster, TLS), |dir| drop(issue(dir)));
        let host = format!("one.test:{}", proxy.address.port());
        for client in ["--http1.1", "--http2"] {
            let answer = curl(&proxy, "one.test", &[client, "-H", "cookie: a=1", "-H", "x-forwarded-client-cert: me"]);
            assert_eq!(answer, format!("{version}|https|{host}|/a?b=c|a=1||GET|"), "{client} {cluster}");
            let code = curl(&proxy, "one.test", &[client, "-w", "%{http_version} %{http_code}", "-o", "/dev/null"]);
            assert_eq!(code, if client == "--http2" { "2 200" } else { "1.1 200" });
            // A body there, of a size that takes several frames and writes. NGINX answers before it has all of it, and
            // curl's HTTP/2 hangs (also without a proxy in between) when that happens before all of it is sent.
            let body = proxy.path("body");
            fs::write(&body, vec![b'x'; if client == "--http2" { 40_000 } else { 300_000 }]).unwrap();
            let data = format!("@{}", body.display());
            let answer = curl(&proxy, "one.test", &[client, "--data-binary", &data]);
            assert!(answer.ends_with("|POST|"), "{answer}");
        }
    }
}

#[test]
fn certificates_are_chosen_by_name_and_followed() {
    if !["nginx", "curl", "openssl"].into_iter().all(peers::has) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let origin = Nginx::start(dir.path(), "", ECHO);
    let mut authority = None;
    let proxy = Proxy::start(&config(origin.address, "", TLS), |dir| authority = Some(issue(dir)));
    assert!(curl(&proxy, "one.test", &[]).starts_with("HTTP/1.1|https|"));
    assert!(curl(&proxy, "any.two.test", &[]).starts_with("HTTP/1.1|https|"));
    let (connect, log) = (proxy.address.to_string(), proxy.log().len());
    let subject = |arguments: &[&str]| {
        let always = ["s_client", "-connect", &connect];
        let text = peers::run("openssl", &[&always, arguments].concat());
        String::from_utf8_lossy(&text.stdout).lines().find(|line| line.starts_with("subject=")).unwrap_or("").to_owned()
    };
    assert_eq!(subject(&["-noservername"]), "subject=CN = one");
    assert_eq!(subject(&["-servername", "unknown.test"]), "subject=CN = one", "the first one is for everybody else");
    assert_eq!(subject(&["-servername", "b.two.test"]), "subject=CN = two");
    assert_eq!(subject(&["-servername", "b.two.test", "-tls1_2"]), "subject=CN = two");
    assert_eq!(subject(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]), "", "no version before 1.2");
    // A key that does not fit is refused, and the old certificate goes on.
    fs::copy(proxy.path("two.key"), proxy.path("one.key")).unwrap();
    proxy.wait_after(log, "the refusal", |line| {
        line["message"].as_str().is_some_and(|text| text.contains("certificates refused") && text.contains("one.key"))
    });
    assert_eq!(subject(&["-noservername"]), "subject=CN = one");
    let (log, authority) = (proxy.log().len(), authority.unwrap());
    authority.issue(proxy.dir.path(), "one", &["new.test"]);
    proxy.wait_after(log, "the new certificate", |line| line["message"] == "certificates in use");
    sluicegate_tests::eventually("the new certificate", || {
        let port = proxy.address.port();
        let (resolve, url) = (format!("new.test:{port}:127.0.0.1"), format!("https://new.test:{port}/"));
        let ca = proxy.path("ca.pem");
        let output = peers::run("curl", &["-sS", "--resolve", &resolve, "--cacert", ca.to_str().unwrap(), &url]);
        output.status.success().then_some(())
    });
    // Other files, and nothing else that is new: they are followed, too.
    authority.issue(proxy.dir.path(), "three", &["three.test"]);
    let log = proxy.log().len();
    proxy.reconfigure(&config(origin.address, "", &TLS.replace("one.", "three.")));
    proxy.wait_after(log, "the other files", |line| line["message"] == "configuration applied");
    assert_eq!(subject(&["-noservername"]), "subject=CN = three");
    let log = proxy.log().len();
    authority.issue(proxy.dir.path(), "three", &["four.test"]);
    proxy.wait_after(log, "the newer certificate", |line| line["message"] == "certificates in use");
}

#[test]
fn of_several_certificates_the_one_that_fits_best_is_shown() {
    if !["nginx", "openssl"].into_iter().all(peers::has) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let origin = Nginx::start(dir.path(), "", ECHO);
    let names = ["one", "two", "rsa", "exact"];
    let files = names.map(|name| format!("{{ certificate = \"{name}.pem\", key = \"{name}.key\" }}")).join(", ");
    let listener = format!("[listener.tls]\ncertificates = [{files}]");
    let proxy = Proxy::start(&config(origin.address, "", &listener), |dir| {
        issue(dir);
        for (subject, name) in [("rsa", "*.two.test"), ("exact", "A.two.test")] {
            let (key, certificate) = (dir.join(subject).with_extension("key"), dir.join(subject).with_extension("pem"));
            let (subject, name) = (format!("/CN={subject}"), format!("subjectAltName=DNS:{name}"));
            let made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-addext", &name];
            let files = ["-keyout", key.to_str().unwrap(), "-out", certificate.to_str().unwrap()];
            assert!(peers::run("openssl", &[&made[..], &files].concat()).status.success());
        }
    });
    let connect = proxy.address.to_string();
    let subject = |arguments: &[&str]| {
        let text = peers::run("openssl", &[&["s_client", "-connect", &connect, "-servername"], arguments].concat());
        String::from_utf8_lossy(&text.stdout)
            .lines()
            .find_map(|line| Some(line.strip_prefix("subject=CN = ")?.to_owned()))
    };
    assert_eq!(subject(&["b.two.test"]).as_deref(), Some("two"), "the first of two for the name");
    assert_eq!(
        subject(&["b.two.test", "-sigalgs", "rsa_pss_rsae_sha256"]).as_deref(),
        Some("rsa"),
        "one that it can check"
    );
    assert_eq!(subject(&["a.two.test"]).as_deref(), Some("exact"), "the name itself before a wildcard");
    assert_eq!(subject(&["c.b.two.test"]).as_deref(), Some("one"), "a wildcard is one label");
}

#[test]
fn a_clients_certificate_is_its_identity() {
    if !["nginx", "curl"].into_iter().all(peers::has) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let origin = Nginx::start(dir.path(), "", ECHO);
    let proxy = Proxy::start(&config(origin.address, "", &format!("{TLS}client_ca = \"ca.pem\"\n")), |dir| {
        issue(dir);
        // Signed by somebody else.
        let other = dir.join("other");
        fs::create_dir(&other).unwrap();
        Authority::new(&other).issue(&other, "client", &["client.test"]);
    });
    let certified = |folder: &str| {
        let (certificate, key) = (format!("{folder}/client.pem"), format!("{folder}/client.key"));
        let port = proxy.address.port();
        let (resolve, url) = (format!("one.test:{port}:127.0.0.1"), format!("https://one.test:{port}/"));
        let ca = proxy.path("ca.pem");
        let always = ["-sS", "--resolve", &resolve, "--cacert", ca.to_str().unwrap(), &url];
        peers::run("curl", &[&always[..], &["--cert", &certificate, "--key", &key]].concat())
    };
    let dir = proxy.dir.path().display().to_string();
    let answer = String::from_utf8(certified(&dir).stdout).unwrap();
    let identity = answer.split('|').nth(5).unwrap_or_default();
    assert!(identity.starts_with("Hash="), "{answer}");
    assert!(identity.ends_with(";Subject=\"CN=client\";DNS=\"client.test\""), "{answer}");
    assert!(!certified(&format!("{dir}/other")).status.success(), "not ours");
    let port = proxy.address.port().to_string();
    assert!(!peers::run("curl", &["-skS", &format!("https://127.0.0.1:{port}/")]).status.success(), "none at all");
}

/// A listener's TLS is its own, also while another list of listeners waits for the next start.
#[test]
fn a_new_listener_takes_nobody_elses_place() {
    if !["nginx", "openssl"].into_iter().all(peers::has) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let origin = Nginx::start(dir.path(), "", ECHO);
    // The first one is plain in `Proxy::start`; these come behind it.
    let of = |name: &str, more: &str| {
        format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\n\
             certificates = [{{ certificate = \"{name}.pem\", key = \"{name}.key\" }}]\n{more}\n"
        )
    };
    let guarded = of("one", "client_ca = \"ca.pem\"");
    let proxy = Proxy::start(&config(origin.address, "", &guarded), |dir| drop(issue(dir)));
    let address = proxy.addresses[1].to_string();
    let hello = || {
        let output = peers::run("openssl", &["s_client", "-connect", &address, "-brief"]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert!(hello().contains("CN = one"), "{}", hello());
    let public = of("two", "");
    proxy.reconfigure(&config(origin.address, "", &[public, guarded].concat()));
    let waits = |line: &serde_json::Value| {
        line["message"].as_str().is_some_and(|text| text.contains("next start only: listener"))
    };
    proxy.wait_for("a warning", waits);
    // Its files are renewed: the others' are not in use.
    Authority::new(proxy.dir.path()).issue(proxy.dir.path(), "two", &["*.two.test"]);
    std::thread::sleep(Duration::from_secs(1));
    assert!(hello().contains("CN = one"), "{}", hello());
}

/// What has no body over HTTP/1.1 has none over HTTP/2 either.
#[test]
fn an_answer_to_head_has_no_body() {
    if !["nginx", "nghttp", "curl"].into_iter().all(peers::has) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let origin = Nginx::start(dir.path(), "", "location / { return 404; }\nlocation /none { return 204; }");
    let more = "[[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n[[route]]\npath_exact = \"/own\"\n\
                respond = { body = \"pong\" }\n";
    let proxy = Proxy::start(&config(origin.address, "", more), |_| {});
    let head = |path: &str, more: &[&str]| {
        let url = format!("http://{}{path}", proxy.addresses[1]);
        let always = ["-sS", "--max-time", "10", "--http2-prior-knowledge", "-i", &url];
        peers::text("curl", &[&always[..], more].concat()).to_ascii_lowercase()
    };
    assert!(head("/own", &["-I"]).contains("content-length: 4\r\n"), "{}", head("/own", &["-I"]));
    assert!(head("/own", &[]).ends_with("pong"));
    assert!(head("/", &["-I"]).starts_with("http/2 404"));
    let none = head("/none", &[]);
    assert!(none.starts_with("http/2 204") && !none.contains("content-length"), "{none}");
}

#[test]
fn http2_without_tls_has_to_be_known() {
    if !["nginx", "nghttp", "curl"].into_iter().all(peers::has) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let origin = Nginx::start(dir.path(), "", ECHO);
    let more = "[[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n";
    let proxy = Proxy::start(&config(origin.address, "", more), |_| {});
    let (plain, http2) = (proxy.addresses[0], proxy.addresses[1]);
    let get = |address: SocketAddr, arguments: &[&str]| {
        peers::run("curl", &[&["-sS", "--max-time", "10", &format!("http://{address}/")], arguments].concat())
    };
    let answer = |address, arguments: &[&str]| String::from_utf8(get(address, arguments).stdout).unwrap();
    assert!(answer(http2, &["--http2-prior-knowledge"]).starts_with("HTTP/1.1|http|"));
    assert!(answer(http2, &[]).starts_with("HTTP/1.1|http|"), "HTTP/1.1 goes on beside it");
    assert!(!get(plain, &["--http2-prior-knowledge"]).status.success());
    // A hundred requests at a time on one connection, and cookies in pieces.
    let url = format!("http://{http2}/a");
    let text = peers::text("nghttp", &["-m", "100", "-H", "cookie: a=1", "-H", "cookie: b=2", &url]);
    assert_eq!(text.matches("|/a|a=1; b=2||GET|").count(), 100, "{text}");
}

/// A WebSocket server and its client, both from PyPI's `websockets`.
#[test]
fn websockets_go_through() {
    if !peers::has("python3") || !peers::has_module("websockets") {
        return;
    }
    let server = peers::Python::serve(
        "import asyncio, websockets\n\
         async def echo(socket):\n    async for message in socket: await socket.send(message)\n\
         async def main():\n    \
             async with websockets.serve(echo, '127.0.0.1', 0, max_size=None) as server:\n        \
                 print(server.sockets[0].getsockname()[1], flush=True)\n        await asyncio.Future()\n\
         asyncio.run(main())",
    );
    let proxy = Proxy::start(&config(server.address, "", ""), |_| {});
    let client = format!(
        "import asyncio, websockets\n\
         async def main():\n    \
             async with websockets.connect('ws://{0}/chat', max_size=None) as socket:\n        \
                 for size in [0, 1, 125, 126, 65535, 65536, 1000000]:\n            \
                     await socket.send('x' * size)\n            \
                     assert await socket.recv() == 'x' * size\n        \
                 await (await socket.ping())\n    print('done')\n\
         asyncio.run(main())",
        proxy.address
    );
    assert_eq!(peers::text("python3", &["-c", &client]), "done\n");
    // A plain request on its own connection is none the worse.
    let status =
        peers::text("curl", &["-s", "-o", "/dev/null", "-w", "%{http_code}", &format!("http://{}/", proxy.address)]);
    assert_eq!(status, "426", "the server says what it wants");
}

#[test]
fn a_trusted_proxy_says_whom_a_connection_comes_from() {
    if !["nginx", "curl"].into_iter().all(peers::has) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let echo = r#"location / { return 200 "$http_x_forwarded_for\n"; }"#;
    let origin = Nginx::start(dir.path(), "", echo);
    let get = |address: SocketAddr, arguments: &[&str]| {
        let url = format!("http://{address}/");
        peers::run("curl", &[&["-sS", "--max-time", "10", &url], arguments].concat())
    };
    let answer = |address, arguments: &[&str]| String::from_utf8(get(address, arguments).stdout).unwrap();
    let more = "[[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = [\"127.0.0.0/8\"]\n";
    let proxy = Proxy::start(&config(origin.address, "", more), |_| {});
    let (plain, announced) = (proxy.addresses[0], proxy.addresses[1]);
    // Version 1, from curl. What curl says is that it comes from itself.
    assert_eq!(answer(announced, &["--haproxy-protocol"]), "127.0.0.1\n");
    assert!(!get(announced, &[]).status.success(), "a header is wanted");
    assert!(answer(plain, &["--haproxy-protocol"]).contains("malformed"), "and is refused where it is not");
    // Another address, in both versions and in pieces.
    let v1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 1000 80\r\n".to_vec();
    let v2 = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &[192, 0, 2, 8, 127, 0, 0, 1, 3, 232, 0, 80]].concat();
    for (header, expected) in [(v1, "192.0.2.7\n"), (v2, "192.0.2.8\n")] {
        let mut stream = TcpStream::connect(announced).unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in header.chunks(5) {
            stream.write_all(piece).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.ends_with(expected), "{response}");
    }
}

/// A gRPC server and its client, both grpcio from PyPI: all four kinds of calls, errors in trailers, and the proxy's own.
#[test]
fn grpc_calls_go_through() {
    if !peers::has("python3") || !peers::has_module("grpc") {
        return;
    }
    let server = peers::Python::serve(include_str!("grpc_server.py"));
    let more = "[[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n\
                [[route]]\npath = \"/test.Gone\"\ncluster = \"gone\"\n[cluster.gone]\nprotocol = \"http2\"\n\
                endpoints = [\"127.0.0.1:1\"]\n";
    let proxy = Proxy::start(&config(server.address, "protocol = \"http2\"", more), |_| {});
    let client = include_str!("grpc_client.py");
    let text = peers::text("python3", &["-c", client, &proxy.addresses[1].to_string()]);
    assert_eq!(text, "done\n");
}
