//! Lines of a name, a colon and a value, up to an empty line: headers and trailers (RFC 9112, section 5).

use super::{
    names,
    rules::OddNames,
    scan::{is_token, plain_run, text_run, token_run},
    violation::Violation,
};

/// How far the lines have been looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields {
    at: At,
    /// Before this place, everything has been looked at. All places are offsets from where the caller's bytes begin.
    pos: usize,
    line: usize,
    colon: usize,
    count: usize,
    is_odd: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    LineStart,
    Name,
    Value,
    ValueLf,
    EndLf,
}

/// How much is allowed, and what to answer if there is more.
pub(super) struct Bounds {
    /// The place that the lines have to end before.
    pub(super) end: usize,
    pub(super) count: usize,
    pub(super) odd_names: OddNames,
    pub(super) too_large: Violation,
    pub(super) too_many: Violation,
}

impl Fields {
    /// Lines that begin at `pos`.
    pub(super) fn starting_at(pos: usize) -> Self {
        Self { pos, ..Self::default() }
    }

    /// Goes on looking, and shows every whole line to `take`: its name, and its value with the whitespace around it.
    /// Says where the lines end, if they do.
    pub(super) fn scan<'a>(
        &mut self,
        bytes: &'a [u8],
        bounds: &Bounds,
        mut take: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), Violation>,
    ) -> Result<Option<usize>, Violation> {
        let seen = &bytes[..bytes.len().min(bounds.end)];
        if self.at == At::LineStart {
            // Nearly always all lines are here and ordinary; what is not is left to the loop below.
            while self.count < bounds.count
                && let Some((colon, end)) = ordinary_line(seen, self.pos)
            {
                take(&seen[self.pos..colon], &seen[colon + 1..end])?;
                self.pos = end + 2;
                self.count += 1;
            }
            if seen[self.pos.min(seen.len())..].starts_with(b"\r\n") {
                return Ok(Some(self.pos + 2));
            }
        }
        while let Some(&byte) = seen.get(self.pos) {
            match self.at {
                At::LineStart => self.start_line(byte, bounds)?,
                At::Name => self.name(seen, bounds.odd_names)?,
                At::Value => self.value(seen)?,
                At::ValueLf => {
                    expect_lf(byte)?;
                    take(&seen[self.line..self.colon], &seen[self.colon + 1..self.pos - 1])?;
                    self.pos += 1;
                    self.at = At::LineStart;
                }
                At::EndLf => {
                    expect_lf(byte)?;
                    return Ok(Some(self.pos + 1));
                }
            }
        }
        if bytes.len() > bounds.end { Err(bounds.too_large) } else { Ok(None) }
    }

    fn start_line(&mut self, byte: u8, bounds: &Bounds) -> Result<(), Violation> {
        match byte {
            b'\r' => {
                self.at = At::EndLf;
                self.pos += 1;
            }
            b'\n' => return Err(Violation::BareLf),
            b' ' | b'\t' => return Err(Violation::Folded),
            _ if self.count == bounds.count => return Err(bounds.too_many),
            _ => {
                self.count += 1;
                self.line = self.pos;
                self.is_odd = false;
                self.at = At::Name;
            }
        }
        Ok(())
    }

    fn name(&mut self, seen: &[u8], odd_names: OddNames) -> Result<(), Violation> {
        self.pos += plain_run(&seen[self.pos..]);
        if seen.get(self.pos).is_some_and(|byte| is_token(*byte)) {
            self.is_odd = true;
            self.pos += token_run(&seen[self.pos..]);
        }
        match seen.get(self.pos) {
            None => return Ok(()),
            Some(b':') if self.pos == self.line => return Err(Violation::EmptyName),
            Some(b':') => {}
            Some(b' ' | b'\t') => return Err(Violation::SpaceBeforeColon),
            Some(b'\r') => return Err(Violation::MissingColon),
            Some(b'\n') => return Err(Violation::BareLf),
            Some(_) => return Err(Violation::BadName),
        }
        if self.is_odd {
            check_odd(&seen[self.line..self.pos], odd_names)?;
        }
        self.colon = self.pos;
        self.pos += 1;
        self.at = At::Value;
        Ok(())
    }

    fn value(&mut self, seen: &[u8]) -> Result<(), Violation> {
        self.pos += text_run(&seen[self.pos..]);
        match seen.get(self.pos) {
            None => return Ok(()),
            Some(b'\t') => {}
            Some(b'\r') => self.at = At::ValueLf,
            Some(b'\n') => return Err(Violation::BareLf),
            Some(_) => return Err(Violation::ControlByte),
        }
        self.pos += 1;
        Ok(())
    }
}

/// Where the colon and the CR are in a whole line that has nothing special in it.
#[inline]
fn ordinary_line(seen: &[u8], start: usize) -> Option<(usize, usize)> {
    let line = seen.get(start..)?;
    let colon = plain_run(line);
    if colon == 0 || line.get(colon) != Some(&b':') {
        return None;
    }
    let value = &line[colon + 1..];
    let length = text_run(value);
    matches!(value.get(length..length + 2), Some(b"\r\n")).then_some((start + colon, start + colon + 1 + length))
}

/// What has to follow a CR.
#[inline]
pub(super) fn expect_lf(byte: u8) -> Result<(), Violation> {
    if byte == b'\n' { Ok(()) } else { Err(Violation::BareCr) }
}

#[cold]
pub(super) fn check_odd(name: &[u8], odd_names: OddNames) -> Result<(), Violation> {
    match odd_names {
        _ if names::is_framing_alias(name) => Err(Violation::AliasName),
        OddNames::Allow => Ok(()),
        OddNames::RefuseAliases if names::is_alias(name) => Err(Violation::AliasName),
        OddNames::RefuseAliases => Ok(()),
        OddNames::Refuse => Err(Violation::OddName),
    }
}
