//! Endpoints that are found in a file, or by asking DNS.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use serde_json::Value;
use sluicegate_tests::{Load, NameServer, Origin, Proxy, eventually, get};

fn config(endpoints: &str, servers: &[&NameServer]) -> String {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.address)).collect();
    format!(
        "[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = \"round-robin\"\nendpoints = {endpoints}\n\
         [dns]\nservers = [{}]\n",
        servers.join(", ")
    )
}

fn list(origins: &[Origin]) -> String {
    let addresses: Vec<String> = origins.iter().map(|origin| format!("  \"{}\"", origin.address)).collect();
    format!("endpoints = [\n{},\n]\n", addresses.join(",\n"))
}

fn endpoints(proxy: &Proxy) -> Vec<Value> {
    proxy.status()["clusters"]["api"]["endpoints"].as_array().unwrap().clone()
}

/// Waits until the cluster has these endpoints, in any order.
fn wait_for(proxy: &Proxy, origins: &[&Origin]) {
    let mut expected: Vec<String> = origins.iter().map(|origin| origin.address.to_string()).collect();
    expected.sort();
    eventually(&format!("the endpoints are {expected:?}"), || {
        let mut found: Vec<String> =
            endpoints(proxy).iter().map(|endpoint| endpoint["address"].as_str().unwrap().to_owned()).collect();
        found.sort();
        (found == expected).then_some(())
    });
}

fn wait_for_message(proxy: &Proxy, text: &str) -> Value {
    proxy.wait_for(text, |line| line["message"].as_str().is_some_and(|message| message.contains(text)))
}

