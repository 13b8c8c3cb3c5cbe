//! The head of an endpoint's answer, recognised.
//!
//! What a server says in front of one answer it says in front of the next: its name, the same cache rules, the same
//! type, mostly. So the head that was parsed last is kept, in the order of its lines, and a new one is compared with it
//! first. A line that is the same is not parsed again, and one of which only the value is another, such as a length or a
//! date, is parsed from its colon on. The result is that of parsing all of it, or there is none: whatever is not exactly
//! as it was, or has to do with where the answer ends beyond its length, is left to the parser.
//!
//! Parsing and collecting a head of five lines takes 5,200 instructions, a fifth of all that this proxy spends on a small
//! request; to recognise it takes a tenth of that.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_LENGTH};

use super::receiving::{Framing, Head, parse_head};

/// Larger heads are not kept: one is, by every worker for every endpoint.
const MAX_BYTES: usize = 1024;

/// For how many unknown heads in a row none is learnt, at most: endpoints whose heads are never alike.
const MAX_WAIT: u32 = 64;

/// For how many unknown heads a known one is kept that was recognised so often. Where two kinds of heads take turns, one of
/// them stays known, instead of each being learnt anew for the other.
const MAX_CREDIT: u32 = 8;

/// After how many heads of which some value was another the newest one is learnt in place of the one that is known.
const MAX_CHANGED: u32 = 32;

/// An endpoint's head that a new one is compared with.
#[derive(Debug, Default)]
pub(crate) struct Known {
    last: Option<Learnt>,
    /// How many unknown heads are let pass before one is learnt, and how many of them still are.
    wait: u32,
    left: u32,
    /// How many unknown heads it takes to make up for those that were recognised.
    credit: u32,
    /// Whether the one that is known was of use.
    is_useful: bool,
    /// How many of the heads since had another value.
    changed: u32,
}

#[derive(Debug)]
struct Learnt {
    text: Bytes,
    /// Where the status line ends.
    status_line: usize,
    lines: Vec<Line>,
    /// As parsed, with values that are parts of `text`.
    head: Head,
}

/// A header's line, as places in the text.
#[derive(Debug)]
struct Line {
    start: usize,
    /// Where the value begins.
    value: usize,
    /// Behind its CRLF.
    end: usize,
    /// Whether it is among the headers that are passed on. If not, its value is never another.
    passes: bool,
    is_length: bool,
}

impl Known {
    /// The head that `input` begins with and how long it is, if that can be told without parsing it.
    pub(super) fn recall(&mut self, input: &[u8]) -> Option<(usize, Head)> {
        let learnt = self.last.as_ref()?;
        let recalled = if input.starts_with(&learnt.text) {
            (learnt.text.len(), learnt.head.clone())
        } else if self.changed < MAX_CHANGED {
            let recalled = learnt.with_other_values(input)?;
            self.changed += 1;
            recalled
        } else {
            return None;
        };
        self.credit = (self.credit + 1).min(MAX_CREDIT);
        self.is_useful |= self.credit == MAX_CREDIT;
        Some(recalled)
    }

    /// Takes in a head that was parsed because it was not recognised.
    #[cold]
    pub(super) fn learn(&mut self, text: &[u8], head: &Head) {
        let waits = if self.credit > 0 { &mut self.credit } else { &mut self.left };
        if *waits > 0 && self.changed < MAX_CHANGED {
            *waits -= 1;
            return;
        }
        self.wait = if self.is_useful { 0 } else { (2 * self.wait + 1).min(MAX_WAIT) };
        (self.left, self.credit, self.is_useful) = (self.wait, 0, false);
        if let Some(learnt) = head.can_be_known().then(|| Learnt::new(text)).flatten() {
            (self.last, self.changed) = (Some(learnt), 0);
        }
    }
}

