//! The part of the admin listener that changes things: JSON over HTTP.
//!
//! What the calls are is for the control side to say; in here it is about HTTP. Every answer is JSON, errors as well.

use std::{future::Future, pin::Pin, time::Duration};

use http_body_util::{BodyExt, Limited};
use hyper::{
    Method, StatusCode,
    body::{Body, Bytes},
    header::{CONTENT_TYPE, HeaderMap},
    http::request::Parts,
};
use serde_json::{Value, json};
use tokio::time::timeout;

/// The longest body: a policy's configuration, and a few words around it.
pub const MAX_BODY_BYTES: usize = 256 << 10;

/// How long a client may take to send it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A call of the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Whether it is to change something (POST), or only to tell (GET).
    pub changes: bool,
    /// The parts of its path, decoded, after the first one.
    pub path: Vec<String>,
    /// A POST's body: an object.
    pub body: Value,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The answer's status.
    pub status: StatusCode,
    /// A short, stable name, for programs.
    pub code: &'static str,
    /// What was wrong, where, and what to do.
    pub message: String,
}

impl Problem {
    /// A problem with this status.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// Something in the request is not as it should be.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message } })
    }
}

/// What a call comes to.
pub type Answer = Result<Value, Problem>;

/// Who answers calls. Nobody waits in line behind one that takes long.
pub trait Api: Send + Sync + 'static {
    /// Answers a call.
    fn call(&self, call: Call) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>>;
}

/// Reads a call out of a request.
pub(crate) async fn read<B>(parts: &Parts, body: B) -> Result<Call, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let changes = match parts.method {
        Method::GET => false,
        Method::POST => true,
        _ => {
            let message = format!("{} is not for this: GET asks, POST changes", parts.method);
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", message));
        }
    };
    let path = parts.uri.path().split('/').skip(2).map(decoded).collect::<Option<Vec<_>>>();
    let path = path.ok_or_else(|| Problem::bad_request("the path's escapes are not those of UTF-8 text"))?;
    let body = if changes { object(parts, body).await? } else { json!({}) };
    Ok(Call { changes, path, body })
}

async fn object<B>(parts: &Parts, body: B) -> Result<Value, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if !is_json(&parts.headers) {
        // A browser sends other types across origins without asking first.
        let message = "send the body as JSON, with `Content-Type: application/json`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", message));
    }
    let bytes = match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(bytes)) => bytes.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body may have at most {MAX_BODY_BYTES} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
        }
        Ok(Err(error)) => return Err(Problem::bad_request(format!("the body broke off: {error}"))),
        Err(_) => {
            let message = format!("the body did not come within {BODY_TIMEOUT:?}");
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", message));
        }
    };
    match serde_json::from_slice(if bytes.is_empty() { b"{}" } else { &bytes }) {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(_) => Err(Problem::bad_request("the body must be a JSON object")),
        Err(error) => Err(Problem::bad_request(format!("the body is not JSON: {error}"))),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// Undoes a path's escapes.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(after.get(..2)?).ok().filter(|digits| !digits.starts_with('+'))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded() {
        for (path, expected) in [
            ("api", Some("api")),
            ("a%20b%2Fc", Some("a b/c")),
            ("%c3%a4", Some("ä")),
            ("%", None),
            ("%2", None),
            ("%+1", None),
            ("%zz", None),
            ("%ff", None),
        ] {
            assert_eq!(decoded(path).as_deref(), expected, "{path}");
        }
    }
}
