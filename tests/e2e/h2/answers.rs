//! What answers say besides their status: something before them, and how a gRPC call went.

use std::{
    future::poll_fn,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread,
};

use bytes::Bytes;
use h2::{client, server};
use http::{HeaderMap, HeaderValue, Request, Response};
use sluicegate_tests::{Proxy, eventually};
use tokio::{net::TcpStream, runtime::Builder};

use super::LISTENERS;

fn run<T>(test: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

fn proxy(cluster: &str) -> Proxy {
    let listener = LISTENERS.split("[[listener]]").nth(1).unwrap();
    let config = format!("[[listener]]{listener}[[route]]\ncluster = \"api\"\n[cluster.api]\n{cluster}\n");
    Proxy::start(&config, |_| {})
}

#[test]
fn what_an_endpoint_says_before_its_answer_is_heard_over_http2() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let hints = ["a", "b"].map(|name| format!("HTTP/1.1 103 Early Hints\r\nlink: </{name}.css>\r\n\r\n"));
        stream.write_all(hints.concat().as_bytes()).unwrap();
        // The client says that it has heard them.
        let (mut other, _) = listener.accept().unwrap();
        let _ = other.read(&mut [0; 4096]).unwrap();
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(answer).unwrap();
        other.write_all(answer).unwrap();
        let _ = stream.read(&mut [0]);
    });
    let proxy = proxy(&format!("endpoints = [\"{address}\"]"));
    run(async {
        let stream = TcpStream::connect(proxy.addresses[1]).await.unwrap();
        let (client, connection) = client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let ask = |path| Request::get(format!("http://test{path}")).body(()).unwrap();
        let mut client = client.ready().await.unwrap();
        let (mut answer, _) = client.send_request(ask("/hints"), true).unwrap();
        for hint in ["</a.css>", "</b.css>"] {
            let said = poll_fn(|cx| answer.poll_informational(cx)).await.unwrap().unwrap();
            assert_eq!((said.status().as_u16(), said.headers()["link"].to_str().unwrap()), (103, hint));
        }
        let (other, _) = client.send_request(ask("/heard"), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 204);
        assert_eq!(other.await.unwrap().status(), 204);
    });
}

/// An endpoint whose gRPC calls end with the status that they ask for: in trailers, or at `/only` in the head.
fn grpc_endpoint() -> SocketAddr {
    let (tell, address) = mpsc::channel();
    thread::spawn(move || {
        run(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut connection = server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let status = HeaderMap::from_iter([(
                            "grpc-status".parse().unwrap(),
                            HeaderValue::from(&request.headers()["x-status"]),
                        )]);
                        let mut head = Response::new(());
                        if request.uri().path() == "/only" {
                            *head.headers_mut() = status;
                            respond.send_response(head, true).unwrap();
                        } else {
                            let mut stream = respond.send_response(head, false).unwrap();
                            stream.send_data(Bytes::from_static(b"12345"), false).unwrap();
                            stream.send_trailers(status).unwrap();
                        }
                    }
                });
            }
        });
    });
    address.recv().unwrap()
}

#[test]
fn a_grpc_call_that_failed_is_a_failure_wherever_it_says_so() {
    let proxy = proxy(&format!(
        "protocol = \"http2\"\nendpoints = [\"{}\", \"{}\"]\n\
         [cluster.api.outlier]\nconsecutive_failures = 3\nbase_ejection_ms = 60000\n",
        grpc_endpoint(),
        grpc_endpoint()
    ));
    let call = |path: &'static str, status: &'static str| {
        run(async {
            let stream = TcpStream::connect(proxy.addresses[1]).await.unwrap();
            let (client, connection) = client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let request = Request::post(format!("http://test{path}"))
                .header("content-type", "application/grpc")
                .header("x-status", status);
            let mut client = client.ready().await.unwrap();
            let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
            let mut body = answer.await.unwrap().into_body();
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
            }
        });
    };
    let counted = |class: &str| {
        let line = format!("sluicegate_requests_total{{cluster=\"api\",code_class=\"{class}\"}} ");
        let (_, metrics) = proxy.admin("/metrics");
        metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse::<u64>().ok()).unwrap_or(0)
    };
    // A client's own mistakes and successes do not count against it.
    for status in ["0", "3", "5", "12"].repeat(3) {
        call("/call", status);
    }
    eventually("successes", || (counted("2xx") == 12 && counted("5xx") == 0).then_some(()));
    for status in ["14", "13", "2"] {
        ["/call", "/only"].into_iter().for_each(|path| call(path, status));
    }
    eventually("failures", || (counted("5xx") == 6).then_some(()));
    eventually("the ejection", || {
        let status = proxy.status();
        let endpoints = status["clusters"]["api"]["endpoints"].as_array().cloned().unwrap_or_default();
        endpoints.iter().any(|endpoint| endpoint["reason"] == "consecutive_failures").then_some(())
    });
}
