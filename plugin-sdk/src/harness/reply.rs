//! What picks say beside their answers.

use std::time::Duration;

use crate::native::Said;

const MAX_HEADERS: usize = 16;
const MAX_THEN: usize = 8;

/// What no policy may set: it says how a message is framed, belongs to one hop, or is the proxy's own word.
const FORBIDDEN: [&str; 16] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "forwarded",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-sluicegate-error",
];

/// What a pick has said beside its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimReply {
    /// The status and the text that the proxy answers with by itself.
    pub rejected: Option<(u16, String)>,
    /// Names and values.
    pub response_headers: Vec<(String, String)>,
    /// Names and values.
    pub request_headers: Vec<(String, String)>,
    /// Where the request goes next, and then.
    pub then: Vec<u32>,
    /// Where the request goes as well, and after what time.
    pub hedge: Option<(u32, Duration)>,
    /// Why.
    pub explanation: Option<String>,
}

impl SimReply {
    /// Fails the test where the proxy traps or counts a fault.
    pub(super) fn take(&mut self, said: Said<'_>, count: u32) {
        let check = |index| assert!(index < count, "names endpoint {index}, but there are only {count}");
        match said {
            Said::Reject { status, reason } => {
                assert!((400..=599).contains(&status), "rejects with {status}: it has to be from 400 to 599");
                self.rejected = Some((status, reason.to_owned()));
            }
            Said::ResponseHeader(name, value) => self.response_headers.push(self.header(name, value)),
            Said::RequestHeader(name, value) => self.request_headers.push(self.header(name, value)),
            Said::Then(index) => {
                check(index);
                assert!(self.then.len() < MAX_THEN, "says `then` more than {MAX_THEN} times");
                self.then.push(index);
            }
            Said::Hedge { index, after_us } => {
                check(index);
                self.hedge = Some((index, Duration::from_micros(after_us.into())));
            }
            Said::Explanation(why) => self.explanation = Some(why.to_owned()),
        }
    }

    fn header(&self, name: &str, value: &str) -> (String, String) {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!(!name.is_empty() && name.bytes().all(is_token), "{name:?} is no name of a header");
        let is_control = |byte: u8| byte != b'\t' && byte.is_ascii_control();
        assert!(!value.bytes().any(is_control), "{value:?} is no value of a header");
        let name = name.to_ascii_lowercase();
        assert!(!FORBIDDEN.contains(&&*name), "{name} is not for policies to set");
        let headers = self.response_headers.len() + self.request_headers.len();
        assert!(headers < MAX_HEADERS, "sets more than {MAX_HEADERS} headers");
        (name, value.to_owned())
    }
}
