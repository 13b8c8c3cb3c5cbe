use std::{future::Future, io::Read, net, thread, time::Duration};

use rustix::io::ioctl_fionread;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::{Builder, LocalOptions},
    task::yield_now,
    time::{sleep, timeout},
};

use super::*;

/// As a worker does.
fn run(test: impl Future<Output = ()>) {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().on_thread_park(end_turn);
    builder.build_local(LocalOptions::default()).unwrap().block_on(test);
}

/// A connection, and its other end.
fn pair() -> (Tcp, net::TcpStream) {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_nonblocking(true).unwrap();
    let (other, _) = listener.accept().unwrap();
    (Tcp::new(TcpStream::from_std(stream).unwrap()), other)
}

/// What is written from here on in this turn waits for its end.
fn be_busy() {
    OUTBOX.with_borrow_mut(|outbox| outbox.was_busy = true);
}

/// How much is there to be read.
fn here(other: &net::TcpStream) -> usize {
    ioctl_fionread(other).unwrap() as usize
}

fn all_of(mut other: net::TcpStream) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        other.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

#[test]
fn a_worker_with_little_to_do_sends_at_once() {
    run(async {
        let (mut tcp, _other) = pair();
        for number in 1..BUSY {
            tcp.write_all(b"a").await.unwrap();
            assert_eq!(tcp.sent(), number as u64);
        }
        sleep(Duration::from_millis(1)).await;
        tcp.write_all(b"a").await.unwrap();
        assert_eq!(tcp.sent(), BUSY as u64);
    });
}

#[test]
fn what_a_busy_worker_writes_goes_out_at_the_end_of_the_turn() {
    run(async {
        let (mut tcp, other) = pair();
        for _ in 0..BUSY + 5 {
            tcp.write_all(b"a").await.unwrap();
        }
        assert_eq!(tcp.sent(), BUSY as u64 - 1);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(tcp.sent(), BUSY as u64 + 5);
        // So will the next turn be, most likely.
        tcp.write_all(b"a").await.unwrap();
        assert_eq!(tcp.sent(), BUSY as u64 + 5);
        drop(tcp);
        assert_eq!(all_of(other).join().unwrap(), [b'a'; BUSY + 6]);
    });
}

#[test]
fn a_turn_that_takes_long_holds_nothing_back() {
    run(async {
        let ((mut tcp, other), (mut second, _second)) = (pair(), pair());
        be_busy();
        tcp.write_all(b"a").await.unwrap();
        for _ in 0..LONG - 2 {
            second.write_all(b"b").await.unwrap();
        }
        assert_eq!(here(&other), 0);
        second.write_all(b"b").await.unwrap();
        assert_eq!(here(&other), 1);
        tcp.write_all(&[b'a'; SMALL]).await.unwrap();
        for _ in 1..FULL / SMALL {
            assert_eq!(here(&other), 1);
            second.write_all(&[b'b'; SMALL]).await.unwrap();
        }
        assert_eq!(here(&other), 1 + SMALL);
    });
}

#[test]
fn small_and_large_writes_keep_their_order_when_the_other_end_is_slow() {
    run(async {
        let (mut tcp, other) = pair();
        let (mut written, mut bytes) = (Vec::new(), 0..);
        let (mut reader, mut was_full) = (None, false);
        for length in [1, 100, SMALL, SMALL + 1, 3, 300_000, 5].into_iter().cycle().take(700) {
            let piece: Vec<u8> = bytes.by_ref().take(length).map(|number: u32| (number % 251) as u8).collect();
            written.extend_from_slice(&piece);
            let mut other = Some(&other).filter(|_| reader.is_none()).map(|other| other.try_clone().unwrap());
            let mut rest = &piece[..];
            while !rest.is_empty() {
                match timeout(Duration::from_millis(50), tcp.write(rest)).await {
                    Ok(count) => rest = &rest[count.unwrap()..],
                    // Nobody has read so far.
                    Err(_) => (reader, was_full) = (Some(all_of(other.take().unwrap())), true),
                }
            }
            if length < 4 {
                yield_now().await;
            }
        }
        tcp.shutdown().await.unwrap();
        assert!(was_full);
        assert_eq!(tcp.sent(), written.len() as u64);
        drop(other);
        assert!(reader.unwrap().join().unwrap() == written);
    });
}

/// As much as there is room for, and more.
async fn fill(tcp: &mut Tcp) -> usize {
    let mut count = 0;
    while tcp.0.rest.borrow().is_empty() {
        tcp.write_all(&[b'a'; SMALL]).await.unwrap();
        count += SMALL;
        OUTBOX.with_borrow_mut(Outbox::flush);
    }
    count
}

#[test]
fn a_shutdown_waits_for_what_there_was_no_room_for() {
    run(async {
        let (mut tcp, other) = pair();
        let count = fill(&mut tcp).await;
        assert!(timeout(Duration::from_millis(20), tcp.shutdown()).await.is_err());
        assert!(timeout(Duration::from_millis(20), tcp.flush()).await.is_err());
        let reader = all_of(other);
        tcp.shutdown().await.unwrap();
        assert_eq!(reader.join().unwrap().len(), count);
        assert_eq!(tcp.sent(), count as u64);
    });
}

#[test]
fn what_there_was_no_room_for_goes_with_its_owner() {
    run(async {
        let (mut tcp, other) = pair();
        let (count, socket) = (fill(&mut tcp).await, Rc::downgrade(&tcp.0));
        drop(tcp);
        while socket.strong_count() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let sent = all_of(other).join().unwrap().len();
        assert!((1..count).contains(&sent), "{sent} of {count}");
    });
}

#[test]
fn what_is_taken_back_never_goes_out() {
    run(async {
        let (mut tcp, other) = pair();
        tcp.write_all(b"a").await.unwrap();
        be_busy();
        tcp.write_all(b"b").await.unwrap();
        assert_eq!(tcp.stop_sending(), 1);
        assert!(tcp.write_all(b"c").await.is_err());
        drop(tcp);
        assert_eq!(all_of(other).join().unwrap(), b"a");
    });
}

#[test]
fn whoever_reads_hears_that_no_more_can_go_out() {
    run(async {
        let (mut tcp, other) = pair();
        drop(other);
        let mut byte = [0];
        for _ in 0..2 {
            let _ = tcp.write_all(b"a").await;
            sleep(Duration::from_millis(20)).await;
        }
        assert!(tcp.write_all(b"a").await.is_err());
        assert!(matches!(timeout(Duration::from_secs(5), tcp.read(&mut byte)).await, Ok(Ok(0) | Err(_))));
    });
}
