//! Suites of others, and of ours against programs of others. Each folder beside this one says how to run all of it.

use std::path::Path;

use sluicegate_tests::{
    Authority, Proxy, binary,
    peers::{self, Python},
};

/// Runs a program in Python that gets the proxy's binary, and has to succeed.
fn succeeds(program: &str, arguments: &[&str]) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
    let paths = [program.to_str().unwrap(), binary().to_str().unwrap()];
    let output = peers::run("python3", &[&paths[..], arguments].concat());
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

#[test]
fn ambiguous_messages_are_refused_or_the_same_to_every_server() {
    let servers =
        ["http.server", "gunicorn", "uvicorn", "hypercorn", "waitress", "cheroot", "tornado", "aiohttp", "twisted"];
    if !peers::has("python3") || !peers::has("nginx") || !servers.into_iter().all(peers::has_module) {
        return;
    }
    let all = "nginx,http.server,gunicorn,uvicorn-h11,hypercorn,waitress,cheroot,tornado,aiohttp,twisted";
    succeeds("differential/differential.py", &["--required", "--show", "1", "--origins", all]);
}

#[test]
fn websocket_cases_end_as_without_the_proxy() {
    if !peers::has("python3") || !["autobahn", "websockets"].into_iter().all(peers::has_module) {
        return;
    }
    // What is left out takes minutes: large messages and compression.
    succeeds("autobahn/compare.py", &["--exclude", "9.*,12.*,13.*"]);
}

#[test]
fn grpc_cases_pass_plain_and_over_tls() {
    if !peers::has("python3") || !peers::has_module("grpc") {
        return;
    }
    let program = include_str!("grpc_interop.py");
    let server = Python::serve(program);
    let config = format!(
        "[[route]]\ncluster = \"api\"\n[cluster.api]\nprotocol = \"http2\"\nendpoints = [\"{}\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [listener.tls]\ncertificates = [{{ certificate = \"one.pem\", key = \"one.key\" }}]\n",
        server.address
    );
    let proxy = Proxy::start(&config, |dir| Authority::new(dir).issue(dir, "one", &["one.test"]));
    let ca = proxy.path("ca.pem");
    let (plain, secure) = (proxy.addresses[1].to_string(), proxy.addresses[2].to_string());
    for arguments in [&[&*plain][..], &[&*secure, ca.to_str().unwrap()]] {
        let text = peers::text("python3", &[&["-c", program], arguments].concat());
        assert!(text.ends_with("done\n"), "{text}");
    }
}

#[test]
fn a_scanner_of_tls_finds_nothing_but_a_certificate_that_nobody_knows() {
    if !["sslyze", "openssl"].into_iter().all(peers::has) {
        return;
    }
    let config = "[[route]]\nrespond = { status = 200, body = \"ok\" }\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
                  [listener.tls]\ncertificates = [{ certificate = \"one.pem\", key = \"one.key\" }]\n";
    let proxy = Proxy::start(config, |dir| Authority::new(dir).issue(dir, "one", &["one.test"]));
    let address = proxy.addresses[1];
    let target = format!("one.test:{}{{127.0.0.1}}", address.port());
    // It fails, because nobody trusts the certificate, and because that is good for too long.
    let output = peers::run("sslyze", &["--mozilla_config=intermediate", "--resum", "--early_data", &target]);
    let text = String::from_utf8_lossy(&output.stdout);
    let (scan, compliance) = text.split_once("COMPLIANCE AGAINST").unwrap_or_else(|| panic!("{text}"));
    let findings: Vec<&str> = compliance.lines().filter(|line| line.trim_start().starts_with("* ")).collect();
    assert!(findings.iter().all(|line| line.contains("certificate")), "{text}");
    assert!(!scan.contains("VULNERABLE -") && scan.contains("Session IDs: OK - Supported"), "{text}");
    for version in ["-tls1_2", "-tls1_3"] {
        let session = proxy.path(version);
        for (file, expected) in [("-sess_out", "New, TLSv1."), ("-sess_in", "Reused, TLSv1.")] {
            let command = format!(
                "printf 'GET / HTTP/1.1\\r\\nHost: one.test\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client {version} \
                 -ign_eof -servername one.test -connect {address} {file} {}",
                session.display()
            );
            let answer = peers::run("sh", &["-c", &command]);
            let text = String::from_utf8_lossy(&answer.stdout);
            assert!(text.contains(expected) && text.contains("HTTP/1.1 200"), "{version} {file}: {text}");
        }
    }
    for old in ["-tls1", "-tls1_1"] {
        let target = address.to_string();
        let arguments = ["s_client", old, "-cipher", "ALL:@SECLEVEL=0", "-connect", &target];
        assert!(!peers::run("openssl", &arguments).status.success(), "{old}");
    }
}