impl Learnt {
    /// None of a head that is unusual in its form.
    fn new(text: &[u8]) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let text = Bytes::copy_from_slice(text);
        let head = parse_head(&text).ok()?;
        let status_line = line_end(&text)?;
        let (mut lines, mut start) = (Vec::new(), status_line);
        while text[start..] != *b"\r\n" {
            let end = start + line_end(&text[start..])?;
            let colon = start + text[start..end].iter().position(|byte| *byte == b':')?;
            let value = colon + 1 + text[colon + 1..end].iter().position(|byte| !is_space(*byte))?;
            let name = HeaderName::from_bytes(&text[start..colon]).ok()?;
            let passes = head.headers.contains_key(&name);
            lines.push(Line { start, value, end, passes, is_length: name == CONTENT_LENGTH });
            start = end;
        }
        // Then the headers stand in the order of their lines.
        let are_all_once = lines.iter().filter(|line| line.passes).count() == head.headers.keys_len();
        are_all_once.then_some(Self { text, status_line, lines, head })
    }

    /// The head that `input` begins with, if it is this one but for some values.
    #[inline(never)]
    fn with_other_values(&self, input: &[u8]) -> Option<(usize, Head)> {
        let mut rest = input.strip_prefix(&self.text[..self.status_line])?;
        let (mut others, mut place, mut length) = (Vec::new(), 0, self.head.framing.length);
        for line in &self.lines {
            if let Some(same) = rest.strip_prefix(&self.text[line.start..line.end]) {
                rest = same;
            } else if line.passes {
                let (value, behind) = other_value(rest.strip_prefix(&self.text[line.start..line.value])?)?;
                rest = behind;
                if line.is_length {
                    length = Some(Framing::length(&value).ok()?);
                }
                others.push((place, value));
            } else {
                return None;
            }
            place += usize::from(line.passes);
        }
        let rest = rest.strip_prefix(b"\r\n")?;
        let mut head = self.head.clone();
        head.framing.length = length;
        let (mut values, mut next) = (head.headers.values_mut(), 0);
        for (place, value) in others {
            *values.nth(place - next)? = value;
            next = place + 1;
        }
        Some((input.len() - rest.len(), head))
    }
}

/// The value up to the end of its line, and what is behind that.
fn other_value(line: &[u8]) -> Option<(HeaderValue, &[u8])> {
    let (text, behind) = line.split_at(line.iter().position(|byte| !is_text(*byte))?);
    // Whitespace around a value does not belong to it.
    if text.first().is_none_or(|byte| is_space(*byte)) || text.last().is_none_or(|byte| is_space(*byte)) {
        return None;
    }
    Some((HeaderValue::from_bytes(text).ok()?, behind.strip_prefix(b"\r\n")?))
}

impl Head {
    /// Whether it says nothing of this hop but how long the answer is and whether the connection is kept, and is the last
    /// one of its answer.
    fn can_be_known(&self) -> bool {
        let is_last = !self.status.is_informational() && self.status != StatusCode::UPGRADE_REQUIRED;
        is_last && self.framing.named.is_empty()
    }
}

/// Behind the first CRLF. None if there is a bare LF before it.
fn line_end(text: &[u8]) -> Option<usize> {
    let lf = memchr::memchr(b'\n', text)?;
    text[..lf].ends_with(b"\r").then_some(lf + 1)
}

