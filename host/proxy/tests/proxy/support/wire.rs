//! A connection of HTTP/1.1, on which every byte is seen.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::PATIENCE;

/// A message as it was on the wire, with a chunked body put together.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

/// A connection that is read a message at a time.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.expect("connect"))
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("send");
    }

    /// Sends a request without a body and reads the response.
    pub(crate) async fn get(&mut self, path: &str) -> Message {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        self.response("GET").await.expect("a response")
    }

    async fn fill(&mut self) -> Option<()> {
        let count = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("in time");
        match count {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).expect("text"));
            }
            self.fill().await?;
        }
    }

    async fn headers(&mut self) -> Option<Vec<(String, String)>> {
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(headers);
            }
            let (name, value) = line.split_once(':').expect("a header");
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill().await?;
        }
        Some(self.buffer.drain(..count).collect())
    }

    /// The start line and the headers. None when the connection ends first.
    pub(crate) async fn head(&mut self) -> Option<Message> {
        let start = self.line().await?;
        Some(Message { start, headers: self.headers().await?, ..Message::default() })
    }

    async fn chunked(&mut self, message: &mut Message) -> Option<()> {
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(&line, 16).expect("a chunk's size");
            if size == 0 {
                message.trailers = self.headers().await?;
                return Some(());
            }
            message.body.extend(self.exactly(size).await?);
            self.exactly(2).await?;
        }
    }

    async fn body(&mut self, message: &mut Message) -> Option<()> {
        if message.header("transfer-encoding").is_some() {
            assert_eq!(message.header("content-length"), None, "never both");
            return self.chunked(message).await;
        }
        let length = message.header("content-length").map(|length| length.parse().expect("a length"));
        if let Some(length) = length {
            message.body = self.exactly(length).await?;
        }
        Some(())
    }

    /// Everything up to the connection's end.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await.is_some() {}
        std::mem::take(&mut self.buffer)
    }

    /// A whole request. None when the connection ends first.
    pub(crate) async fn request(&mut self) -> Option<Message> {
        let mut message = self.head().await?;
        self.body(&mut message).await?;
        Some(message)
    }

    /// A whole response to `method`, whose end is not the connection's. None when that ends first.
    pub(crate) async fn response(&mut self, method: &str) -> Option<Message> {
        let mut message = self.head().await?;
        if message.status() == 100 {
            message = self.head().await?;
        }
        if method != "HEAD" && !matches!(message.status(), 204 | 304) {
            self.body(&mut message).await?;
        }
        Some(message)
    }

    /// Waits for the end of the connection. True: it ended as it should; false: with a reset.
    pub(crate) async fn ended(&mut self) -> bool {
        loop {
            let count = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("in time");
            match count {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}
