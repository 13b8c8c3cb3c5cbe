//! The proxy's own errors as gRPC says them: with HTTP's status 200, and a status of its own in the headers of a response
//! that has nothing else (gRPC over HTTP/2, "Trailers-Only").

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};

use crate::failure::Failure;

pub(crate) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether these are the headers of a gRPC call. (Those of gRPC-Web, whose errors are HTTP's, are another type.)
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.as_bytes().split_at_checked(TYPE.len()));
    kind.is_some_and(|(kind, rest)| kind.eq_ignore_ascii_case(TYPE) && matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Says what failed.
pub(crate) fn fail(headers: &mut HeaderMap, failure: &Failure) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(STATUS, HeaderValue::from_static(status(failure)));
    if let Ok(message) = HeaderValue::from_str(&encoded(&failure.to_string())) {
        headers.insert(MESSAGE, message);
    }
}

/// gRPC's own mapping ("HTTP to gRPC Status Code Mapping"), but for timeouts, which it has a status for.
fn status(failure: &Failure) -> &'static str {
    match failure {
        // DEADLINE_EXCEEDED
        Failure::ResponseTimeout { .. }
        | Failure::AttemptTimeout { .. }
        | Failure::RequestTimeout { .. }
        | Failure::BodyTimeout { .. } => "4",
        _ => match failure.status() {
            StatusCode::BAD_REQUEST => "13",  // INTERNAL
            StatusCode::UNAUTHORIZED => "16", // UNAUTHENTICATED
            StatusCode::FORBIDDEN => "7",     // PERMISSION_DENIED
            StatusCode::NOT_FOUND => "12",    // UNIMPLEMENTED
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => "14", // UNAVAILABLE
            _ => "2",                         // UNKNOWN
        },
    }
}

/// What a call that failed counts as: a status of HTTP, for outlier detection, policies and metrics. None when it is none
/// of the endpoint's failures: it went well, or the client asked for what is not there, or the like.
pub(crate) fn failed(headers: &HeaderMap) -> Option<StatusCode> {
    // Envoy's mapping, but for UNIMPLEMENTED: that a client asks for a method that is not there says nothing of who
    // answers so.
    match headers.get(STATUS)?.as_bytes() {
        // UNKNOWN, INTERNAL, DATA_LOSS
        b"2" | b"13" | b"15" => Some(StatusCode::INTERNAL_SERVER_ERROR),
        // DEADLINE_EXCEEDED
        b"4" => Some(StatusCode::GATEWAY_TIMEOUT),
        // UNAVAILABLE
        b"14" => Some(StatusCode::SERVICE_UNAVAILABLE),
        _ => None,
    }
}

/// Everything but printable ASCII, and the sign itself, percent-encoded.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_endpoint_can_be_blamed_for_counts() {
        let failed = |status: &'static str| {
            failed(&HeaderMap::from_iter([(STATUS, HeaderValue::from_static(status))])).map(|status| status.as_u16())
        };
        for (status, expected) in [("2", 500), ("4", 504), ("13", 500), ("14", 503), ("15", 500)] {
            assert_eq!(failed(status), Some(expected));
        }
        for status in ["0", "1", "3", "5", "6", "7", "8", "9", "10", "11", "12", "16", "99", ""] {
            assert_eq!(failed(status), None);
        }
        assert_eq!(super::failed(&HeaderMap::new()), None);
    }

    #[test]
    fn calls_are_told_from_others_by_their_type() {
        let is_call = |kind| super::is_call(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]));
        for kind in ["application/grpc", "application/grpc+proto", "Application/gRPC;charset=utf-8"] {
            assert!(is_call(kind), "{kind}");
        }
        for kind in ["application/grpc-web", "application/grpc-web+proto", "application/grp", "application/json", ""] {
            assert!(!is_call(kind), "{kind}");
        }
    }

    #[test]
    fn messages_are_encoded() {
        assert_eq!(encoded("10% of \u{e4}\n"), "10%25 of %C3%A4%0A");
    }
}
