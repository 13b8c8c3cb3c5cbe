//! An answer as it comes from an endpoint: its head, and its body.
//!
//! What two readers could take for different answers is refused, as with requests: an answer that ends in another
//! place for the client than for this proxy would be given to the wrong request.

use std::{
    error::Error,
    io,
    mem::{self, MaybeUninit},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE},
};
use http_body::{Frame, SizeHint};
use memchr::memchr;
use sluicegate_wire::framing::{Chunks, Piece, Rules, is_forbidden_trailer};

use super::{known::Known, names::common_name};
use crate::headers::{is, is_of_hop, remove_named, tokens};

/// Header lines of an answer, and lines of trailers. As hyper and Apache.
const MAX_HEADERS: usize = 100;

/// Bytes of a head: what clients may send, too.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

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

/// An answer's status and headers. What its headers say of this hop alone is taken in as they come, and is not among
/// them, but for a switch of protocols, which both hops take part in.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    is_http10: bool,
    pub(super) framing: Framing,
}

/// What an answer's headers say of where it ends and of its connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Framing {
    is_chunked: bool,
    pub(super) length: Option<u64>,
    says_close: bool,
    says_keep_alive: bool,
    /// Other headers that are for this hop alone.
    pub(super) named: Vec<HeaderName>,
}

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
pub(super) fn take_head(input: &mut BytesMut, seen: &mut usize, known: &mut Known) -> Result<Option<Head>, BadAnswer> {
    if *seen == 0
        && let Some((length, head)) = known.recall(input)
    {
        input.advance(length);
        return Ok(Some(head));
    }
    let Some(end) = end_of_head(input, seen) else {
        return if input.len() > MAX_HEAD { Err(BadAnswer::TooLarge) } else { Ok(None) };
    };
    *seen = 0;
    let text = input.split_to(end).freeze();
    let head = parse_head(&text)?;
    known.learn(&text, &head);
    Ok(Some(head))
}

/// Behind the first empty line.
fn end_of_head(input: &[u8], seen: &mut usize) -> Option<usize> {
    let mut from = *seen;
    while let Some(lf) = memchr(b'\n', &input[from..]).map(|at| from + at) {
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

#[inline(never)] // Most heads are recognised (`known`).
pub(super) fn parse_head(bytes: &Bytes) -> Result<Head, BadAnswer> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let status =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, &mut lines)?;
    let status = match (status, parsed.code.map(StatusCode::from_u16)) {
        (httparse::Status::Complete(_), Some(Ok(status))) => status,
        _ => return Err(BadAnswer::Framing("its first line is not that of an answer")),
    };
    let (is_switch, is_http10) = (status == StatusCode::SWITCHING_PROTOCOLS, parsed.version == Some(0));
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let mut framing = Framing::default();
    // Both are for the client to know: what was switched to, and what the endpoint would have it switch to.
    let tells_upgrade = status == StatusCode::UPGRADE_REQUIRED;
    for line in &*parsed.headers {
        let (name, value) = field(bytes, line)?;
        let is_told = is_switch || tells_upgrade && name == UPGRADE;
        if framing.passes(&name, &value, is_http10)? || is_told {
            headers.append(name, value);
        }
    }
    if !is_switch {
        framing.named.retain(|name| !(tells_upgrade && name == UPGRADE));
        remove_named(&mut headers, &framing.named);
        if tells_upgrade && headers.contains_key(UPGRADE) {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
    }
    Ok(Head { status, headers, is_http10, framing })
}

impl Framing {
    /// Takes in a header. Whether it is for the client, too.
    fn passes(&mut self, name: &HeaderName, value: &HeaderValue, is_http10: bool) -> Result<bool, BadAnswer> {
        match *name {
            CONTENT_LENGTH => return self.takes_length(value),
            CONNECTION => self.takes_options(value),
            TRANSFER_ENCODING if is_http10 => return Err(BadAnswer::Framing("a transfer coding in HTTP/1.0")),
            TRANSFER_ENCODING => {
                let is_first = !mem::replace(&mut self.is_chunked, true);
                if !is_first || !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(BadAnswer::Framing("a transfer coding other than chunked"));
                }
            }
            _ => return Ok(!is_of_hop(name)),
        }
        Ok(false)
    }

    pub(super) fn length(value: &HeaderValue) -> Result<u64, BadAnswer> {
        let digits = value.as_bytes();
        let text = str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
        let number = text.and_then(|text| text.parse::<u64>().ok()).filter(|number| *number <= i64::MAX as u64);
        number.ok_or(BadAnswer::Framing("a length that is not a number"))
    }

    /// The announced length. Said twice, it is said once from here on.
    fn takes_length(&mut self, value: &HeaderValue) -> Result<bool, BadAnswer> {
        let number = Self::length(value)?;
        match self.length.replace(number) {
            None => Ok(true),
            Some(before) if before == number => Ok(false),
            Some(_) => Err(BadAnswer::Framing("two different lengths")),
        }
    }

    fn takes_options(&mut self, value: &HeaderValue) {
        for option in tokens(value) {
            if is(option, "close") {
                self.says_close = true;
            } else if is(option, "keep-alive") {
                self.says_keep_alive = true;
            } else if let Ok(name) = HeaderName::from_bytes(option.as_bytes()) {
                self.named.push(name);
            }
        }
    }
}

