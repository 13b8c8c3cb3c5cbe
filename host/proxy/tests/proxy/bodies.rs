//! Bodies: large, chunked, broken off, early.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use sluicegate_core::Signal;
use sluicegate_proxy::ClusterSettings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc::unbounded_channel,
};

use crate::support::{GET, Origin, Proxy, QUICK, eventually};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    let body: Vec<u8> = (0..8 * MIB).map(|i| (i % 251) as u8).collect();
    client.send(&format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    client.stream.write_all(&body).await.unwrap();
    let response = client.response("POST").await.unwrap();
    assert!(response.body.ends_with(&body));
    assert_eq!(client.get("/").await.status(), 200);
    assert_eq!(origin.connections(), 1);
    proxy.settle().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_origin() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let origin = Origin::new(move |mut wire, _| {
        let count = Arc::clone(&count);
        async move {
            wire.request().await;
            wire.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 256 * MIB)).await;
            while let Ok(written) = wire.stream.write(&[b'x'; 65536]).await {
                count.fetch_add(written, SeqCst);
            }
        }
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send(GET).await;
    client.head().await.unwrap();
    // What the kernel buffers is a few MiB; it stops growing there.
    let mut before = usize::MAX;
    while before != sent.load(SeqCst) {
        before = sent.load(SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(before < 64 * MIB, "{before} bytes were taken from the origin");
    drop(client);
    proxy.settle().await;
}

#[tokio::test]
async fn an_origin_that_does_not_read_stops_the_client() {
    let origin = Origin::new(|mut wire, _| async move {
        wire.head().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    let mut settings = QUICK;
    settings.response_timeout = Duration::from_secs(3);
    let proxy = Proxy::new(&[origin.address], settings).await;
    let mut client = proxy.connect().await;
    client.send(&format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 256 * MIB)).await;
    let mut taken = 0;
    while let Ok(Ok(count)) =
        tokio::time::timeout(Duration::from_millis(500), client.stream.write(&[b'x'; 65536])).await
    {
        taken += count;
        assert!(taken < 64 * MIB, "{taken} bytes were taken from the client");
    }
    // That the client is gone can't be seen behind what it sent before: the deadline ends the request.
    drop(client);
    proxy.settle().await;
}

#[tokio::test]
async fn chunks_and_trailers_pass_both_ways() {
    let origin = Origin::new(|mut wire, _| async move {
        while let Some(request) = wire.request().await {
            assert_eq!(request.trailers, [("x-sum".to_owned(), "7".to_owned())], "{request:?}");
            wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n").await;
            for byte in request.body {
                wire.send(&format!("1\r\n{}\r\n", char::from(byte))).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            wire.send("0\r\nx-end: 9\r\n\r\n").await;
        }
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    for _ in 0..3 {
        client
            .send(
                "POST / HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .await;
        client.send("3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n").await;
        let response = client.response("POST").await.unwrap();
        assert_eq!(response.text(), "abc");
        assert_eq!(response.trailers, [("x-end".to_owned(), "9".to_owned())], "{response:?}");
    }
    assert_eq!(origin.connections(), 1);
    proxy.settle().await;
}

#[tokio::test]
async fn only_announced_trailers_go_to_http1() {
    let origin = Origin::new(|mut wire, _| async move {
        while let Some(request) = wire.request().await {
            let names: Vec<_> = request.trailers.iter().map(|(name, _)| name.as_str()).collect();
            let text = names.join(",");
            wire.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())).await;
        }
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    for (head, expected) in [("", ""), ("Trailer: x\r\n", ""), ("Trailer: y, A\r\n", "a"), ("Trailer: a,b\r\n", "a,b")]
    {
        client.send(&format!("POST / HTTP/1.1\r\nHost: test\r\n{head}Transfer-Encoding: chunked\r\n\r\n")).await;
        client.send("3\r\nabc\r\n0\r\na: 1\r\nb: 2\r\n\r\n").await;
        assert_eq!(client.response("POST").await.unwrap().text(), expected, "{head}");
    }
    proxy.settle().await;
}

#[tokio::test]
async fn an_origin_that_dies_mid_body_is_not_a_clean_end() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let origin = Origin::canned(response, 1).await;
        let proxy = Proxy::new(&[origin.address], QUICK).await;
        let mut client = proxy.connect().await;
        client.send(GET).await;
        assert!(client.response("GET").await.is_none(), "{response}");
        proxy.settle().await;
        assert_eq!(proxy.read(0, Signal::Failures), 1, "{response}");
        // An HTTP/1.0 client has only the connection's end to go by.
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n").await;
        assert!(!client.ended().await, "{response}");
    }
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_is_whole() {
    let origin = Origin::new(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await;
        wire.ended().await;
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nabc").await;
    let response = client.response("POST").await.unwrap();
    assert_eq!((response.status(), response.text()), (413, "no"));
    drop(client);
    proxy.settle().await;
    eventually("the connection is not reused", || proxy.read(0, Signal::Connections) == 0).await;
}

#[tokio::test]
async fn a_client_may_send_on_while_it_reads_nothing() {
    const SIZE: usize = 32 * MIB;
    // Answers at once with more than all buffers hold, and takes what comes meanwhile: the last of it is a `z`.
    let (said, mut heard) = unbounded_channel();
    let origin = Origin::new(move |mut wire, _| {
        let said = said.clone();
        async move {
            wire.head().await.unwrap();
            wire.send(&format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {SIZE}\r\n\r\n")).await;
            let (mut reader, mut writer) = wire.stream.split();
            let answer = async { writer.write_all(&vec![b'y'; SIZE]).await.unwrap() };
            let take = async {
                let (mut piece, mut count) = (vec![0; 65536], 0);
                while !piece[..count].contains(&b'z') {
                    count = reader.read(&mut piece).await.unwrap();
                    assert!(count > 0, "the upload ended");
                }
                said.send(()).unwrap();
            };
            tokio::join!(answer, take);
            wire.ended().await;
        }
    })
    .await;
    // A machine that stands still for half a second is not what this is about.
    let patient = ClusterSettings { stream_idle_timeout: Duration::from_secs(30), ..QUICK };
    let proxy = Proxy::new(&[origin.address], patient).await;
    let (size, chunk) = (format!("Content-Length: {SIZE}\r\n\r\n"), format!("{SIZE:x}\r\n"));
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{chunk}");
    for (framing, end) in [(size, "z"), (chunked, "z\r\n0\r\n\r\n")] {
        let mut client = proxy.connect().await;
        client.send(&format!("POST / HTTP/1.1\r\nHost: test\r\n{framing}")).await;
        assert_eq!(client.head().await.unwrap().start, "HTTP/1.1 200 OK");
        client.send(&"x".repeat(SIZE - 1)).await;
        client.send(end).await;
        heard.recv().await.unwrap();
        assert_eq!(client.exactly(SIZE).await.unwrap(), vec![b'y'; SIZE]);
        proxy.settle().await;
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_after_an_early_answer_ends_both() {
    // Answers at once, and does not end before the upload does.
    let (said, mut heard) = unbounded_channel();
    let origin = Origin::new(move |mut wire, _| {
        let said = said.clone();
        async move {
            wire.head().await.unwrap();
            wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
            wire.ended().await;
            said.send(()).unwrap();
        }
    })
    .await;
    let patient = ClusterSettings { stream_idle_timeout: Duration::from_secs(60), ..QUICK };
    let proxy = Proxy::new(&[origin.address], patient).await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 200);
    client.send("no chunk\r\n").await;
    heard.recv().await.unwrap();
    client.ended().await;
    proxy.settle().await;
}

#[tokio::test]
async fn a_client_that_does_not_send_its_body_is_not_a_slow_endpoint() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    does_not_send(&proxy).await;
}

/// Sends the beginning of a body, and hears whose fault it is that there is no answer.
pub(crate) async fn does_not_send(proxy: &Proxy) {
    for (body, said) in [
        ("Content-Length: 10\r\n\r\nabc", (408, Some("body_timeout"), Some("close"))),
        // Who has not said how much comes may wait for an answer as well as its endpoint for more.
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", (504, Some("response_timeout"), None)),
    ] {
        let mut client = proxy.connect().await;
        client.send(&format!("POST / HTTP/1.1\r\nHost: test\r\n{body}")).await;
        let answer = client.response("POST").await.unwrap();
        let error = answer.header("x-sluicegate-error");
        assert_eq!((answer.status(), error, answer.header("connection")), said, "{body}");
        proxy.settle().await;
    }
}

#[tokio::test]
async fn an_answer_until_the_end_of_the_connection_is_not_whole_when_its_upload_breaks_off() {
    let origin = Origin::new(move |mut wire, _| async move {
        wire.head().await.unwrap();
        wire.send("HTTP/1.1 200 OK\r\n\r\nthe beginning").await;
        wire.ended().await;
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 200);
    client.send("no chunk\r\n").await;
    let rest = client.rest().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&rest));
    proxy.settle().await;
}

#[tokio::test]
async fn small_pieces_go_on_together_and_whole() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let text: String = ('a'..='z').cycle().take(3000).collect();
    let chunks: String = text.chars().map(|letter| format!("1\r\n{letter}\r\n")).collect();
    for (framing, body) in
        [("Content-Length: 3000", text.clone()), ("Transfer-Encoding: chunked", format!("{chunks}0\r\n\r\n"))]
    {
        let mut client = proxy.connect().await;
        client.send(&format!("POST / HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n")).await;
        for piece in body.as_bytes().chunks(7) {
            client.stream.write_all(piece).await.unwrap();
        }
        let answer = client.response("POST").await.unwrap();
        assert!(answer.text().ends_with(&text), "{framing}");
    }
}

#[tokio::test]
async fn a_small_piece_does_not_wait_for_the_next() {
    let (said, mut heard) = unbounded_channel();
    let origin = Origin::new(move |mut wire, _| {
        let said = said.clone();
        async move {
            wire.head().await.unwrap();
            for _ in 0..2 {
                said.send(wire.exactly(1).await.unwrap()).unwrap();
            }
            wire.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    })
    .await;
    let proxy =
        Proxy::new(&[origin.address], ClusterSettings { response_timeout: Duration::from_secs(30), ..QUICK }).await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na").await;
    assert_eq!(heard.recv().await.unwrap(), b"a");
    client.send("b").await;
    assert_eq!(heard.recv().await.unwrap(), b"b");
    assert_eq!(client.response("POST").await.unwrap().status(), 204);
}

#[tokio::test]
async fn a_slow_upload_is_not_a_slow_answer() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\n").await;
    for _ in 0..8 {
        tokio::time::sleep(QUICK.response_timeout / 4).await;
        client.send("x").await;
    }
    assert_eq!(client.response("POST").await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_body_until_the_end_of_the_connection_becomes_chunks() {
    let origin = Origin::canned("HTTP/1.0 200 OK\r\n\r\nall of it", 1).await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let mut client = proxy.connect().await;
    for _ in 0..2 {
        let response = client.get("/").await;
        assert_eq!((response.text(), response.start.as_str()), ("all of it", "HTTP/1.1 200 OK"));
    }
    assert_eq!(origin.connections(), 2);
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n").await;
    let mut text = String::new();
    client.stream.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("\r\n\r\nall of it") && !text.contains("keep-alive"), "{text}");
}
