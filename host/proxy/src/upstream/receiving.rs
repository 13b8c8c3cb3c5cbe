//! An answer as it comes from an endpoint: its head, and its body.
//!
//! What two readers could take for different answers is refused, as with requests: an answer that ends in another
//! place for the client than for this proxy would be given to the wrong request.

use std::{error::Error, io, mem::MaybeUninit};

use bytes::{Buf, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
    response,
};
use http_body::{Frame, SizeHint};
use sluicegate_wire::framing::{Chunks, Piece, Rules, is_forbidden_trailer};

use crate::headers::{is, tokens};

/// Header lines of an answer, and lines of trailers. As hyper and Apache.
const MAX_HEADERS: usize = 100;

/// Bytes of a head: what clients may send, too.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// What endpoints get more leeway in than clients: nobody can make them attack their own proxy so easily.
fn rules() -> Rules {
    Rules { padded_chunk_sizes: true, any_trailer: true, ..Rules::default() }
}

/// What is wrong with an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadAnswer {
    #[error("{0}")]
    Syntax(#[from] httparse::Error),
    #[error("its head is larger than {MAX_HEAD} bytes")]
    TooLarge,
    #[error("it said too much before its answer (1xx)")]
    TooManyInformational,
    #[error("{0}")]
    Framing(&'static str),
}

/// How an answer's body ends.
#[derive(Debug)]
pub(super) enum Receiving {
    /// It has ended, or none has begun.
    None,
    /// After so many more bytes.
    Sized(u64),
    Chunked(Box<Chunks>),
    /// With the connection.
    UntilClose,
}

/// An answer's status and headers, as they came.
pub(super) type Head = response::Parts;

impl Receiving {
    /// What is known of how much is still to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Sized(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::UntilClose => SizeHint::default(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The next part of the body, if it is here.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> io::Result<Option<Frame<Bytes>>> {
        match self {
            Self::None => Ok(None),
            Self::Sized(left) => {
                let count = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= count as u64;
                if *left == 0 {
                    *self = Self::None;
                }
                Ok((count > 0).then(|| Frame::data(input.split_to(count).freeze())))
            }
            Self::UntilClose => Ok((!input.is_empty()).then(|| Frame::data(input.split().freeze()))),
            Self::Chunked(chunks) => {
                let (framing, piece) = chunks.next(input).map_err(invalid)?;
                match piece {
                    Piece::None => {
                        input.advance(framing);
                        Ok(None)
                    }
                    Piece::Data(count) => {
                        input.advance(framing);
                        Ok(Some(Frame::data(input.split_to(count).freeze())))
                    }
                    Piece::End(trailers) => {
                        *self = Self::None;
                        input.advance(framing - trailers);
                        let trailers = parse_trailers(&input.split_to(trailers).freeze())?;
                        Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)))
                    }
                }
            }
        }
    }
}

fn invalid(error: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Takes a head off the front of `input`, if it is whole. The first `seen` bytes have no end of a head in them.
pub(super) fn take_head(input: &mut BytesMut, seen: &mut usize) -> Result<Option<Head>, BadAnswer> {
    let Some(end) = end_of_head(input, seen) else {
        return if input.len() > MAX_HEAD { Err(BadAnswer::TooLarge) } else { Ok(None) };
    };
    *seen = 0;
    parse_head(&input.split_to(end).freeze()).map(Some)
}

/// Behind the first empty line.
fn end_of_head(input: &[u8], seen: &mut usize) -> Option<usize> {
    let mut from = *seen;
    while let Some(lf) = input[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at) {
        match &input[lf + 1..] {
            [b'\n', ..] => return Some(lf + 2),
            [b'\r', b'\n', ..] => return Some(lf + 3),
            [] | [b'\r'] => break,
            _ => from = lf + 1,
        }
    }
    // What comes next may complete the line's end that is there.
    *seen = input.len().saturating_sub(2).max(from);
    None
}

fn parse_head(bytes: &Bytes) -> Result<Head, BadAnswer> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let status =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, &mut lines)?;
    let status = match (status, parsed.code.map(StatusCode::from_u16)) {
        (httparse::Status::Complete(_), Some(Ok(status))) => status,
        _ => return Err(BadAnswer::Framing("its first line is not that of an answer")),
    };
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    parts.headers = fields(bytes, parsed.headers)?;
    Ok(parts)
}

/// Fields whose values are parts of `bytes`, where they were found.
fn fields(bytes: &Bytes, lines: &[httparse::Header<'_>]) -> Result<HeaderMap, BadAnswer> {
    let mut headers = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value));
        match (name, value) {
            (Ok(name), Ok(value)) => drop(headers.append(name, value)),
            _ => return Err(BadAnswer::Framing("a header with a name or a value that none may have")),
        }
    }
    Ok(headers)
}

fn parse_trailers(bytes: &Bytes) -> io::Result<HeaderMap> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let httparse::Status::Complete((_, lines)) = httparse::parse_headers(bytes, &mut lines).map_err(invalid)? else {
        return Err(invalid("trailers that are not whole"));
    };
    let mut trailers = fields(bytes, lines).map_err(invalid)?;
    let forbidden: Vec<HeaderName> =
        trailers.keys().filter(|name| is_forbidden_trailer(name.as_ref())).cloned().collect();
    forbidden.iter().for_each(|name| drop(trailers.remove(name)));
    Ok(trailers)
}

