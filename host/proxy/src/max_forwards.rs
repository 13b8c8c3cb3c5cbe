//! `Max-Forwards`: how far an OPTIONS or a TRACE goes (RFC 9110, section 7.6.2).

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, MAX_FORWARDS},
};
use sluicegate_policy::RequestParts;

/// Counts this hop. The answer, if the request goes no further.
pub(crate) fn count(head: &mut RequestParts) -> Option<Response<Bytes>> {
    if !matches!(head.method, Method::OPTIONS | Method::TRACE) {
        return None;
    }
    let left: u64 = head.headers.get(&MAX_FORWARDS)?.to_str().ok()?.parse().ok()?;
    if let Some(left) = left.checked_sub(1) {
        head.headers.all_mut().insert(MAX_FORWARDS, left.into());
        return None;
    }
    let mut response = Response::new(Bytes::new());
    if head.method == Method::TRACE {
        // What a request has passed through is nothing that strangers should be shown.
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("OPTIONS"));
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, said: &'static str, answered: Option<u16>, left: &str) {
        let request = http::Request::builder().method(method).header(MAX_FORWARDS, said).body(()).unwrap();
        let mut head = request.into_parts().0.into();
        assert_eq!(count(&mut head).map(|response| response.status().as_u16()), answered, "{method} {said}");
        assert_eq!(head.headers.get(&MAX_FORWARDS).unwrap(), left);
    }

    #[test]
    fn an_options_goes_as_far_as_it_says() {
        check("OPTIONS", "10", None, "9");
        check("OPTIONS", "1", None, "0");
        check("OPTIONS", "0", Some(200), "0");
        check("TRACE", "0", Some(405), "0");
        check("GET", "0", None, "0");
        check("OPTIONS", "far", None, "far");
    }
}
