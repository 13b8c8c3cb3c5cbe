//! Clients that speak HTTP/2, and take up more than they should.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use sluicegate_proxy::ClusterSettings;

use super::{answer, http2_client, http2_settings, server};
use crate::support::{GET, Origin, Proxy, QUICK, ask};

#[tokio::test]
async fn an_http2_client_s_stream_that_stops_moving_is_cut_off_alone() {
    let origin = Origin::new(|mut wire, _| async move {
        let request = wire.request().await.unwrap();
        let length = if request.start.contains("stalls") { 9 } else { 5 };
        wire.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nbegun")).await;
        wire.ended().await;
    })
    .await;
    let settings = ClusterSettings { stream_idle_timeout: Duration::from_millis(50), ..QUICK };
    let proxy = Proxy::new(&[origin.address], settings).await;
    let mut client = http2_client(&proxy).await;
    for (path, is_whole) in [("http://test/stalls", false), ("http://test/", true)] {
        let request = http::Request::get(path).body(String::new()).unwrap();
        let mut body = client.send_request(request).await.unwrap().into_body();
        let mut next =
            async || std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx)).await;
        assert!(next().await.unwrap().is_ok());
        assert_eq!(next().await.is_none_or(|frame| frame.is_ok()), is_whole, "{path}");
    }
    assert_eq!(proxy.count("sluicegate_errors_total", &[("error", "stream_idle")]), 1);
}

#[tokio::test]
async fn who_opens_too_many_streams_at_once_is_refused_those_only() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let stream = tokio::net::TcpStream::connect(proxy.http2).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_max_send_streams(220);
    let (client, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
    let mut answers = Vec::new();
    // All of them before the connection has read what the proxy says.
    for _ in 0..220 {
        let request = Request::get("http://test/").body(()).unwrap();
        let mut client = client.clone().ready().await.unwrap();
        answers.push(client.send_request(request, true).unwrap().0);
    }
    tokio::spawn(connection);
    let (mut good, mut refused) = (0, 0);
    for answer in answers {
        match answer.await {
            Ok(answer) => good += usize::from(answer.status() == 200),
            Err(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => refused += 1,
            Err(error) => panic!("after {good} and {refused} refused: {error}"),
        }
    }
    assert!(good >= 128 && good + refused == 220, "{good} {refused}");
}

#[tokio::test]
async fn small_messages_that_nobody_reads_end_nobody_else_s_requests() {
    // A stream of small messages to a client that does not read, beside others' requests on the same connection.
    let origin = server(|request, mut respond| async move {
        if request.uri().path() == "/" {
            respond.send_response(answer(204), true).unwrap();
            return;
        }
        let mut stream = respond.send_response(answer(200), false).unwrap();
        for _ in 0..20_000 {
            stream.reserve_capacity(12);
            match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(_)) => stream.send_data("a message...".into(), false).unwrap(),
                _ => return,
            }
        }
    })
    .await;
    let proxy = Proxy::new(&[origin.address], http2_settings()).await;
    let stream = tokio::net::TcpStream::connect(proxy.http2).await.unwrap();
    let (mut client, connection) =
        h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://test/messages").body(()).unwrap();
    let answer = client.send_request(request, true).unwrap().0.await.unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&proxy, GET).await.status(), 204);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(origin.connections(), 1);
    drop(answer);
}
