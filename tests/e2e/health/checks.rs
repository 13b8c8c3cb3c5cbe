//! How endpoints are checked: how often, where, with what, and what counts as an answer.

use std::{io::Read, net::TcpListener, sync::mpsc, thread, time::Duration};

use sluicegate_tests::{Authority, Origin, Patient, Proxy, eventually, peers};

use super::{QUICK, becomes, config, quoted};

#[test]
fn checks_end_with_the_endpoint_and_with_the_cluster() {
    let patients: Vec<Patient> = (0..2).map(|_| Patient::start()).collect();
    let addresses = quoted(patients.iter().map(|patient| patient.address));
    let health = format!("[cluster.api.health]\npath = \"/health\"\n{QUICK}");
    let proxy = Proxy::start(&config(&addresses, &health), |_| {});
    let asked = |index: usize| patients[index].asked();
    let goes_on = |index: usize| {
        let before = asked(index);
        eventually("it is asked", || (asked(index) > before + 3).then_some(()));
    };
    let is_over = |index: usize| {
        eventually("it is not asked any more", || {
            let before = asked(index);
            // Twice as long as from one question to the next.
            thread::sleep(Duration::from_millis(100));
            (asked(index) == before).then_some(())
        });
    };
    goes_on(0);
    goes_on(1);
    proxy.reconfigure(&config(&addresses[..1], &health));
    is_over(1);
    goes_on(0);
    let other = config(&addresses[1..], &health).replace("api", "other");
    proxy.reconfigure(&other);
    is_over(0);
    goes_on(1);
    proxy.reconfigure(&config(&addresses[1..], "").replace("api", "other"));
    is_over(1);
}

#[test]
fn a_check_may_go_to_another_port_with_a_host_and_a_status_of_its_own() {
    if !peers::has("nginx") {
        return;
    }
    let origins = Origin::several(1);
    let dir = tempfile::tempdir().unwrap();
    let server = "location /alive { if ($host = health.test) { return 418; } return 200; }";
    let nginx = peers::Nginx::start(dir.path(), "", server);
    let health = |expect: &str| {
        format!(
            "[cluster.api.health]\npath = \"/alive?deep=1\"\nhost = \"health.test\"\nport = {}\nexpect = {expect}\n{QUICK}",
            nginx.address.port()
        )
    };
    let endpoints = quoted([origins[0].address]);
    let proxy = Proxy::start(&config(&endpoints, &health("[200, \"410-418\"]")), |_| {});
    becomes(&proxy, 0, "healthy");
    assert_eq!(origins[0].served(), 0);
    proxy.reconfigure(&config(&endpoints, &health("[200]")));
    assert_eq!(becomes(&proxy, 0, "unhealthy")["reason"], "status 418");
    // Without checks, nothing is known, and nothing is held against it.
    proxy.reconfigure(&config(&endpoints, ""));
    becomes(&proxy, 0, "unknown");
}

#[test]
fn checks_follow_a_change_of_the_proxy_protocol() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (said, heard) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut start = [0; 5];
            if stream.read_exact(&mut start).is_err() || said.send(start).is_err() {
                return;
            }
        }
    });
    let with = |more: &str| config(&quoted([address]), &format!("{more}[cluster.api.health]\n{QUICK}"));
    let proxy = Proxy::start(&with(""), |_| {});
    assert_eq!(&heard.recv().unwrap(), b"GET /");
    proxy.reconfigure(&with("proxy_protocol = \"v1\"\n"));
    eventually("checks begin with it", || heard.try_iter().any(|start| &start == b"PROXY").then_some(()));
}

#[test]
fn checks_take_the_clusters_tls_and_http2() {
    if !peers::has("nginx") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    authority.issue(dir.path(), "origin", &["127.0.0.1"]);
    let server = "ssl_certificate origin.pem; ssl_certificate_key origin.key;\n\
                  location /alive { if ($server_protocol = HTTP/2.0) { return 204; } return 500; }";
    let nginx = peers::Nginx::start(dir.path(), "ssl http2", server);
    let ca = dir.path().join("ca.pem");
    let more = |protocol: &str| {
        format!(
            "protocol = \"{protocol}\"\ntls = {{ ca = {ca:?} }}\n\
             [cluster.api.health]\npath = \"/alive\"\nexpect = [204]\n{QUICK}"
        )
    };
    let endpoints = quoted([nginx.address]);
    let proxy = Proxy::start(&config(&endpoints, &more("http2")), |_| {});
    becomes(&proxy, 0, "healthy");
    proxy.reconfigure(&config(&endpoints, &more("http1")));
    assert_eq!(becomes(&proxy, 0, "unhealthy")["reason"], "status 500");
    // Whose certificate is not to be trusted is not well, either.
    let other = tempfile::tempdir().unwrap();
    let _authority = Authority::new(other.path());
    let stranger = more("http2").replace(ca.to_str().unwrap(), other.path().join("ca.pem").to_str().unwrap());
    let proxy = Proxy::start(&config(&endpoints, &stranger), |_| {});
    let reason = becomes(&proxy, 0, "unhealthy")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("no TLS") && reason.contains("certificate"), "{reason}");
}

/// gRPC's health service, which changes its mind when it is told to.
const GRPC_HEALTH: &str = r#"
import concurrent.futures, grpc
serving = True
def check(request, context):
    if request == b"\x0a\x04gone":
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return b"\x08\x01" if serving else b"\x08\x02"
def turn(request, context):
    global serving
    serving = not serving
    return b""
handler = grpc.unary_unary_rpc_method_handler
server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((
    grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler(check)}),
    grpc.method_handlers_generic_handler("test.Patient", {"Turn": handler(turn)}),
))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
"#;

#[test]
fn grpc_servers_say_themselves_how_they_are() {
    if !peers::has("python3") || !peers::has_module("grpc") {
        return;
    }
    let server = peers::Python::serve(GRPC_HEALTH);
    let check = |service: &str| {
        format!("protocol = \"http2\"\n[cluster.api.health]\nkind = \"grpc\"\nservice = \"{service}\"\n{QUICK}")
    };
    let endpoints = quoted([server.address]);
    let proxy = Proxy::start(&config(&endpoints, &check("test.Patient")), |_| {});
    let turn = || {
        let client = "import grpc, sys\ngrpc.insecure_channel(sys.argv[1]).unary_unary('/test.Patient/Turn')(b'')";
        peers::text("python3", &["-c", client, &server.address.to_string()]);
    };
    becomes(&proxy, 0, "healthy");
    turn();
    assert_eq!(becomes(&proxy, 0, "unhealthy")["reason"], "NOT_SERVING");
    turn();
    becomes(&proxy, 0, "healthy");
    proxy.reconfigure(&config(&endpoints, &check("gone")));
    assert_eq!(becomes(&proxy, 0, "unhealthy")["reason"], "the health service does not know this service");
}
