//! Why a stream is refused.

use thiserror::Error;

/// What is wrong with a stream of requests. The message is for the person who wrote the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[allow(missing_docs)] // Each says what it is in its message.
pub enum Violation {
    #[error("a line ends in LF without CR")]
    BareLf,
    #[error("a CR is not followed by LF")]
    BareCr,
    #[error("a header value contains a control character")]
    ControlByte,
    #[error("a header value begins or ends with whitespace")]
    PaddedValue,
    #[error("more than one empty line before a request")]
    EmptyLines,
    #[error("the method is missing or contains a character that no method may have")]
    BadMethod,
    #[error("the method has small letters, which no method has")]
    SmallMethod,
    #[error("the method is longer than any that exists")]
    MethodTooLong,
    #[error("the request target is missing or contains a character that no target may have")]
    BadTarget,
    #[error("the request target contains a fragment")]
    Fragment,
    #[error("the request target does not have the form that its method asks for")]
    TargetForm,
    #[error("the host or port in the request target is not valid")]
    BadAuthority,
    #[error("the request line is too long")]
    RequestLineTooLong,
    #[error("the request line has no HTTP version")]
    MissingVersion,
    #[error("the request target is not followed by one space and an HTTP version")]
    BadVersion,
    #[error("this version of HTTP is not spoken here")]
    UnsupportedVersion,
    #[error("a header line has no name")]
    EmptyName,
    #[error("a header name contains a character that no name may have")]
    BadName,
    #[error("whitespace between a header name and its colon")]
    SpaceBeforeColon,
    #[error("a header line has no colon")]
    MissingColon,
    #[error("a header line begins with whitespace")]
    Folded,
    #[error("a header name contains other characters than letters, digits and hyphens")]
    OddName,
    #[error("a header name would be taken for another that the proxy relies on")]
    AliasName,
    #[error("too many headers")]
    TooManyHeaders,
    #[error("the headers are too large")]
    HeadersTooLarge,
    #[error("the Host header is missing")]
    MissingHost,
    #[error("more than one Host header")]
    DuplicateHost,
    #[error("the Host header is not a host with an optional port")]
    BadHost,
    #[error("the Host header and the request target name different hosts")]
    HostMismatch,
    #[error("Content-Length is not a number")]
    BadLength,
    #[error("more than one Content-Length header")]
    DuplicateLength,
    #[error("Content-Length is too large")]
    LengthTooLarge,
    #[error("Transfer-Encoding does not end in chunked")]
    BadCoding,
    #[error("a transfer coding other than chunked is not supported")]
    UnsupportedCoding,
    #[error("more than one Transfer-Encoding header")]
    DuplicateCoding,
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    #[error("Transfer-Encoding in an HTTP/1.0 request")]
    CodingInHttp10,
    #[error("a body in a request whose method has none")]
    BodyNotAllowed,
    #[error("a chunk does not begin with its size in hexadecimal digits")]
    BadChunkSize,
    #[error("a chunk is too large")]
    ChunkTooLarge,
    #[error("a chunk extension contains a character that it may not have")]
    BadChunkExtension,
    #[error("the line that announces a chunk is too long")]
    ChunkLineTooLong,
    #[error("a chunk is not followed by CRLF")]
    BadChunkEnd,
    #[error("a trailer has a name that only a header may have")]
    ForbiddenTrailer,
    #[error("too many trailers")]
    TooManyTrailers,
    #[error("the trailers are too large")]
    TrailersTooLarge,
}

impl Violation {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::RequestLineTooLong => 414,
            Self::TooManyHeaders | Self::HeadersTooLarge | Self::TooManyTrailers | Self::TrailersTooLarge => 431,
            Self::MethodTooLong | Self::UnsupportedCoding => 501,
            Self::UnsupportedVersion => 505,
            _ => 400,
        }
    }

    /// A short, stable name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::ControlByte => "control_byte",
            Self::PaddedValue => "padded_value",
            Self::EmptyLines => "empty_lines",
            Self::BadMethod => "bad_method",
            Self::SmallMethod => "small_method",
            Self::MethodTooLong => "method_too_long",
            Self::BadTarget => "bad_target",
            Self::Fragment => "fragment",
            Self::TargetForm => "target_form",
            Self::BadAuthority => "bad_authority",
            Self::RequestLineTooLong => "request_line_too_long",
            Self::MissingVersion => "missing_version",
            Self::BadVersion => "bad_version",
            Self::UnsupportedVersion => "unsupported_version",
            Self::EmptyName => "empty_name",
            Self::BadName => "bad_name",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::MissingColon => "missing_colon",
            Self::Folded => "folded",
            Self::OddName => "odd_name",
            Self::AliasName => "alias_name",
            Self::TooManyHeaders => "too_many_headers",
            Self::HeadersTooLarge => "headers_too_large",
            Self::MissingHost => "missing_host",
            Self::DuplicateHost => "duplicate_host",
            Self::BadHost => "bad_host",
            Self::HostMismatch => "host_mismatch",
            Self::BadLength => "bad_length",
            Self::DuplicateLength => "duplicate_length",
            Self::LengthTooLarge => "length_too_large",
            Self::BadCoding => "bad_coding",
            Self::UnsupportedCoding => "unsupported_coding",
            Self::DuplicateCoding => "duplicate_coding",
            Self::LengthAndCoding => "length_and_coding",
            Self::CodingInHttp10 => "coding_in_http10",
            Self::BodyNotAllowed => "body_not_allowed",
            Self::BadChunkSize => "bad_chunk_size",
            Self::ChunkTooLarge => "chunk_too_large",
            Self::BadChunkExtension => "bad_chunk_extension",
            Self::ChunkLineTooLong => "chunk_line_too_long",
            Self::BadChunkEnd => "bad_chunk_end",
            Self::ForbiddenTrailer => "forbidden_trailer",
            Self::TooManyTrailers => "too_many_trailers",
            Self::TrailersTooLarge => "trailers_too_large",
        }
    }
}
