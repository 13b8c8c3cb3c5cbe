//! An HTTP/1.1 response as it comes in: just as much of it as tells where it ends.

/// What of a response was read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    head: Vec<u8>,
    status: u16,
    keeps: bool,
    body: Body,
}

#[derive(Debug, Default, PartialEq)]
enum Body {
    #[default]
    NotYet,
    Left(u64),
    /// In chunks: what of a chunk's own bytes is left, and the line between chunks as far as it came.
    Chunk(u64),
    Line(Vec<u8>),
    Trailers(Vec<u8>),
    UntilClose,
}

/// Where a response stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    /// All of it came.
    Done {
        status: u16,
        /// Whether the connection can take another request.
        keeps: bool,
    },
}

/// More than any head that a test server sends.
const LARGEST_HEAD: usize = 64 << 10;

impl Reader {
    /// Takes what came. Errors say what of it is no HTTP.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<Progress, &'static str> {
        if self.body == Body::NotYet {
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(length) = self.parse_head()? else { return Ok(Progress::More) };
            bytes = &bytes[length - before..];
        }
        self.take_body(bytes)
    }

    /// The connection ended, which is the end of some bodies.
    pub(super) fn end(&self) -> Option<Progress> {
        (self.body == Body::UntilClose).then_some(Progress::Done { status: self.status, keeps: false })
    }

    fn parse_head(&mut self) -> Result<Option<usize>, &'static str> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(&self.head) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.head.len() > LARGEST_HEAD => return Err("protocol"),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("protocol"),
        };
        let find = |name: &str| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        let is = |name: &str, value: &[u8]| find(name).is_some_and(|header| header.value.eq_ignore_ascii_case(value));
        self.status = response.code.unwrap_or(0);
        self.keeps =
            if response.version == Some(1) { !is("connection", b"close") } else { is("connection", b"keep-alive") };
        self.body = match find("content-length") {
            _ if matches!(self.status, 100..200 | 204 | 304) => Body::Left(0),
            _ if is("transfer-encoding", b"chunked") => Body::Line(Vec::new()),
            Some(header) => {
                let text = std::str::from_utf8(header.value).map_err(|_| "protocol")?;
                Body::Left(text.trim().parse().map_err(|_| "protocol")?)
            }
            None => Body::UntilClose,
        };
        if (100..200).contains(&self.status) {
            // Something before the answer; what follows it is the answer.
            let rest = self.head.split_off(length);
            let came = length;
            *self = Self { head: rest, ..Self::default() };
            return Ok(self.parse_head()?.map(|length| length + came));
        }
        Ok(Some(length))
    }

    fn take_body(&mut self, mut bytes: &[u8]) -> Result<Progress, &'static str> {
        let done = Progress::Done { status: self.status, keeps: self.keeps };
        loop {
            match &mut self.body {
                Body::Left(left) => {
                    let count = (*left).min(bytes.len() as u64);
                    (*left, bytes) = (*left - count, &bytes[count as usize..]);
                    return match (*left, bytes.is_empty()) {
                        (0, true) => Ok(done),
                        // An answer that nobody asked for.
                        (0, false) => Err("protocol"),
                        _ => Ok(Progress::More),
                    };
                }
                Body::UntilClose => return Ok(Progress::More),
                Body::NotYet => return Err("protocol"),
                _ if bytes.is_empty() => return Ok(Progress::More),
                Body::Chunk(left) => {
                    let count = (*left).min(bytes.len() as u64);
                    (*left, bytes) = (*left - count, &bytes[count as usize..]);
                    if *left == 0 {
                        self.body = Body::Line(Vec::new());
                    }
                }
                Body::Line(line) => {
                    line.push(bytes[0]);
                    bytes = &bytes[1..];
                    if let Some(size) = chunk_size(line)? {
                        // With the line end after it.
                        self.body = if size == 0 { Body::Trailers(Vec::new()) } else { Body::Chunk(size + 2) };
                    }
                }
                Body::Trailers(line) => {
                    line.push(bytes[0]);
                    bytes = &bytes[1..];
                    match line.as_slice() {
                        b"\r\n" => return if bytes.is_empty() { Ok(done) } else { Err("protocol") },
                        [.., b'\n'] => line.clear(),
                        _ => {}
                    }
                }
            }
        }
    }
}

/// The size that a chunk's line says, once the line is there.
fn chunk_size(line: &[u8]) -> Result<Option<u64>, &'static str> {
    if line.last() != Some(&b'\n') {
        return if line.len() > 256 { Err("protocol") } else { Ok(None) };
    }
    let digits = line.split(|byte| matches!(byte, b';' | b'\r' | b'\n')).next().unwrap_or_default();
    let text = std::str::from_utf8(digits).map_err(|_| "protocol")?;
    u64::from_str_radix(text.trim(), 16).map(Some).map_err(|_| "protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However it is cut into pieces.
    fn check(text: &str, expected: Result<Progress, &'static str>) {
        for size in [1, 2, 7, text.len()] {
            let mut reader = Reader::default();
            let mut last = Ok(Progress::More);
            for piece in text.as_bytes().chunks(size) {
                assert!(matches!(last, Ok(Progress::More)), "done before the end: {last:?}");
                last = reader.take(piece);
                if last.is_err() {
                    break;
                }
            }
            assert_eq!(last, expected, "in pieces of {size}: {text:?}");
        }
    }

    const fn done(status: u16, keeps: bool) -> Result<Progress, &'static str> {
        Ok(Progress::Done { status, keeps })
    }

    #[test]
    fn ends_are_found() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", done(200, true));
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", Ok(Progress::More));
        check("HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", done(503, false));
        check("HTTP/1.1 204 None\r\n\r\n", done(204, true));
        check("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", done(200, false));
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n0\r\n\r\n", done(200, true));
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\nt: u\r\n\r\n", done(200, true));
        check("HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", done(200, true));
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Err("protocol"));
        check("nonsense\r\n\r\n", Err("protocol"));
    }

    #[test]
    fn a_body_may_end_with_its_connection() {
        let mut reader = Reader::default();
        assert_eq!(reader.take(b"HTTP/1.1 200 OK\r\n\r\nabc"), Ok(Progress::More));
        assert_eq!(reader.end(), Some(Progress::Done { status: 200, keeps: false }));
        assert_eq!(Reader::default().end(), None);
    }
}