/// Where the body of an answer ends (RFC 9112, section 6.3), and whether the connection is good for more after it.
pub(super) fn follows(head: &mut Head, method: &Method) -> Result<(Receiving, bool), BadAnswer> {
    let is_http10 = head.version == Version::HTTP_10;
    let is_chunked = is_chunked(head, is_http10)?;
    let length = length(&mut head.headers)?;
    if is_chunked && length.is_some() {
        return Err(BadAnswer::Framing("both a length and a transfer coding"));
    }
    let has_none = *method == Method::HEAD || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let receiving = match (is_chunked, length) {
        _ if has_none => Receiving::None,
        (true, _) => Receiving::Chunked(Box::new(Chunks::new(rules()))),
        (false, Some(0)) => Receiving::None,
        (false, Some(length)) => Receiving::Sized(length),
        (false, None) => Receiving::UntilClose,
    };
    let says = |what| head.headers.get_all(CONNECTION).iter().flat_map(tokens).any(|token| is(token, what));
    let keeps = if is_http10 { says("keep-alive") } else { !says("close") };
    let keeps = keeps && !matches!(receiving, Receiving::UntilClose);
    Ok((receiving, keeps))
}

fn is_chunked(head: &Head, is_http10: bool) -> Result<bool, BadAnswer> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(_), _) if is_http10 => Err(BadAnswer::Framing("a transfer coding in HTTP/1.0")),
        (Some(only), None) if only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(BadAnswer::Framing("a transfer coding other than chunked")),
    }
}

/// The announced length. Said twice, it is said once from here on.
fn length(headers: &mut HeaderMap) -> Result<Option<u64>, BadAnswer> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next().cloned() else { return Ok(None) };
    let mut others = lengths.peekable();
    let is_repeated = others.peek().is_some();
    if others.any(|other| *other != first) {
        return Err(BadAnswer::Framing("two different lengths"));
    }
    let digits = first.as_bytes();
    let number = str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
    let number = number.and_then(|number| number.parse::<u64>().ok()).filter(|number| *number <= i64::MAX as u64);
    let number = number.ok_or(BadAnswer::Framing("a length that is not a number"))?;
    if is_repeated {
        headers.insert(CONTENT_LENGTH, first);
    }
    Ok(Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<Head>, BadAnswer> {
        take_head(&mut BytesMut::from(text), &mut 0)
    }

    fn end(text: &str) -> (Receiving, bool) {
        follows(&mut head(text).unwrap().unwrap(), &Method::GET).unwrap()
    }

    #[test]
    fn a_head_is_found_however_it_comes() {
        for text in ["HTTP/1.1 200 OK\r\na: 1\r\nb:2\r\n\r\nrest", "HTTP/1.1 200\na: 1\nb: 2\n\nrest"] {
            let whole = text.len() - "rest".len();
            let (mut input, mut seen) = (BytesMut::new(), 0);
            for byte in &text.as_bytes()[..whole - 1] {
                input.extend_from_slice(&[*byte]);
                assert!(take_head(&mut input, &mut seen).unwrap().is_none(), "{input:?}");
            }
            input.extend_from_slice(&text.as_bytes()[whole - 1..]);
            let head = take_head(&mut input, &mut seen).unwrap().unwrap();
            assert_eq!(
                (head.status.as_u16(), &head.headers["a"], &head.headers["b"]),
                (200, &"1".parse().unwrap(), &"2".parse().unwrap())
            );
            assert_eq!((&input[..], seen), (&b"rest"[..], 0));
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for text in ["\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 99 ?\r\n\r\n", "HTTP/1.1 200 OK\r\na : 1\r\n\r\n"] {
            assert!(head(text).is_err(), "{text:?}");
        }
        assert!(matches!(head(&format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(MAX_HEAD))), Err(BadAnswer::TooLarge)));
        assert!(head(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: 1\r\n".repeat(MAX_HEADERS + 1))).is_err());
    }

    #[test]
    fn a_body_ends_where_the_head_says() {
        assert!(matches!(end("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"), (Receiving::Sized(5), true)));
        assert!(matches!(end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), (Receiving::None, true)));
        assert!(matches!(end("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"), (Receiving::Chunked(_), true)));
        assert!(matches!(end("HTTP/1.1 200 OK\r\n\r\n"), (Receiving::UntilClose, false)));
        assert!(matches!(end("HTTP/1.1 204 OK\r\n\r\n"), (Receiving::None, true)));
        assert!(matches!(end("HTTP/1.1 304 OK\r\ncontent-length: 5\r\n\r\n"), (Receiving::None, true)));
        assert!(matches!(end("HTTP/1.1 204 OK\r\nconnection: x, Close\r\n\r\n"), (Receiving::None, false)));
        assert!(matches!(end("HTTP/1.0 204 OK\r\n\r\n"), (Receiving::None, false)));
        assert!(matches!(end("HTTP/1.0 204 OK\r\nconnection: keep-alive\r\n\r\n"), (Receiving::None, true)));
    }

    #[test]
    fn a_chunked_body_is_taken_apart_and_forbidden_trailers_go() {
        let text = "5 \r\nhello\r\n1;x=y\r\n!\r\n0\r\ncontent-length: 9\r\nx-sum: 1\r\n\r\nrest";
        let mut receiving = Receiving::Chunked(Box::new(Chunks::new(rules())));
        let (mut input, mut data, mut trailers) = (BytesMut::new(), Vec::new(), HeaderMap::new());
        for byte in text.bytes() {
            input.extend_from_slice(&[byte]);
            while let Some(frame) = receiving.next(&mut input).unwrap() {
                match frame.into_data() {
                    Ok(piece) => data.extend_from_slice(&piece),
                    Err(frame) => trailers = frame.into_trailers().unwrap(),
                }
            }
        }
        assert_eq!((&data[..], &input[..]), (&b"hello!"[..], &b"rest"[..]));
        assert_eq!(trailers.into_iter().map(|(name, _)| name.unwrap().to_string()).collect::<Vec<_>>(), ["x-sum"]);
    }
}
