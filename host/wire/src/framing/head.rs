//! A request's head (RFC 9112, sections 3 and 6).

use std::mem;

use super::{
    fields::{Bounds, Fields, expect_lf},
    host::Authority,
    known::Known,
    rules::Rules,
    scan::{target_run, token_run},
    target::{Method, Target},
    violation::Violation,
};

/// The longest method that is registered, UPDATEREDIRECTREF, has 17.
pub(super) const METHOD_BYTES: usize = 32;

/// The largest length of a body or a chunk, in bytes: what fits a signed integer of 64 bits, which others may use.
pub(super) const LARGEST: u64 = i64::MAX as u64;

/// What comes after a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Empty,
    /// So many bytes, at least one.
    Sized(u64),
    Chunked,
}

/// How far a head has been looked at, and what it said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    at: At,
    /// Before this place, everything has been looked at. All places are offsets from the first byte of the head.
    pos: usize,
    /// Where the request line begins: behind an empty line, if there is one.
    start: usize,
    target_start: usize,
    version_start: usize,
    method: Method,
    target: Target,
    is_http10: bool,
    said: Said,
    fields_start: usize,
    fields: Fields,
}

/// What the header lines say that matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    has_host: bool,
    length: Option<u64>,
    is_chunked: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Start,
    EmptyLf,
    Method,
    Target,
    Version,
    LineCr,
    LineLf,
    Fields,
}

impl Head {
    /// Whether anything of a request has come.
    pub(super) fn is_begun(&self) -> bool {
        self.pos > self.start && self.at != At::EmptyLf
    }

