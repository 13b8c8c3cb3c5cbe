//! An origin that falls ill when the test says so.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// Instead of a status: it takes requests and never answers.
pub const HUNG: u16 = 0;

/// Instead of a status: it closes the connection on every request.
pub const CLOSED: u16 = 1;

/// An origin whose answers are as the test wants them: a status, or [`HUNG`], or [`CLOSED`].
pub struct Patient {
    /// Where it listens.
    pub address: SocketAddr,
    answer: Arc<AtomicU16>,
    asked: Arc<AtomicU64>,
    served: Arc<AtomicU64>,
}

impl Patient {
    /// One that is well: its answers are 200, with its address.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, asked, served) = (Arc::new(AtomicU16::new(200)), Arc::default(), Arc::default());
        let patient = Self { address, answer, asked, served };
        let (answer, asked, served) =
            (Arc::clone(&patient.answer), Arc::clone(&patient.asked), Arc::clone(&patient.served));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, asked, served) = (Arc::clone(&answer), Arc::clone(&asked), Arc::clone(&served));
                thread::spawn(move || serve(&mut stream.unwrap(), address, &answer, (&asked, &served)));
            }
        });
        patient
    }

    /// Answers like this from now on.
    pub fn becomes(&self, answer: u16) {
        self.answer.store(answer, Relaxed);
    }

    /// How many requests for `/health` it has answered.
    pub fn asked(&self) -> u64 {
        self.asked.load(Relaxed)
    }

    /// How many others.
    pub fn served(&self) -> u64 {
        self.served.load(Relaxed)
    }
}

fn serve(stream: &mut TcpStream, address: SocketAddr, answer: &AtomicU16, counts: (&AtomicU64, &AtomicU64)) {
    let mut head = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let is_check = head.starts_with(b"GET /health ");
        let answer = answer.load(Relaxed);
        match answer {
            CLOSED => return,
            HUNG => thread::sleep(Duration::from_secs(60)),
            _ => {}
        }
        (if is_check { counts.0 } else { counts.1 }).fetch_add(1, Relaxed);
        let body = address.to_string();
        let text = format!("HTTP/1.1 {answer} x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
        head.clear();
    }
}
