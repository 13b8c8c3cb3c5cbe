//! What a policy says beside its pick, put to use; and what endpoints say of their load.

use http::{HeaderMap, HeaderName, HeaderValue, header::SET_COOKIE};
use sluicegate_core::LoadReport;
use sluicegate_policy::{Reply, RequestHeaders};
use sluicegate_wire::load_report::{BINARY_HEADER, HEADER, Report};

const LOAD: HeaderName = HeaderName::from_static(HEADER);
const BINARY_LOAD: HeaderName = HeaderName::from_static(BINARY_HEADER);

/// Sets headers of the response that the client gets.
pub(crate) fn set_response_headers(reply: Option<Box<Reply>>, headers: &mut HeaderMap) {
    for (name, value) in reply.into_iter().flat_map(|reply| reply.response_headers) {
        if name == SET_COOKIE {
            headers.append(name, value);
        } else {
            headers.insert(name, value);
        }
    }
}

/// Sets headers of the request, before it goes to an endpoint.
pub(crate) fn set_request_headers(reply: &mut Reply, headers: &mut RequestHeaders) {
    if reply.request_headers.is_empty() {
        return;
    }
    let headers = headers.all_mut();
    for (name, value) in reply.request_headers.drain(..) {
        headers.insert(name, value);
    }
}

/// What an endpoint says of its load in these headers or trailers, if it does.
pub(crate) fn load_report(headers: &HeaderMap) -> Option<Report> {
    let parsed = |value: &HeaderValue| Report::parse(value.as_bytes());
    let binary = |value: &HeaderValue| Report::parse_binary(value.as_bytes());
    headers.get(LOAD).and_then(parsed).or_else(|| headers.get(BINARY_LOAD).and_then(binary))
}

/// A report as signals: what is not said is 0.
pub(crate) fn signals(report: &Report) -> LoadReport {
    LoadReport {
        utilization_ppm: report.utilization_ppm().unwrap_or(0),
        queue_depth: report.queue_depth().unwrap_or(0),
        requests_milli_per_s: report.requests_milli_per_s().unwrap_or(0),
        errors_milli_per_s: report.errors_milli_per_s().unwrap_or(0),
    }
}
