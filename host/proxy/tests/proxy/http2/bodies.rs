//! Bodies of requests to endpoints that speak HTTP/2.

use http::Request;
use tokio::sync::mpsc;

use super::{answer, http2_settings, server, whole};
use crate::{
    bodies::does_not_send,
    support::{Proxy, eventually},
};

#[tokio::test]
async fn an_http2_endpoint_is_waited_for_before_a_body_is_asked_for() {
    let origin = server(|request, mut respond| async move {
        assert_eq!(request.headers()["expect"], "100-continue");
        let (head, mut body) = request.into_parts();
        match head.uri.path() {
            "/refuse" => drop(respond.send_response(answer(401), true)),
            "/ask" => {
                respond.send_informational(answer(100)).unwrap();
                assert_eq!(whole(&mut body).await.unwrap(), b"ok");
                respond.send_response(answer(204), true).unwrap();
            }
            // Knows nothing of it.
            _ => {
                assert_eq!(whole(&mut body).await.unwrap(), b"ok");
                respond.send_response(answer(205), true).unwrap();
            }
        }
    })
    .await;
    let proxy = Proxy::new(&[origin.address], http2_settings()).await;
    for (path, first, last) in [("/refuse", 401, 401), ("/ask", 100, 204), ("/", 100, 205)] {
        let mut client = proxy.connect().await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
        client.send(&head).await;
        let answer = client.head().await.unwrap();
        assert_eq!(answer.status(), first, "{path}");
        if first == 100 {
            client.send("ok").await;
            assert_eq!(client.response("POST").await.unwrap().status(), last, "{path}");
        }
    }
}

#[tokio::test]
async fn an_http2_endpoint_hears_of_a_client_that_is_gone() {
    let (said, mut heard) = mpsc::unbounded_channel();
    let origin = server(move |request, mut respond| {
        let said = said.clone();
        async move {
            let (head, mut body) = request.into_parts();
            let reset = match head.uri.path() {
                "/upload" => body.data().await.unwrap().is_ok() && whole(&mut body).await.is_none(),
                _ => std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap() == h2::Reason::CANCEL,
            };
            said.send(reset).unwrap();
        }
    })
    .await;
    let proxy = Proxy::new(&[origin.address], http2_settings()).await;
    for (begun, rest) in [
        ("GET / HTTP/1.1\r\nHost: test\r\n\r\n", ""),
        ("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhello", ""),
        ("POST /upload HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "no chunk\r\n"),
    ] {
        let mut client = proxy.connect().await;
        client.send(begun).await;
        let began = || proxy.read(0, sluicegate_core::Signal::InFlight) == 1;
        eventually("the request is under way", began).await;
        client.send(rest).await;
        drop(client);
        assert!(heard.recv().await.unwrap(), "{begun}");
        eventually("it is over", || !began()).await;
    }
    // All on one connection, which is none the worse for it.
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_large_upload_goes_at_an_http2_endpoint_s_pace() {
    const SIZE: usize = 2_000_000;
    let origin = server(|request, mut respond| async move {
        let (_, mut body) = request.into_parts();
        let body = whole(&mut body).await.unwrap();
        assert!(body.len() == SIZE && body.iter().all(|byte| *byte == b'x'));
        let mut stream = respond.send_response(answer(200), false).unwrap();
        stream.send_data(body.len().to_string().into(), true).unwrap();
    })
    .await;
    let proxy = Proxy::new(&[origin.address], http2_settings()).await;
    let mut client = proxy.connect().await;
    client.send(&format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {SIZE}\r\n\r\n")).await;
    client.send(&"x".repeat(SIZE)).await;
    assert_eq!(client.response("POST").await.unwrap().text(), SIZE.to_string());
}

#[tokio::test]
async fn a_client_may_send_on_while_it_reads_nothing() {
    const SIZE: usize = 1_000_000;
    // Answers at once with more than a client's window, and takes what comes meanwhile.
    let (said, mut heard) = mpsc::unbounded_channel();
    let origin = server(move |request, mut respond| {
        let said = said.clone();
        async move {
            let (_, mut body) = request.into_parts();
            let mut stream = respond.send_response(answer(200), false).unwrap();
            stream.reserve_capacity(SIZE);
            stream.send_data(vec![b'y'; SIZE].into(), true).unwrap();
            said.send(whole(&mut body).await.map(|body| body.len())).unwrap();
        }
    })
    .await;
    let proxy = Proxy::new(&[origin.address], http2_settings()).await;
    let stream = tokio::net::TcpStream::connect(proxy.http2).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://test/").body(()).unwrap();
    let (answer, mut upload) = client.send_request(request, false).unwrap();
    let mut body = answer.await.unwrap().into_body();
    upload.reserve_capacity(SIZE);
    upload.send_data(vec![b'x'; SIZE].into(), true).unwrap();
    assert_eq!(heard.recv().await.unwrap(), Some(SIZE));
    assert_eq!(whole(&mut body).await.unwrap().len(), SIZE);
}

#[tokio::test]
async fn what_an_http2_endpoint_does_not_take_of_a_body_is_taken_back() {
    // Answers without a look at the body, and does not say that it wants none of it.
    let (said, mut heard) = mpsc::unbounded_channel();
    let origin = server(move |request, mut respond| {
        let said = said.clone();
        async move {
            let mut stream = respond.send_response(answer(200), false).unwrap();
            stream.send_data("no".into(), true).unwrap();
            let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
            said.send(reason.ok()).unwrap();
            drop(request);
        }
    })
    .await;
    let proxy = Proxy::new(&[origin.address], http2_settings()).await;
    // A little more than the endpoint's window of 64 KiB, and much more.
    for size in [65_540, 70_000, 1_000_000] {
        let mut client = proxy.connect().await;
        client.send(&format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n")).await;
        client.send(&"x".repeat(size)).await;
        assert_eq!(client.response("POST").await.unwrap().text(), "no", "{size}");
        assert_eq!(heard.recv().await.unwrap(), Some(h2::Reason::CANCEL), "{size}");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_send_its_body_is_not_a_slow_http2_endpoint() {
    let origin = server(|request, mut respond| async move {
        let (_, mut body) = request.into_parts();
        if whole(&mut body).await.is_some() {
            respond.send_response(answer(204), true).unwrap();
        }
    })
    .await;
    let proxy = Proxy::new(&[origin.address], http2_settings()).await;
    // Twice, to see that the connection is none the worse for the first; the second client's endpoint may be dead for all
    // that the proxy knows.
    does_not_send(&proxy).await;
    assert_eq!(origin.connections(), 1);
    does_not_send(&proxy).await;
    assert_eq!(origin.connections(), 2);
}
