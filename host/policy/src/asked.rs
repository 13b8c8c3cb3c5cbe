//! What a policy asks of the proxy beside its answers, and within what bounds.

use std::time::Duration;

use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};
use sluicegate_core::EndpointId;
use wasmtime::{bail, format_err};

use crate::{Draw, Fault, state::HostState};

/// How many headers a pick may set: a cookie, what the endpoint has to know, and some more.
const MAX_HEADERS: usize = 16;
/// What servers take in all of a message's headers, commonly.
const HEADER_BYTES: usize = 16 << 10;
/// The longest text of a rejection; the rest is cut off.
pub(crate) const REASON_BYTES: usize = 1024;
/// The longest explanation: it is in every line of the access log.
pub(crate) const EXPLANATION_BYTES: usize = 256;
/// The contract says so. A cluster may make ten attempts, but the SDK, too, looks at the first eight only of where a
/// request has been: who is that far does not care where it goes next.
const MAX_THEN: usize = 8;
/// Probes asked for in one call: as many endpoints as a block of signals has.
const MAX_PROBES: usize = 64;
/// Enough to route by a prompt or a call's first fields; every request with a body holds as much while it waits.
const MAX_BODY_PREFIX: u32 = 64 << 10;

/// What no policy may set: it says how a message is framed, belongs to one hop, or is the proxy's own word.
const FORBIDDEN: [HeaderName; 12] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    FORWARDED,
    HOST,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
];
const FORBIDDEN_TEXT: [&str; 4] =
    ["proxy-connection", "x-forwarded-client-cert", "x-forwarded-for", "x-sluicegate-error"];

/// What a pick says beside its answer.
#[derive(Debug, Default)]
pub struct Reply {
    /// What the proxy answers with by itself, if it is to.
    pub rejection: Option<Rejection>,
    /// Headers for the client.
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers for the endpoint.
    pub request_headers: Vec<(HeaderName, HeaderValue)>,
    /// Where the request goes if it has to be tried again.
    pub then: Vec<EndpointId>,
    /// Where it goes as well.
    pub hedge: Option<Hedge>,
    /// Why this endpoint.
    pub explanation: Option<String>,
    /// Of the policy that said it.
    pub generation: u64,
    /// What that policy's pick had to do with a trial: attempts that come of this have to do with it, too.
    pub draw: Draw,
    header_bytes: usize,
}

/// A request that the policy turns away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// From 400 to 599.
    pub status: StatusCode,
    /// For whoever sent the request.
    pub reason: String,
}

/// A second attempt, should the first one take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedge {
    /// Where to.
    pub endpoint: EndpointId,
    /// How long the first one has; never zero.
    pub after: Duration,
}

/// What a policy's last call has asked for.
#[derive(Debug, Default)]
pub struct Asked {
    /// What a pick said beside its answer, if it said anything.
    pub reply: Option<Box<Reply>>,
    /// Whom to probe.
    pub probes: Vec<EndpointId>,
    /// How many more it asked to probe.
    pub dropped_probes: u32,
    /// The first thing in `reply` that can't be done.
    pub wrong: Option<Fault>,
}

/// What the proxy has to do for a policy ahead of its picks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// How many bytes of each request's body.
    pub body_prefix: u32,
    /// Whether load reports are read in responses.
    pub load_reports: bool,
}

impl Needs {
    /// What this policy and another one need.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            body_prefix: self.body_prefix.max(other.body_prefix),
            load_reports: self.load_reports || other.load_reports,
        }
    }
}

/// Which message a header is for.
#[derive(Clone, Copy)]
pub(crate) enum Message {
    Request,
    Response,
}

impl HostState {
    fn reply(&mut self) -> wasmtime::Result<&mut Reply> {
        if self.deadline.callback != "pick" {
            bail!("`reply` can be used during `pick` only");
        }
        Ok(self.asked.reply.get_or_insert_default())
    }

    pub(crate) fn reject(&mut self, status: u16, reason: String) -> wasmtime::Result<()> {
        let reply = self.reply()?;
        if !(400..=599).contains(&status) {
            bail!("a request can be rejected with a status from 400 to 599, not with {status}");
        }
        let status = StatusCode::from_u16(status)?;
        reply.rejection = Some(Rejection { status, reason });
        Ok(())
    }

    pub(crate) fn set_header(&mut self, message: Message, name: &str, value: &str) -> wasmtime::Result<()> {
        if let Err(reason) = self.reply()?.set_header(message, name, value) {
            self.asked.wrong.get_or_insert(Fault::BadReply { reason });
        }
        Ok(())
    }

