//! One spelling for each path, or a refusal.
//!
//! A proxy that routes by path, and a server that serves it, must not read the same path differently: rules for
//! `/admin` are worth nothing if `/%61dmin` gets past them. So a path is brought into one form (RFC 3986, section
//! 6.2.2): letters, digits and `-._~` without escapes, the other escapes in capitals, dot segments removed. What has no
//! one reading is refused. See Tsai, "Breaking parser logic" (2018), for what happens otherwise.

mod segments;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use thiserror::Error;

/// What to do with what servers disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRules {
    /// Whether `//` becomes `/`, before dot segments are removed. Off: RFC 3986 says that they differ, and names in
    /// object stores may contain two.
    pub merge_slashes: bool,
    /// `%2F`. Kept: names with a slash are sent so on purpose, as in `/projects/group%2Fproject`. It is never decoded.
    pub escaped_slash: Separator,
    /// `\` and `%5C`. Refused: browsers turn it into a slash, so does Windows, and no path needs it.
    pub backslash: Separator,
}

impl Default for PathRules {
    fn default() -> Self {
        Self { merge_slashes: false, escaped_slash: Separator::Keep, backslash: Separator::Refuse }
    }
}

/// What to do with what some servers take for a slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// It stays as it is, unless a dot segment would be made by taking it for a slash.
    Keep,
    /// Such a path is refused.
    Refuse,
}

/// Why a path is refused, with status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum BadPath {
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// A control character, a space, a `#`, or a byte that is not ASCII.
    #[error("the path contains a character that has to be escaped")]
    BadByte,
    /// A percent sign without two hexadecimal digits.
    #[error("the path contains a percent sign that is not followed by two hexadecimal digits")]
    BadEscape,
    /// `%00` and the like.
    #[error("the path contains an escaped control character")]
    Control,
    /// `%2F`, where it is refused.
    #[error("the path contains an escaped slash")]
    EscapedSlash,
    /// `\` or `%5C`, where it is refused.
    #[error("the path contains a backslash")]
    Backslash,
    /// `..;` or `..%2F`, for example: a dot segment to some, and a name to others.
    #[error("the path contains a dot segment in disguise")]
    HiddenDots,
}

impl BadPath {
    /// A short, stable name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotAbsolute => "not_absolute",
            Self::BadByte => "bad_byte",
            Self::BadEscape => "bad_escape",
            Self::Control => "control",
            Self::EscapedSlash => "escaped_slash",
            Self::Backslash => "backslash",
            Self::HiddenDots => "hidden_dots",
        }
    }
}

/// Brings a target in origin form, a path and perhaps a query, into one form. The query stays as it is, whatever it is.
///
/// Borrows if nothing changes, which one pass finds out. The same input again gives the same output, and so does the
/// output. `..` above the root stays at the root (RFC 3986, section 5.2.4).
pub fn normalize<'a>(target: &'a str, rules: &PathRules) -> Result<Cow<'a, str>, BadPath> {
    if !target.starts_with('/') {
        return Err(BadPath::NotAbsolute);
    }
    let length = plain_length(target.as_bytes(), rules);
    if matches!(target.as_bytes().get(length), None | Some(b'?')) {
        return Ok(Cow::Borrowed(target));
    }
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let decoded = decode(path, rules)?;
    let mut normal = segments::remove_dots(&decoded, rules.merge_slashes)?;
    if normal == path {
        return Ok(Cow::Borrowed(target));
    }
    normal.push_str(query);
    Ok(Cow::Owned(normal))
}

/// How many bytes at the front need no second look: up to an escape, a backslash, a dot or a slash behind a slash, a
/// query, or the end.
fn plain_length(target: &[u8], rules: &PathRules) -> usize {
    let mut after_slash = false;
    let stops = |byte: &u8| {
        let class = CLASS[usize::from(*byte)];
        let is_stop = match class {
            PLAIN => false,
            SLASH => after_slash && rules.merge_slashes,
            DOT => after_slash,
            _ => true,
        };
        after_slash = class == SLASH;
        is_stop
    };
    target.iter().position(stops).unwrap_or(target.len())
}

const PLAIN: u8 = 0;
const SLASH: u8 = 1;
const DOT: u8 = 2;
const STOP: u8 = 3;

const CLASS: [u8; 256] = {
    let mut class = [STOP; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        class[byte] = match byte as u8 {
            b'/' => SLASH,
            b'.' => DOT,
            b'%' | b'\\' | b'?' | b'#' => STOP,
            _ => PLAIN,
        };
        byte += 1;
    }
    class
};

/// Without the escapes that need not be, and with the others in capitals (RFC 3986, sections 6.2.2.1 and 6.2.2.2).
fn decode(path: &str, rules: &PathRules) -> Result<String, BadPath> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'%' => {
                let (&[high, low], after) = rest.split_first_chunk::<2>().ok_or(BadPath::BadEscape)?;
                let (high, low) = (hex(high)?, hex(low)?);
                rest = after;
                push_escaped(&mut out, high << 4 | low, rules)?;
            }
            b'\\' if rules.backslash == Separator::Refuse => return Err(BadPath::Backslash),
            b'#' => return Err(BadPath::BadByte),
            0x21..0x7f => out.push(char::from(*byte)),
            _ => return Err(BadPath::BadByte),
        }
    }
    Ok(out)
}

fn push_escaped(out: &mut String, byte: u8, rules: &PathRules) -> Result<(), BadPath> {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            out.push(char::from(byte));
            return Ok(());
        }
        0..0x20 | 0x7f => return Err(BadPath::Control),
        b'/' if rules.escaped_slash == Separator::Refuse => return Err(BadPath::EscapedSlash),
        b'\\' if rules.backslash == Separator::Refuse => return Err(BadPath::Backslash),
        _ => {}
    }
    let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value)]);
    out.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
    Ok(())
}

fn hex(digit: u8) -> Result<u8, BadPath> {
    char::from(digit).to_digit(16).map(|value| value as u8).ok_or(BadPath::BadEscape)
}