/// What a value may have in it (RFC 9110, section 5.5), as `httparse` sees it.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Heads one after the other, each as it is recalled or parsed, must be what parsing makes of them. Says how many
    /// were recalled.
    fn check(heads: &[&str]) -> usize {
        let mut known = Known::default();
        let mut recalled = 0;
        for text in heads {
            let parsed = parse_head(&Bytes::copy_from_slice(text.as_bytes()));
            let input = [text.as_bytes(), b"body"].concat();
            match (known.recall(&input), parsed) {
                (Some((length, head)), Ok(parsed)) => {
                    assert_eq!((length, format!("{head:?}")), (text.len(), format!("{parsed:?}")), "{text:?}");
                    recalled += 1;
                }
                (Some(_), Err(error)) => panic!("{text:?} was recalled, which is {error}"),
                (None, Ok(parsed)) => known.learn(text.as_bytes(), &parsed),
                (None, Err(_)) => {}
            }
        }
        recalled
    }

    const PLAIN: &str =
        "HTTP/1.1 200 OK\r\nServer: a\r\nDate: x y\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n";

    #[test]
    fn what_is_the_same_or_has_another_value_is_recalled() {
        assert_eq!(check(&[PLAIN, PLAIN, PLAIN]), 2);
        assert_eq!(check(&[PLAIN, &PLAIN.replace("x y", "z"), &PLAIN.replace('5', "123"), PLAIN]), 3);
    }

    #[test]
    fn whatever_else_is_different_is_parsed() {
        for (from, to) in [
            ("200 OK", "204 No Content"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("Server: a", "Server: a\r\nServer: b"),
            ("Server: a", "Via: a"),
            ("Server: a", "server: a"),
            ("Server: a", "Server:  a"),
            ("Server: a", "Server: a "),
            ("Server: a", "Server: "),
            ("Server: a", "Server: a\u{1}"),
            ("Server: a\r\n", "Server: a\n"),
            ("Server: a\r\n", ""),
            ("keep-alive", "close"),
            ("keep-alive", "date"),
            ("Content-Length: 5", "Content-Length: +5"),
            ("Content-Length: 5", "Content-Length: 5, 5"),
            ("Content-Length: 5", "Content-Length: 99999999999999999999"),
            ("Content-Length: 5", "Transfer-Encoding: chunked"),
            ("\r\n\r\n", "\r\n"),
            ("\r\n\r\n", "\r\nx: 1\r\n\r\n"),
        ] {
            assert_eq!(check(&[PLAIN, &PLAIN.replacen(from, to, 1)]), 0, "{to:?}");
        }
    }

    #[test]
    fn heads_that_are_unusual_are_not_kept() {
        for text in [
            "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n",
            "HTTP/1.1 426 Upgrade Required\r\nupgrade: a\r\nconnection: upgrade\r\n\r\n",
            "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx-a: 1\r\nconnection: x-a\r\n\r\n",
            "HTTP/1.1 200 OK\nx-a: 1\n\n",
            "\r\nHTTP/1.1 200 OK\r\nx-a: 1\r\n\r\n",
            &format!("HTTP/1.1 200 OK\r\nx-a: {}\r\n\r\n", "a".repeat(MAX_BYTES)),
        ] {
            assert_eq!(check(&[text, text, text]), 0, "{text:?}");
        }
    }

    #[test]
    fn of_kinds_that_take_turns_one_stays_known_until_it_comes_no_more() {
        let mut known = Known::default();
        let mut come = |text: &str| match known.recall(text.as_bytes()) {
            Some(_) => true,
            None => {
                known.learn(text.as_bytes(), &parse_head(&Bytes::copy_from_slice(text.as_bytes())).unwrap());
                false
            }
        };
        let other = "HTTP/1.1 200 OK\r\nx-a: 1\r\n\r\n";
        assert!(!come(PLAIN));
        for _ in 0..100 {
            assert!(come(PLAIN) && !come(other));
        }
        let unknown = (0..100).filter(|_| !come(other)).count();
        assert!((1..=10).contains(&unknown), "{unknown}");
    }

    #[test]
    fn a_new_day_is_learnt_and_heads_that_are_never_alike_seldom_are() {
        let tomorrow = PLAIN.replace("x y", "z");
        let mut known = Known::default();
        let parsed = |text: &str| parse_head(&Bytes::copy_from_slice(text.as_bytes())).unwrap();
        known.learn(PLAIN.as_bytes(), &parsed(PLAIN));
        for _ in 0..MAX_CHANGED {
            assert!(known.recall(tomorrow.as_bytes()).is_some());
        }
        assert!(known.recall(tomorrow.as_bytes()).is_none());
        known.learn(tomorrow.as_bytes(), &parsed(&tomorrow));
        assert_eq!(known.last.as_ref().unwrap().text, tomorrow);
        let mut learnt = 0;
        for number in 0..1000 {
            let text = format!("HTTP/1.1 200 OK\r\nx-{number}: 1\r\n\r\n");
            assert!(known.recall(text.as_bytes()).is_none());
            known.learn(text.as_bytes(), &parsed(&text));
            learnt += usize::from(known.last.as_ref().unwrap().text == text);
        }
        assert!((5..25).contains(&learnt), "{learnt}");
    }

    proptest! {
        #[test]
        fn recalling_is_parsing(
            heads in prop::collection::vec(
                prop::collection::vec(
                    prop::sample::select(vec![
                        "Server: a", "Server: b", "server: a", "Date: x", "Date: y z", "Date:x", "Content-Length: 5",
                        "Content-Length: 07", "Content-Length: x", "Connection: close", "Connection: keep-alive",
                        "Connection: x-a", "x-a: 1", "x-a: 22", "x-a:", "x-a: \u{e9}", "x-a: a\tb", "x-a:\t1 ",
                        "Transfer-Encoding: chunked", "Keep-Alive: 5", "Keep-Alive: 6", "x a: 1", " x: 1", "Upgrade: a",
                    ]),
                    0..6,
                ),
                1..12,
            ),
            firsts in prop::collection::vec(
                prop::sample::select(vec![
                    "HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 304 OK",
                    "HTTP/1.1 103 x", "HTTP/1.1 426 x", "HTTP/1.1 101 x",
                ]),
                12,
            ),
        ) {
            // Each twice: so that many are recalled.
            let texts: Vec<String> = heads
                .iter()
                .zip(&firsts)
                .map(|(lines, first)| format!("{first}\r\n{}\r\n", lines.iter().map(|line| format!("{line}\r\n")).collect::<String>()))
                .collect();
            check(&texts.iter().flat_map(|text| [text.as_str(), text.as_str()]).collect::<Vec<_>>());
        }
    }
}