fn local(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// Two origins with the same port, at 127.0.0.1 and 127.0.0.2.
fn two_at_one_port() -> [Origin; 2] {
    eventually("a port that both addresses have", || {
        let first = Origin::start(Duration::ZERO);
        let second = Origin::try_start_at((local(2), first.address.port()).into(), Duration::ZERO)?;
        Some([first, second])
    })
}

#[test]
fn a_file_is_followed() {
    let origins = Origin::several(3);
    let save = |dir: &std::path::Path, text: &str| {
        fs::write(dir.join("new"), text).unwrap();
        fs::rename(dir.join("new"), dir.join("endpoints.toml")).unwrap();
    };
    let proxy = Proxy::start(&config("{ file = \"endpoints.toml\" }", &[]), |dir| save(dir, &list(&origins[..1])));
    // It has them from the first request on.
    assert_eq!(get(proxy.address, "/", "test").unwrap(), (200, origins[0].address.to_string()));
    let load = Load::start(proxy.address, 8);
    save(proxy.dir.path(), &list(&origins));
    wait_for(&proxy, &[&origins[0], &origins[1], &origins[2]]);
    eventually("all of them serve", || origins.iter().all(|origin| origin.served() > 1).then_some(()));
    // A bad edit keeps the list, and says where the mistakes are.
    save(proxy.dir.path(), "endpoints = [\n  \"127.0.0.1\",\n  { address = \"127.0.0.1:1\", wieght = 2 },\n]\n");
    let line = wait_for_message(&proxy, "endpoints refused");
    let text = line["message"].as_str().unwrap();
    for part in ["endpoints.toml:2:3: endpoints[0]: has no port", "endpoints.toml:3:30: endpoints[1].wieght"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert_eq!(endpoints(&proxy).len(), 3);
    // Written in place, flipped as a symbolic link, deleted and created again.
    fs::write(proxy.path("endpoints.toml"), list(&origins[1..])).unwrap();
    wait_for(&proxy, &[&origins[1], &origins[2]]);
    fs::write(proxy.path("other.toml"), list(&origins[..2])).unwrap();
    symlink("other.toml", proxy.path("new")).unwrap();
    fs::rename(proxy.path("new"), proxy.path("endpoints.toml")).unwrap();
    wait_for(&proxy, &[&origins[0], &origins[1]]);
    fs::remove_file(proxy.path("endpoints.toml")).unwrap();
    wait_for_message(&proxy, "a file can't be read");
    assert_eq!(endpoints(&proxy).len(), 2);
    fs::write(proxy.path("endpoints.toml"), list(&origins[2..])).unwrap();
    wait_for(&proxy, &[&origins[2]]);
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

#[test]
fn a_configuration_waits_for_its_file() {
    let origins = Origin::several(2);
    let proxy = Proxy::start(&crate::config("\"p2c\"", &origins[..1]), |_| {});
    let load = Load::start(proxy.address, 2);
    proxy.reconfigure(&config("{ file = \"later.toml\" }", &[]));
    wait_for_message(&proxy, "cluster.api.endpoints: ");
    wait_for(&proxy, &[&origins[0]]);
    fs::write(proxy.path("later.toml"), list(&origins[1..])).unwrap();
    wait_for(&proxy, &[&origins[1]]);
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

#[test]
fn a_name_is_followed_and_a_failure_changes_nothing() {
    let (server, origins) = (NameServer::start(), two_at_one_port());
    server.set_alias("api.test", 1, "host.test");
    server.set_addresses("host.test", 600, &[local(1)]);
    let dns = format!("{{ dns = \"API.test:{}\" }}", origins[0].address.port());
    let proxy = Proxy::start(&config(&dns, &[&server]), |_| {});
    assert_eq!(get(proxy.address, "/", "test").unwrap(), (200, origins[0].address.to_string()));
    let load = Load::start(proxy.address, 4);
    server.set_addresses("host.test", 1, &[local(2), local(1)]);
    wait_for(&proxy, &[&origins[0], &origins[1]]);
    let before = origins[1].served();
    eventually("the new one serves", || (origins[1].served() > before).then_some(()));
    server.set_broken(true);
    wait_for_message(&proxy, "can't be resolved");
    let asked = server.asked();
    eventually("it is asked again", || (server.asked() > asked).then_some(()));
    assert_eq!(endpoints(&proxy).len(), 2);
    server.set_addresses("host.test", 1, &[]);
    server.set_broken(false);
    let asked = server.asked();
    eventually("an empty answer", || (server.asked() > asked + 2).then_some(()));
    assert_eq!(endpoints(&proxy).len(), 2);
    server.set_addresses("host.test", 1, &[local(2)]);
    wait_for(&proxy, &[&origins[1]]);
    wait_for_message(&proxy, "names are resolved");
    // The other order of the same addresses is no change.
    let generation = proxy.status()["clusters"]["api"]["endpoints_generation"].clone();
    let asked = server.asked();
    eventually("it is asked again", || (server.asked() > asked + 4).then_some(()));
    assert_eq!(proxy.status()["clusters"]["api"]["endpoints_generation"], generation);
    assert_eq!(load.stop().failed, Vec::<String>::new());
}

#[test]
fn a_name_that_comes_later() {
    let (silent, server, origins) = (NameServer::start(), NameServer::start(), Origin::several(1));
    silent.set_broken(true);
    let dns = format!("{{ dns = \"api.test:{}\" }}", origins[0].address.port());
    // The second server is asked when the first one fails.
    let proxy = Proxy::start(&config(&dns, &[&silent, &server]), |_| {});
    wait_for_message(&proxy, "can't be resolved");
    assert_eq!(get(proxy.address, "/", "test").unwrap().0, 503);
    server.set_addresses("api.test", 600, &[local(1)]);
    wait_for(&proxy, &[&origins[0]]);
    assert_eq!(get(proxy.address, "/", "test").unwrap().0, 200);
    // From a name to a list, and from that to one that is not resolved: the old endpoints stay.
    proxy.reconfigure(&crate::config("\"p2c\"", &origins));
    wait_for_message(&proxy, "configuration applied");
    proxy.reconfigure(&config("{ dns = \"nowhere.test:1\" }", &[&server]));
    proxy.wait_for("a warning", |line| line["error"].as_str().is_some_and(|text| text.contains("nowhere.test")));
    wait_for(&proxy, &[&origins[0]]);
}

#[test]
fn a_server_that_says_nothing_about_ipv6_is_not_waited_for() {
    let (server, origins) = (NameServer::start(), Origin::several(1));
    server.forget_ipv6();
    server.set_addresses("api.test", 600, &[local(1)]);
    let dns = format!("{{ dns = \"api.test:{}\" }}", origins[0].address.port());
    let proxy = Proxy::start(&config(&dns, &[&server]), |_| {});
    // It is there when the proxy begins to serve, or at the second try, but does not wait for IPv6: that takes five seconds.
    let began = Instant::now();
    wait_for(&proxy, &[&origins[0]]);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(get(proxy.address, "/", "test").unwrap().0, 200);
}

#[test]
fn what_fails_for_ipv6_leaves_what_was_known_of_it() {
    let server = NameServer::start();
    let addresses = |of: &[&str]| -> Vec<IpAddr> { of.iter().map(|address| address.parse().unwrap()).collect() };
    server.set_addresses("api.test", 1, &addresses(&["127.0.0.1", "::1"]));
    let proxy = Proxy::start(&config("{ dns = \"api.test:9\" }", &[&server]), |_| {});
    let wait_for = |expected: &[&str]| {
        eventually(&format!("the endpoints are {expected:?}"), || {
            let found = endpoints(&proxy);
            let found: Vec<&str> = found.iter().filter_map(|endpoint| endpoint["address"].as_str()).collect();
            (found == expected).then_some(())
        });
    };
    wait_for(&["127.0.0.1:9", "[::1]:9"]);
    server.set_broken_for_ipv6(true);
    server.set_addresses("api.test", 1, &addresses(&["127.0.0.2"]));
    wait_for(&["127.0.0.2:9", "[::1]:9"]);
    wait_for_message(&proxy, "is not answered, and kept");
    // That there are none is an answer.
    server.set_broken_for_ipv6(false);
    wait_for(&["127.0.0.2:9"]);
}

#[test]
fn services_have_ports_and_weights() {
    let (server, origins) = (NameServer::start(), Origin::several(3));
    let port = |index: usize| origins[index].address.port();
    server.set_addresses("a.test", 600, &[local(1)]);
    let services = [(10, 3, port(0), "a.test"), (10, 0, port(1), "a.test"), (20, 9, port(2), "a.test")];
    server.set_services("_http._tcp.test", 1, &services);
    let proxy = Proxy::start(&config("{ srv = \"_http._tcp.test\" }", &[&server]), |_| {});
    wait_for(&proxy, &[&origins[0], &origins[1]]);
    let found = endpoints(&proxy);
    let weight = |index: usize| {
        let is_it = |endpoint: &&Value| endpoint["address"] == origins[index].address.to_string();
        found.iter().find(is_it).unwrap()["weight"].clone()
    };
    assert_eq!((weight(0), weight(1)), (3.into(), 1.into()));
    assert_eq!(get(proxy.address, "/", "test").unwrap().0, 200);
    // Those of the lowest priority only: the others are for when these are taken away.
    server.set_services("_http._tcp.test", 1, &services[2..]);
    wait_for(&proxy, &[&origins[2]]);
}

#[test]
fn a_service_whose_host_is_gone_says_nothing_of_the_others() {
    let (server, origins) = (NameServer::start(), Origin::several(1));
    server.set_addresses("a.test", 600, &[local(1)]);
    let port = origins[0].address.port();
    server.set_services("_http._tcp.test", 1, &[(1, 1, port, "gone.test"), (1, 1, port, "a.test")]);
    let proxy = Proxy::start(&config("{ srv = \"_http._tcp.test\" }", &[&server]), |_| {});
    wait_for(&proxy, &[&origins[0]]);
    server.set_services("_http._tcp.test", 1, &[(1, 1, port, "gone.test")]);
    wait_for_message(&proxy, "can't be resolved");
    wait_for(&proxy, &[&origins[0]]);
}

#[test]
fn a_server_that_is_down_is_not_waited_for() {
    let (silent, server, origins) = (UdpSocket::bind("127.0.0.1:0").unwrap(), NameServer::start(), Origin::several(1));
    server.set_addresses("api.test", 600, &[local(1)]);
    let dns = format!("{{ dns = \"api.test:{}\" }}", origins[0].address.port());
    let silent = silent.local_addr().unwrap().to_string();
    let text = config(&dns, &[&server]).replace("servers = [", &format!("servers = [\"{silent}\", "));
    let proxy = Proxy::start(&text, |_| {});
    // From the first request on.
    assert_eq!(get(proxy.address, "/", "test").unwrap().0, 200);
}

#[test]
fn a_long_answer_comes_over_tcp() {
    let server = NameServer::start();
    let mut addresses: Vec<IpAddr> = (1..=60).map(local).collect();
    addresses.push("::1".parse().unwrap());
    server.set_addresses("many.test", 600, &addresses);
    let proxy = Proxy::start(&config("{ dns = \"many.test:1\" }", &[&server]), |_| {});
    assert_eq!(endpoints(&proxy).len(), 61);
}
