//! The one place that makes responses of the proxy's own.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{body::ResponseBody, failure::Failure, grpc, record::Record};

/// Carries the failure's label in every response that the proxy makes up itself.
pub const ERROR_HEADER: HeaderName = HeaderName::from_static("x-sluicegate-error");

/// A response of the proxy's own that is no failure.
pub(crate) fn answer(response: Response<Bytes>, mut record: Record) -> Response<ResponseBody> {
    record.answered(response.status());
    record.bytes = response.body().len() as u64;
    let (mut parts, body) = response.into_parts();
    record.settle(Some(record.bytes), &mut parts);
    Response::from_parts(parts, ResponseBody::text(body))
}

/// A response that says what failed; counts and logs it.
#[cold]
#[inline(never)]
pub(crate) fn respond(failure: &Failure, mut record: Record) -> Response<ResponseBody> {
    let (label, status) = (failure.label(), failure.status());
    tracing::debug!(error = label, origin = failure.origin().label(), "{failure}");
    record.fail(failure);
    if record.is_grpc {
        record.answered(StatusCode::OK);
        let (mut parts, body) = Response::new(ResponseBody::text(Bytes::new())).into_parts();
        grpc::fail(&mut parts.headers, failure);
        parts.headers.insert(ERROR_HEADER, HeaderValue::from_static(label));
        return Response::from_parts(parts, body);
    }
    let text = Bytes::from(format!("sluicegate: {failure}\n"));
    record.answered(status);
    record.bytes = text.len() as u64;
    let mut response = Response::new(ResponseBody::text(text));
    *response.status_mut() = status;
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    parts.headers.insert(ERROR_HEADER, HeaderValue::from_static(label));
    if let Some(seconds) = failure.retry_after() {
        parts.headers.insert(header::RETRY_AFTER, seconds.into());
    }
    record.settle(Some(record.bytes), &mut parts);
    if failure.ends_connection() && !record.is_http2() {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Response::from_parts(parts, body)
}