    pub(crate) fn then(&mut self, index: u32) -> wasmtime::Result<()> {
        let endpoint = self.endpoint(index)?.id;
        let then = &mut self.reply()?.then;
        if then.len() == MAX_THEN {
            bail!("`then` was called more than {MAX_THEN} times");
        }
        then.push(endpoint);
        Ok(())
    }

    pub(crate) fn hedge(&mut self, index: u32, after_us: u32) -> wasmtime::Result<()> {
        let endpoint = self.endpoint(index)?.id;
        let reply = self.reply()?;
        if after_us == 0 {
            bail!("a hedge after 0 microseconds would be two requests at once");
        }
        reply.hedge = Some(Hedge { endpoint, after: Duration::from_micros(after_us.into()) });
        Ok(())
    }

    pub(crate) fn wants_explanation(&mut self) -> wasmtime::Result<bool> {
        if self.deadline.callback != "pick" {
            bail!("`reply` can be used during `pick` only");
        }
        Ok(self.explains)
    }

    pub(crate) fn explain(&mut self, why: String) -> wasmtime::Result<()> {
        let explains = self.explains;
        let reply = self.reply()?;
        if explains {
            reply.explanation = Some(why);
        }
        Ok(())
    }

    pub(crate) fn probe(&mut self, index: u32) -> wasmtime::Result<()> {
        let endpoint = self.endpoint(index)?.id;
        let asked = &mut self.asked;
        if asked.probes.len() < MAX_PROBES {
            asked.probes.push(endpoint);
        } else {
            asked.dropped_probes = asked.dropped_probes.saturating_add(1);
        }
        Ok(())
    }

    pub(crate) fn need_body_prefix(&mut self, bytes: u32) -> wasmtime::Result<()> {
        self.configuring("needs")?;
        if bytes > MAX_BODY_PREFIX {
            bail!("a policy may ask for {MAX_BODY_PREFIX} bytes of a request's body, not for {bytes}");
        }
        self.needs.body_prefix = bytes;
        Ok(())
    }

    pub(crate) fn need_load_reports(&mut self) -> wasmtime::Result<()> {
        self.configuring("needs")?;
        self.needs.load_reports = true;
        Ok(())
    }

    pub(crate) fn configuring(&self, what: &str) -> wasmtime::Result<()> {
        if self.deadline.callback == "configure" {
            return Ok(());
        }
        Err(format_err!("`{what}` can be used during `configure` only"))
    }
}

impl Reply {
    fn set_header(&mut self, message: Message, name: &str, value: &str) -> Result<(), String> {
        let name: HeaderName = name.parse().map_err(|_| format!("{name:.100?} is no name of a header"))?;
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| format!("the value for the header {name} has bytes that no header can have"))?;
        if FORBIDDEN.contains(&name) || FORBIDDEN_TEXT.contains(&name.as_str()) {
            return Err(format!("the header {name} is not for policies to set"));
        }
        let bytes = self.header_bytes + name.as_str().len() + value.len();
        if bytes > HEADER_BYTES || self.response_headers.len() + self.request_headers.len() == MAX_HEADERS {
            return Err(format!("a pick may set {MAX_HEADERS} headers of {HEADER_BYTES} bytes in all"));
        }
        self.header_bytes = bytes;
        match message {
            Message::Request => self.request_headers.push((name, value)),
            Message::Response => self.response_headers.push((name, value)),
        }
        Ok(())
    }
}

/// The beginning of a text, if it is longer than that.
pub(crate) fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_no_policy_may_set_are_refused() {
        let set = |name: &str, value: &str| Reply::default().set_header(Message::Response, name, value);
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("x", "a\r\nb: c"),
            ("x", "a\0"),
            ("Content-Length", "3"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "x"),
            ("X-Sluicegate-Error", "x"),
        ] {
            assert!(set(name, value).is_err(), "{name}: {value}");
        }
        assert_eq!(set("Set-Cookie", "a=b"), Ok(()));
        assert_eq!(set("x", "\u{e4}"), Ok(()));
    }

    #[test]
    fn headers_are_bounded() {
        let mut reply = Reply::default();
        let set = |reply: &mut Reply, value: &str| reply.set_header(Message::Request, "x", value);
        for _ in 0..MAX_HEADERS {
            set(&mut reply, "").unwrap();
        }
        assert!(set(&mut reply, "").is_err());
        let mut reply = Reply::default();
        set(&mut reply, &"x".repeat(HEADER_BYTES - 1)).unwrap();
        assert!(set(&mut reply, "").is_err());
        assert_eq!(reply.request_headers.len(), 1);
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("\u{e4}\u{e4}".into(), 3), "\u{e4}");
        assert_eq!(cut("ab".into(), 2), "ab");
    }
}
