//! An origin that says what it is told to.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

/// An origin whose answers have a head of the test's own. While it is held, it answers nothing.
pub(super) struct Raw {
    pub(super) address: SocketAddr,
    pub(super) head: Arc<Mutex<String>>,
    asked: Arc<AtomicU64>,
    /// Connections that ended while it was held.
    pub(super) left: Arc<AtomicU64>,
    pub(super) is_held: Arc<AtomicBool>,
}

impl Raw {
    pub(super) fn start(head: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let raw = Self {
            address: listener.local_addr().unwrap(),
            head: Arc::new(Mutex::new(head.to_owned())),
            asked: Arc::default(),
            left: Arc::default(),
            is_held: Arc::default(),
        };
        let (head, asked, left, is_held) =
            (Arc::clone(&raw.head), Arc::clone(&raw.asked), Arc::clone(&raw.left), Arc::clone(&raw.is_held));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (head, asked, left, is_held) =
                    (Arc::clone(&head), Arc::clone(&asked), Arc::clone(&left), Arc::clone(&is_held));
                thread::spawn(move || answer(&stream.unwrap(), &head, &asked, &left, &is_held));
            }
        });
        raw
    }
}

fn answer(stream: &TcpStream, head: &Mutex<String>, asked: &AtomicU64, left: &AtomicU64, is_held: &AtomicBool) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(line)) = lines.next() {
        if !line.is_empty() {
            continue;
        }
        asked.fetch_add(1, Relaxed);
        if is_held.load(Relaxed) {
            // Nothing but the end comes.
            let _ = lines.next();
            left.fetch_add(1, Relaxed);
            return;
        }
        let head = head.lock().unwrap().clone();
        if write!(&mut &*stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{head}\r\nok").is_err() {
            return;
        }
    }
}
