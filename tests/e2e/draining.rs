//! What a process that is about to end does for those who are still there.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use sluicegate_tests::{Echo, Origin, Proxy, eventually};

use crate::h2::{
    self,
    frames::*,
    peer::{Door, Peer},
};

fn cluster(origin: &Echo) -> String {
    format!("[[route]]\ncluster = \"api\"\n[cluster.api]\nendpoints = [\"{}\"]\n", origin.address)
}

/// For each door, a client that has begun to send a request, and one that has nothing under way.
fn clients(proxy: &Proxy, doors: &[Door]) -> (Vec<Peer>, Vec<Peer>) {
    let busy: Vec<Peer> = doors
        .iter()
        .map(|door| {
            let mut peer = door.greet(&[]);
            peer.send(&[headers(END_HEADERS, 1), data(0, 1)].concat());
            peer
        })
        .collect();
    eventually("the requests are under way", || {
        let endpoints = &proxy.status()["clusters"]["api"]["endpoints"];
        (endpoints[0]["in_flight"] == doors.len()).then_some(())
    });
    let mut idle: Vec<Peer> = doors.iter().map(|door| door.greet(&[])).collect();
    idle.iter_mut().for_each(|peer| peer.goes_on().unwrap());
    (busy, idle)
}

/// The client hears that the connection takes no more, and what this side wants to know then is answered.
fn hears_farewell(peer: &mut Peer) {
    let farewell = peer.find("a farewell", |frame| frame.kind == GOAWAY).unwrap();
    assert_eq!(farewell.code(), 0);
    let ping = peer.find("a PING", |frame| frame.kind == PING && frame.flags & ACK == 0).unwrap();
    peer.send(&frame(PING, ACK, 0, &ping.payload));
}

/// The request that was begun comes to its end, and then the connection does.
fn finishes(mut peer: Peer) {
    peer.send(&data(END_STREAM, 1));
    peer.answers(1).unwrap();
    peer.closes().unwrap();
}

#[test]
fn http2_clients_hear_that_the_proxy_ends_and_their_streams_go_on() {
    let origin = Echo::start();
    let (proxy, doors) = h2::start(&cluster(&origin));
    let (mut busy, mut idle) = clients(&proxy, &doors);
    proxy.signal();
    busy.iter_mut().chain(&mut idle).for_each(hears_farewell);
    idle.into_iter().for_each(|peer| peer.closes().unwrap());
    busy.into_iter().for_each(finishes);
    let stopped = proxy.wait_for("the end", |line| line["message"] == "stopped");
    assert_eq!(stopped["connections_cut"], 0);
    let bodies: Vec<_> = origin.asked().iter().filter(|asked| asked.ends_with("\n\ndatadata")).cloned().collect();
    assert_eq!(bodies.len(), doors.len(), "{:?}", origin.asked());
}

#[test]
fn http2_clients_hear_at_once_that_another_process_takes_over_and_their_streams_go_on() {
    let origin = Echo::start();
    let (proxy, doors) = h2::start(&cluster(&origin));
    let (mut busy, mut idle) = clients(&proxy, &doors);
    // One that speaks HTTP/1.1 would be told with its next answer, for which it has a good while.
    let mut patient = Kept::connect(proxy.address);
    patient.ask();
    let upgrade = thread::spawn(|| proxy.upgrade());
    busy.iter_mut().chain(&mut idle).for_each(hears_farewell);
    assert!(patient.is_open(), "they heard no sooner than the others");
    idle.into_iter().for_each(|peer| peer.closes().unwrap());
    // Who comes now gets to the next process.
    let mut new = doors[0].greet(&[]);
    new.send(&headers(END, 1));
    new.answers(1).unwrap();
    busy.into_iter().for_each(finishes);
    drop(patient);
    let (code, _proxy) = upgrade.join().unwrap();
    assert_eq!(code, Some(0));
    new.goes_on().unwrap();
}

/// A connection over HTTP/1.1 that is kept.
struct Kept(TcpStream);

impl Kept {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    /// An answer, up to the end of its body, which has a length.
    fn ask(&mut self) -> String {
        self.0.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        let (mut answer, mut piece) = (String::new(), [0; 4096]);
        loop {
            if let Some((head, body)) = answer.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                if body.len() == length.parse::<usize>().unwrap() {
                    return answer;
                }
            }
            let count = self.0.read(&mut piece).unwrap();
            assert_ne!(count, 0, "{answer}");
            answer += str::from_utf8(&piece[..count]).unwrap();
        }
    }

    /// Whether nothing has come, its end included.
    fn is_open(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let peeked = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

fn save_endpoints(dir: &Path, origins: &[Origin]) {
    let addresses: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    fs::write(dir.join("new"), format!("endpoints = [{}]\n", addresses.join(", "))).unwrap();
    fs::rename(dir.join("new"), dir.join("endpoints.toml")).unwrap();
}

/// With half of that, clients have all the time that they need here.
const CONFIG: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n\
    [admin]\naddress = \"127.0.0.1:0\"\n[runtime]\nworkers = 2\ndrain_timeout_ms = 120000\n\
    upgrade_socket = \"upgrade.sock\"\n[log]\nformat = \"json\"\naccess = false\n[policy]\ncache = \"cache\"\n\
    [[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = \"round-robin\"\nendpoints = { file = \"endpoints.toml\" }\n";

/// In turns, each worker would come back to an endpoint sooner than that.
const IN_A_ROW: usize = 8;

#[test]
fn a_process_that_drains_hears_of_its_endpoints() {
    let origins = Origin::several(2);
    let dir = tempfile::tempdir().unwrap();
    save_endpoints(dir.path(), &origins);
    fs::write(dir.path().join("sluicegate.toml"), CONFIG).unwrap();
    let proxy = Proxy::start_as_it_is(dir);
    let folder = proxy.dir.path().to_owned();
    let mut kept: Vec<Kept> = (0..200).map(|_| Kept::connect(proxy.address)).collect();
    assert!(kept.iter_mut().all(|kept| !kept.ask().contains("connection: close")));
    let mut witness = Door::plain(proxy.addresses[1]).greet(&[]);
    witness.goes_on().unwrap();
    let upgrade = thread::spawn(|| proxy.upgrade());
    hears_farewell(&mut witness);
    drop(witness);
    // Each connection is good for one more request. These get to both.
    let mut ask = |old: Kept| {
        let answer = { old }.ask();
        assert!(answer.contains("connection: close"), "it is the old process that answers: {answer}");
        origins.iter().position(|origin| answer.ends_with(&origin.address.to_string())).unwrap()
    };
    let first: Vec<usize> = kept.drain(..IN_A_ROW).map(&mut ask).collect();
    assert!(first.contains(&0) && first.contains(&1), "{first:?}");
    save_endpoints(&folder, &origins[1..]);
    let mut in_a_row = 0;
    while in_a_row < IN_A_ROW {
        let next = ask(kept.pop().expect("it has heard of it by now"));
        in_a_row = if next == 1 { in_a_row + 1 } else { 0 };
        thread::sleep(Duration::from_millis(50));
    }
    assert!(kept.drain(..).map(&mut ask).all(|origin| origin == 1));
    assert_eq!(upgrade.join().unwrap().0, Some(0));
}
