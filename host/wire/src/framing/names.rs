//! Names that mean something to the proxy.

/// What decides where a message ends.
const FRAMING: [&[u8]; 2] = [b"content-length", b"transfer-encoding"];

/// What the proxy sets or reads, and may be written with another separator. (A name without a hyphen has no alias.)
const RELIED_ON: [&[u8]; 9] = [
    b"keep-alive",
    b"max-forwards",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"x-client-ip",
    b"x-forwarded",
    b"x-real-ip",
    b"x-request-id",
];

/// All names that begin so are relied on, too.
const RELIED_ON_PREFIX: &[u8] = b"x-forwarded-";

/// What must not come after a body: it says how to frame, route, authenticate or treat the message, or how to read
/// its content (RFC 9110, section 6.5.1).
const FORBIDDEN_TRAILERS: [&[u8]; 33] = [
    b"age",
    b"authorization",
    b"cache-control",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"expires",
    b"forwarded",
    b"host",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"keep-alive",
    b"max-forwards",
    b"pragma",
    b"proxy-authorization",
    b"proxy-connection",
    b"range",
    b"set-cookie",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"x-client-ip",
    b"x-forwarded",
    b"x-real-ip",
    b"x-request-id",
];

/// Whether `name`, which has unusual characters, could be taken for a header that decides where a message ends.
#[cold]
pub(super) fn is_framing_alias(name: &[u8]) -> bool {
    FRAMING.iter().any(|known| is_like(name, known))
}

/// Whether `name`, which has unusual characters, could be taken for a header that the proxy sets or reads.
#[cold]
pub(super) fn is_alias(name: &[u8]) -> bool {
    RELIED_ON.iter().any(|known| is_like(name, known)) || is_forwarded(name)
}

/// Whether a trailer must not have this name.
pub fn is_forbidden_trailer(name: &[u8]) -> bool {
    FORBIDDEN_TRAILERS.iter().any(|known| is_like(name, known)) || is_forwarded(name)
}

fn is_forwarded(name: &[u8]) -> bool {
    name.get(..RELIED_ON_PREFIX.len()).is_some_and(|front| is_like(front, RELIED_ON_PREFIX))
}

/// Whether two names are the same when all that is neither a letter nor a digit counts as a hyphen.
fn is_like(name: &[u8], known: &[u8]) -> bool {
    let fold = |byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    name.len() == known.len() && name.iter().zip(known).all(|(byte, known)| fold(byte) == *known)
}