/// A header whose value is a part of `bytes`, where it was found.
#[allow(unsafe_code)] // Checking each byte of every answer's headers a second time costs more than finding them.
fn field(bytes: &Bytes, line: &httparse::Header<'_>) -> Result<(HeaderName, HeaderValue), BadAnswer> {
    let name = match common_name(line.name) {
        Some(name) => name,
        None => HeaderName::from_bytes(line.name.as_bytes())
            .map_err(|_| BadAnswer::Framing("a header with a name that none may have"))?,
    };
    // SAFETY: a value of which `httparse` says that it is one has only tabs and the bytes from 32 on, without 127: those
    // that `HeaderValue` may have.
    let value = unsafe { HeaderValue::from_maybe_shared_unchecked(bytes.slice_ref(line.value)) };
    Ok((name, value))
}

fn parse_trailers(bytes: &Bytes) -> io::Result<HeaderMap> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let httparse::Status::Complete((_, lines)) = httparse::parse_headers(bytes, &mut lines).map_err(invalid)? else {
        return Err(invalid("trailers that are not whole"));
    };
    let mut trailers = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let (name, value) = field(bytes, line).map_err(invalid)?;
        if !is_forbidden_trailer(name.as_ref()) {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}

/// Where the body of an answer ends (RFC 9112, section 6.3), and whether the connection is good for more after it.
pub(super) fn follows(head: &Head, method: &Method) -> Result<(Receiving, bool), BadAnswer> {
    let Framing { is_chunked, length, says_close, says_keep_alive, .. } = head.framing;
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
    let keeps = if head.is_http10 { says_keep_alive } else { !says_close };
    let keeps = keeps && !matches!(receiving, Receiving::UntilClose);
    Ok((receiving, keeps))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<Head>, BadAnswer> {
        take_head(&mut BytesMut::from(text), &mut 0, &mut Known::default())
    }

    fn end(text: &str) -> (Receiving, bool) {
        follows(&head(text).unwrap().unwrap(), &Method::GET).unwrap()
    }

    #[test]
    fn what_a_client_has_to_switch_to_is_passed_on() {
        let text = "HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.2\r\nConnection: Upgrade, x\r\nx: 1\r\n\r\n";
        let headers = head(text).unwrap().unwrap().headers;
        assert_eq!(
            (&headers[UPGRADE], &headers[CONNECTION], headers.len()),
            (&"TLS/1.2".parse().unwrap(), &"upgrade".parse().unwrap(), 2)
        );
        let headers = head(&text.replace("426 Upgrade Required", "200 OK")).unwrap().unwrap().headers;
        assert!(headers.is_empty(), "{headers:?}");
    }

    #[test]
    fn a_head_is_found_however_it_comes() {
        for text in ["HTTP/1.1 200 OK\r\na: 1\r\nb:2\r\n\r\nrest", "HTTP/1.1 200\na: 1\nb: 2\n\nrest"] {
            let whole = text.len() - "rest".len();
            let (mut input, mut seen) = (BytesMut::new(), 0);
            for byte in &text.as_bytes()[..whole - 1] {
                input.extend_from_slice(&[*byte]);
                assert!(take_head(&mut input, &mut seen, &mut Known::default()).unwrap().is_none(), "{input:?}");
            }
            input.extend_from_slice(&text.as_bytes()[whole - 1..]);
            let head = take_head(&mut input, &mut seen, &mut Known::default()).unwrap().unwrap();
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
