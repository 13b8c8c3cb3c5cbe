//! Names of headers that need not be looked up.

use http::{
    HeaderName,
    header::{
        CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED, LOCATION,
        SERVER, SET_COOKIE, TRANSFER_ENCODING, VARY,
    },
};

/// A name that most answers have, in the spelling that they have it in: to look any name up takes ten times as long.
pub(super) fn common_name(name: &str) -> Option<HeaderName> {
    Some(match name {
        "Cache-Control" | "cache-control" => CACHE_CONTROL,
        "Connection" | "connection" => CONNECTION,
        "Content-Encoding" | "content-encoding" => CONTENT_ENCODING,
        "Content-Length" | "content-length" => CONTENT_LENGTH,
        "Content-Type" | "content-type" => CONTENT_TYPE,
        "Date" | "date" => DATE,
        "ETag" | "etag" => ETAG,
        "Last-Modified" | "last-modified" => LAST_MODIFIED,
        "Location" | "location" => LOCATION,
        "Server" | "server" => SERVER,
        "Set-Cookie" | "set-cookie" => SET_COOKIE,
        "Transfer-Encoding" | "transfer-encoding" => TRANSFER_ENCODING,
        "Vary" | "vary" => VARY,
        _ => return None,
    })
}
