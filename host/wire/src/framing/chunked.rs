//! A body in chunks (RFC 9112, section 7.1).

use super::{
    fields::{Bounds, Fields, expect_lf},
    head::LARGEST,
    names,
    rules::Rules,
    violation::Violation,
};

/// As many as 64 bits have.
const MAX_DIGITS: u8 = 16;

/// What comes next in a body in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Nothing yet: more has to come.
    None,
    /// So many bytes of the body.
    Data(usize),
    /// Its end. In front of that there were so many bytes of trailers, the empty line behind them included.
    End(usize),
}

/// A body in chunks, which is taken apart.
#[derive(Debug)]
pub struct Chunks {
    chunked: Chunked,
    rules: Rules,
}

impl Chunks {
    /// A body that has not begun.
    pub fn new(rules: Rules) -> Self {
        Self { chunked: Chunked::default(), rules }
    }

    /// Looks at what has come: how many bytes at the front are framing, done with, and what comes after them. Trailers
    /// count as framing. `bytes` begins behind what was found the last time.
    pub fn next(&mut self, bytes: &[u8]) -> Result<(usize, Piece), Violation> {
        let mut passed = 0;
        let piece = self.chunked.scan(bytes, &self.rules, &mut passed)?;
        Ok((passed, piece))
    }
}

/// How far a body has been looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunked {
    at: At,
    /// What is left of the chunk.
    left: u64,
    digits: u8,
    /// How long the line that announces the chunk is so far.
    line: usize,
    trailers: Fields,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

impl Chunked {
    /// Goes on looking up to the next piece of the body, and adds what is in front of that, and in order, to `passed`.
    /// Trailers pass when they are whole, because a name that they must not have shows only at its end.
    pub(super) fn scan(&mut self, bytes: &[u8], rules: &Rules, passed: &mut usize) -> Result<Piece, Violation> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            match self.at {
                At::Data => {
                    let count = usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                    self.left -= count as u64;
                    if self.left == 0 {
                        self.at = At::DataCr;
                    }
                    return Ok(Piece::Data(count));
                }
                At::Trailers => {
                    let end = self.scan_trailers(rest, rules)?;
                    *passed += end.unwrap_or(0);
                    return Ok(end.map_or(Piece::None, Piece::End));
                }
                At::Size | At::Extension | At::SizeLf => self.line_byte(byte, rules)?,
                At::DataCr if byte == b'\r' => self.at = At::DataLf,
                At::DataLf if byte == b'\n' => *self = Self::default(),
                At::DataCr | At::DataLf => return Err(Violation::BadChunkEnd),
            }
            *passed += 1;
            rest = after;
        }
        Ok(Piece::None)
    }

    fn line_byte(&mut self, byte: u8, rules: &Rules) -> Result<(), Violation> {
        self.line += 1;
        if self.line > rules.chunk_line_bytes {
            return Err(Violation::ChunkLineTooLong);
        }
        match (self.at, byte) {
            (At::SizeLf, _) => {
                expect_lf(byte)?;
                self.at = if self.left == 0 { At::Trailers } else { At::Data };
            }
            (_, b'\n') => return Err(Violation::BareLf),
            (At::Size, b';') if self.digits > 0 => self.at = At::Extension,
            (At::Size, b'\r') if self.digits > 0 => self.at = At::SizeLf,
            (At::Size, b' ') if self.digits > 0 && rules.padded_chunk_sizes => self.at = At::Extension,
            (At::Size, _) => self.digit(byte)?,
            (_, b'\r') => self.at = At::SizeLf,
            // Nobody reads extensions: whether they have names and values doesn't matter. What does is that nobody
            // sees a line's end in one.
            (_, b'\t' | b' '..=b'~') => {}
            _ => return Err(Violation::BadChunkExtension),
        }
        Ok(())
    }

    fn digit(&mut self, byte: u8) -> Result<(), Violation> {
        let digit = char::from(byte).to_digit(16).ok_or(Violation::BadChunkSize)?;
        if self.digits == MAX_DIGITS {
            return Err(Violation::ChunkTooLarge);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        if self.left > LARGEST { Err(Violation::ChunkTooLarge) } else { Ok(()) }
    }

    fn scan_trailers(&mut self, bytes: &[u8], rules: &Rules) -> Result<Option<usize>, Violation> {
        let bounds = Bounds {
            end: rules.trailer_bytes,
            count: rules.trailer_count,
            odd_names: rules.odd_names,
            too_large: Violation::TrailersTooLarge,
            too_many: Violation::TooManyTrailers,
        };
        self.trailers.scan(bytes, &bounds, |name, _| {
            if names::is_forbidden_trailer(name) && !rules.any_trailer {
                Err(Violation::ForbiddenTrailer)
            } else {
                Ok(())
            }
        })
    }
}