    /// Goes on looking. Says how long the head is, and what follows it, if it is whole.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        rules: &Rules,
        known: &mut Known,
    ) -> Result<Option<(usize, Body)>, Violation> {
        if self.at != At::Fields {
            self.request_line(bytes, rules)?;
            if self.at != At::Fields {
                return Ok(None);
            }
            if self.target == Target::Local
                && let Some((length, said)) = known.recall(&bytes[self.pos..], self.is_http10)
            {
                self.said = said;
                return Ok(Some((self.pos + length, self.finish()?)));
            }
            self.fields_start = self.pos;
            self.fields = Fields::starting_at(self.pos);
        }
        let bounds = Bounds {
            end: self.pos.saturating_add(rules.header_bytes),
            count: rules.header_count,
            odd_names: rules.odd_names,
            too_large: Violation::HeadersTooLarge,
            too_many: Violation::TooManyHeaders,
        };
        let mut fields = mem::take(&mut self.fields);
        let end = fields.scan(bytes, &bounds, |name, value| self.take(bytes, name, value))?;
        self.fields = fields;
        match end {
            Some(end) => {
                known.learn(&bytes[self.fields_start..end], self.is_http10, self.said);
                Ok(Some((end, self.finish()?)))
            }
            None => Ok(None),
        }
    }

    fn request_line(&mut self, bytes: &[u8], rules: &Rules) -> Result<(), Violation> {
        if self.pos == 0 && self.ordinary_line(bytes, rules)? {
            return Ok(());
        }
        loop {
            let limit = self.start.saturating_add(rules.request_line_bytes);
            let seen = &bytes[..bytes.len().min(limit)];
            let Some(&byte) = seen.get(self.pos) else {
                return if bytes.len() > limit { Err(Violation::RequestLineTooLong) } else { Ok(()) };
            };
            match self.at {
                At::Start => match byte {
                    b'\r' => self.step(At::EmptyLf),
                    b'\n' => return Err(Violation::BareLf),
                    _ => self.at = At::Method,
                },
                At::EmptyLf => {
                    expect_lf(byte)?;
                    self.step(At::Method);
                    self.start = self.pos;
                }
                At::Method => self.method(seen)?,
                At::Target => self.target(seen)?,
                At::Version => self.version(seen)?,
                At::LineCr => match byte {
                    b'\r' => self.step(At::LineLf),
                    b'\n' => return Err(Violation::BareLf),
                    _ => return Err(Violation::BadVersion),
                },
                At::LineLf => {
                    expect_lf(byte)?;
                    self.step(At::Fields);
                    return Ok(());
                }
                At::Fields => return Ok(()),
            }
        }
    }

    /// Takes a whole request line that has nothing special in it, as nearly all are; leaves others to the loop. What
    /// it refuses, the loop would refuse as well.
    #[inline]
    fn ordinary_line(&mut self, bytes: &[u8], rules: &Rules) -> Result<bool, Violation> {
        const END: &[u8] = b" HTTP/1.1\r\n";
        let method = token_run(&bytes[..bytes.len().min(METHOD_BYTES)]);
        let Some(b' ') = bytes.get(method) else { return Ok(false) };
        let start = method + 1;
        let target = target_run(&bytes[start..]);
        let pos = start + target + END.len();
        if method == 0 || target == 0 || pos > rules.request_line_bytes || !bytes[start + target..].starts_with(END) {
            return Ok(false);
        }
        self.method = Method::parse(&bytes[..method])?;
        self.target = Target::parse(&bytes[start..start + target], self.method)?;
        self.target_start = start;
        self.pos = pos;
        self.at = At::Fields;
        Ok(true)
    }

    #[inline]
    fn step(&mut self, next: At) {
        self.pos += 1;
        self.at = next;
    }

    #[inline]
    fn method(&mut self, seen: &[u8]) -> Result<(), Violation> {
        let limit = self.start + METHOD_BYTES;
        self.pos += token_run(&seen[self.pos..seen.len().min(limit + 1)]);
        let name = &seen[self.start..self.pos];
        match seen.get(self.pos) {
            _ if self.pos > limit => Err(Violation::MethodTooLong),
            None => Ok(()),
            Some(b' ') if !name.is_empty() => {
                self.method = Method::parse(name)?;
                self.step(At::Target);
                self.target_start = self.pos;
                Ok(())
            }
            Some(b'\r') if name.is_empty() => Err(Violation::EmptyLines),
            Some(b'\n') => Err(Violation::BareLf),
            Some(_) => Err(Violation::BadMethod),
        }
    }

    #[inline]
    fn target(&mut self, seen: &[u8]) -> Result<(), Violation> {
        self.pos += target_run(&seen[self.pos..]);
        let target = &seen[self.target_start..self.pos];
        match seen.get(self.pos) {
            None => Ok(()),
            Some(b' ') if !target.is_empty() => {
                self.target = Target::parse(target, self.method)?;
                self.step(At::Version);
                self.version_start = self.pos;
                Ok(())
            }
            Some(b'\r') if !target.is_empty() => Err(Violation::MissingVersion),
            Some(b'\n') => Err(Violation::BareLf),
            Some(b'#') => Err(Violation::Fragment),
            Some(_) => Err(Violation::BadTarget),
        }
    }

    #[inline]
    fn version(&mut self, seen: &[u8]) -> Result<(), Violation> {
        const PATTERN: &[u8; 8] = b"HTTP/1.1";
        let start = self.version_start;
        for &byte in &seen[self.pos..seen.len().min(start + PATTERN.len())] {
            let fits = match PATTERN[self.pos - start] {
                b'1' => byte.is_ascii_digit(),
                letter => byte == letter,
            };
            if !fits {
                return Err(Violation::BadVersion);
            }
            self.pos += 1;
        }
        if self.pos < start + PATTERN.len() {
            return Ok(());
        }
        match (seen[start + 5], seen[start + 7]) {
            (b'1', minor @ (b'0' | b'1')) => self.is_http10 = minor == b'0',
            // What came before HTTP/1.0 had no version on the line, and no headers.
            (b'0', _) => return Err(Violation::MissingVersion),
            _ => return Err(Violation::UnsupportedVersion),
        }
        self.at = At::LineCr;
        Ok(())
    }

    /// Takes in what a header says that matters here.
    #[inline]
    pub(super) fn take(&mut self, bytes: &[u8], name: &[u8], value: &[u8]) -> Result<(), Violation> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.take_host(bytes, value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.take_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.take_coding(value),
            _ => Ok(()),
        }
    }

    /// Section 3.2. An empty host is the right one for a target that has none.
    fn take_host(&mut self, bytes: &[u8], value: &[u8]) -> Result<(), Violation> {
        let value = value.trim_ascii();
        if mem::replace(&mut self.said.has_host, true) {
            return Err(Violation::DuplicateHost);
        }
        let host = Authority::parse(value);
        if host.is_none() && !value.is_empty() {
            return Err(Violation::BadHost);
        }
        // A recipient should go by the target and ignore `Host`: but not all do.
        let Target::Remote { start, end, default_port } = self.target else { return Ok(()) };
        let target = Authority::parse(&bytes[self.target_start + start..self.target_start + end]);
        match (host, target) {
            (Some(host), Some(target)) if host.is_same(target, default_port) => Ok(()),
            _ => Err(Violation::HostMismatch),
        }
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        let value = value.trim_ascii();
        if self.said.length.is_some() {
            return Err(Violation::DuplicateLength);
        }
        if self.said.is_chunked {
            return Err(Violation::LengthAndCoding);
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Violation::BadLength);
        }
        let digit = |length: u64, byte: &u8| length.checked_mul(10)?.checked_add(u64::from(byte - b'0'));
        let length = value.iter().try_fold(0, digit).filter(|length| *length <= LARGEST);
        self.said.length = Some(length.ok_or(Violation::LengthTooLarge)?);
        Ok(())
    }

    /// Sections 6.1 and 7.1.
    fn take_coding(&mut self, value: &[u8]) -> Result<(), Violation> {
        let value = value.trim_ascii();
        if self.is_http10 {
            return Err(Violation::CodingInHttp10);
        }
        if self.said.is_chunked {
            return Err(Violation::DuplicateCoding);
        }
        if self.said.length.is_some() {
            return Err(Violation::LengthAndCoding);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(if is_coded_and_chunked(value) { Violation::UnsupportedCoding } else { Violation::BadCoding });
        }
        self.said.is_chunked = true;
        Ok(())
    }

    fn finish(&self) -> Result<Body, Violation> {
        if !self.said.has_host && !self.is_http10 {
            return Err(Violation::MissingHost);
        }
        let body = match self.said.length {
            _ if self.said.is_chunked => Body::Chunked,
            None | Some(0) => Body::Empty,
            Some(length) => Body::Sized(length),
        };
        if body == Body::Empty || self.method.may_have_body() { Ok(body) } else { Err(Violation::BodyNotAllowed) }
    }
}

/// Whether a list of codings is in order, and ends in `chunked`.
#[cold]
fn is_coded_and_chunked(value: &[u8]) -> bool {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let last = codings.next_back().unwrap_or_default();
    is_chunked(last)
        && codings.all(|coding| !coding.is_empty() && !is_chunked(coding) && token_run(coding) == coding.len())
}
