//! From what a client sent to what may be forwarded.

use std::{borrow::Cow, future::poll_fn, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
    uri::PathAndQuery,
};
use http_body::Body as _;
use sluicegate_policy::{RequestHead, RequestHeaders, RequestParts};
use sluicegate_wire::{
    framing::{Http2Head, Violation},
    path::{PathRules, normalize},
};
use tokio::time::timeout;

use crate::{
    body::RequestBody,
    client_body::ClientBody,
    connection::{ClientConnection, Held},
    failure::Failure,
    forwarding::{forward_client, name_request},
    headers::{self, Hop, HostSaid, is_host},
    kept::Kept,
    websocket::WebSocket,
};

/// A request that may be forwarded.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) head: RequestHead,
    pub(crate) body: RequestBody,
    has_body: bool,
    kept: Option<Rc<Kept>>,
    /// Whether sending it twice has the same effect as sending it once, and it has no body: then it may be sent
    /// again when a reused connection breaks without an answer (RFC 9110, section 9.2.2).
    pub(crate) is_repeatable: bool,
    /// Whether the client asks to go on in another protocol.
    pub(crate) is_upgrade: bool,
    /// What a client that speaks HTTP/2 asks for, where that is a WebSocket.
    pub(crate) websocket: Option<Box<WebSocket>>,
    /// Whether the client waits with its body until it is asked for it.
    pub(crate) expects_continue: bool,
    /// Of what the route is keyed by; 0 when it is not.
    pub(crate) hash: u64,
    /// The head of what it is answered, from where that comes to where it is passed on: a head is large, and a future
    /// that returned it to another one would move it each time.
    pub(crate) answer: Response<()>,
    _held: Option<Held>,
}

impl Inbound {
    /// From now on, keeps up to so many bytes of its body, so that it can be sent again.
    pub(crate) fn keep(&mut self, body_bytes: usize) {
        self.kept = self.body.keep(body_bytes);
    }

    /// Gets it ready to be sent once more. Whether all of it is still there.
    pub(crate) fn rewind(&mut self) -> bool {
        match (&self.kept, &self.body) {
            (Some(kept), _) if kept.is_whole() => {
                self.body = RequestBody::Kept(kept.reader());
                true
            }
            (Some(_), _) => false,
            (None, RequestBody::Streaming { upload, .. }) => upload.frames.get() == 0,
            (None, _) => !self.has_body,
        }
    }
}

/// For how long the beginning of a body is waited for, if a policy needs it: whoever takes longer to send some
/// kilobytes is not worth a better pick.
const PREFIX_WAIT: Duration = Duration::from_millis(500);

impl Inbound {
    /// Waits for so many bytes of the body, or for its end, for a policy that looks at it.
    pub(crate) async fn read_prefix(&mut self, bytes: usize) {
        let RequestBody::Streaming { incoming, .. } = &mut self.body else { return };
        // The client has been asked for it now.
        self.expects_continue = false;
        let read = poll_fn(|cx| incoming.poll_early(cx, bytes));
        // The pick makes do with what has come.
        let _ = timeout(PREFIX_WAIT, read).await;
        self.head.body_prefix = incoming.early(bytes);
    }

    /// The same request once more, for a second attempt beside the first. None when it can't be sent twice at a time.
    pub(crate) fn spare(&self) -> Option<Box<Self>> {
        if self.is_upgrade || self.websocket.is_some() || self.has_body && self.kept.is_none() {
            return None;
        }
        let mut spare = Box::new(self.copy());
        spare.has_body = self.has_body;
        spare.kept.clone_from(&self.kept);
        Some(spare)
    }

    /// Whether nothing of its body is still to come from the client.
    pub(crate) fn is_all_here(&self) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.is_complete())
    }

    /// Gives it a body that is here.
    pub(crate) fn give(&mut self, body: RequestBody) {
        self.has_body = !body.is_end_stream();
        self.body = body;
    }

    /// The same head for somebody else, without a body.
    pub(crate) fn copy(&self) -> Self {
        Self {
            head: RequestHead::new(self.head.parts.clone(), self.head.client),
            body: RequestBody::Empty,
            has_body: false,
            kept: None,
            is_repeatable: self.is_repeatable,
            is_upgrade: false,
            websocket: None,
            expects_continue: false,
            hash: self.hash,
            answer: Response::default(),
            _held: None,
        }
    }
}

/// Checks a request and makes it one of the next hop.
pub(crate) fn admit(request: Request<ClientBody>, client: &ClientConnection) -> Result<Box<Inbound>, Failure> {
    let (mut parts, mut incoming) = request.into_parts();
    let websocket = match parts.method {
        Method::CONNECT => Some(WebSocket::begin(&mut parts, &mut incoming, &mut client.worker.rng.borrow_mut())?),
        _ => None,
    };
    let held = match parts.version {
        Version::HTTP_2 => Some(check_http2(&parts, !incoming.is_end_stream(), client)?),
        // Checked before hyper saw it; and the next one waits for its answer.
        _ => None,
    };
    let mut hop = headers::clean(&mut parts.headers);
    if hop.has_too_many_options {
        return Err(Failure::BadRequest("too many options in Connection"));
    }
    // HTTP/1.0 does not know of it, and goes on without being asked (RFC 9110, section 10.1.1).
    hop.expects_continue &= parts.version != Version::HTTP_10;
    settle_target(&mut parts, &hop, client)?;
    if let Some(rules) = &client.path_rules {
        settle_path(&mut parts.uri, rules)?;
    }
    if parts.version != Version::HTTP_11 {
        hop.upgrade = websocket.as_ref().and_then(|websocket| websocket.ask(&mut parts.headers));
    }
    if websocket.is_none() && !incoming.is_end_stream() {
        // Servers that do not know the protocol ignore the offer, and some that do take the body for it.
        hop.upgrade = None;
    }
    let is_upgrade = hop.is_special() && forward_hop(&hop, &mut parts.headers)?;
    let (from, own) = forward_client(&hop, &mut parts.headers, client);
    name_request(&hop, &mut parts.headers, client);
    if parts.headers.len() > parts.headers.keys_len() {
        join_cookies(&mut parts.headers);
    }
    let body = if incoming.is_end_stream() {
        RequestBody::Empty
    } else {
        RequestBody::streaming(incoming, hop.expects_continue)
    };
    if !matches!(body, RequestBody::Empty) && !parts.headers.contains_key(CONTENT_LENGTH) {
        // hyper would leave out the body of a GET that has no length.
        parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let has_body = !matches!(body, RequestBody::Empty);
    let is_repeatable = matches!(body, RequestBody::Empty) && parts.method.is_idempotent();
    let headers = RequestHeaders::new(parts.headers, own);
    let parts = RequestParts { method: parts.method, uri: parts.uri, headers };
    Ok(Box::new(Inbound {
        head: RequestHead::new(parts, from),
        body,
        has_body,
        kept: None,
        is_repeatable,
        is_upgrade,
        websocket,
        expects_continue: hop.expects_continue,
        hash: 0,
        answer: Response::default(),
        _held: held,
    }))
}

/// What a header takes up beside its name and its value (RFC 7541, section 4.1).
const FIELD: usize = 32;

/// HTTP/2 leaves room for what HTTP/1.1 would not let pass, and for many heads at a time.
#[inline(never)]
fn check_http2(parts: &Parts, has_body: bool, client: &ClientConnection) -> Result<Held, Failure> {
    let head = Http2Head {
        method: parts.method.as_str().as_bytes(),
        target: parts.uri.path_and_query().map_or("/", PathAndQuery::as_str).as_bytes(),
        authority: parts.uri.authority().map(|authority| authority.as_str().as_bytes()),
        has_body,
    };
    let mut bytes = head.target.len();
    let headers = parts.headers.iter().map(|(name, value)| {
        bytes += name.as_str().len() + value.len() + FIELD;
        (name.as_str().as_bytes(), value.as_bytes())
    });
    head.check(headers, &client.worker.limits.head).map_err(Failure::Malformed)?;
    client.heads.hold(bytes).ok_or(Failure::Malformed(Violation::HeadersTooLarge))
}

/// One host, in `Host`; one target, in origin form (RFC 9112, sections 3.2 and 3.3).
fn settle_target(parts: &mut Parts, hop: &Hop, client: &ClientConnection) -> Result<(), Failure> {
    if parts.uri.authority().is_some() {
        return settle_absolute(parts);
    }
    match hop.host {
        HostSaid::Once => Ok(()),
        HostSaid::Badly => Err(Failure::BadRequest("bad Host header")),
        HostSaid::Often => Err(Failure::BadRequest("more than one Host header")),
        HostSaid::Never if parts.version == Version::HTTP_10 => {
            // The client meant whoever listens where it connected to.
            let host = HeaderValue::from_str(&client.local.to_string());
            parts.headers.insert(HOST, host.map_err(|_| Failure::BadRequest("missing Host header"))?);
            Ok(())
        }
        HostSaid::Never => Err(Failure::BadRequest("missing Host header")),
    }
}

/// The same of a target that names its host.
#[inline(never)]
fn settle_absolute(parts: &mut Parts) -> Result<(), Failure> {
    let Some(authority) = parts.uri.authority() else { return Ok(()) };
    // An absolute target overrides `Host`. HTTP/2 has its own place for it, and a proxy in front of this one may
    // have judged by the other (RFC 9113, section 8.3.1).
    let host = HeaderValue::from_str(authority.as_str()).ok().filter(|host| is_host(host.as_bytes()));
    let host = host.ok_or(Failure::BadRequest("bad host in the target"))?;
    let is_other = |other: &HeaderValue| !other.as_bytes().eq_ignore_ascii_case(host.as_bytes());
    if parts.version == Version::HTTP_2 && parts.headers.get_all(HOST).iter().any(is_other) {
        return Err(Failure::BadRequest("two different hosts"));
    }
    let path = match parts.uri.path_and_query() {
        // An absolute target may have a query and no path: in text, it gets one (RFC 9112, section 3.2.1).
        Some(path) if path.as_str().starts_with('?') => {
            PathAndQuery::try_from(path.to_string()).map_err(|_| Failure::BadRequest("bad query in the target"))?
        }
        Some(path) => path.clone(),
        None => PathAndQuery::from_static("/"),
    };
    parts.uri = path.into();
    parts.headers.insert(HOST, host);
    Ok(())
}

/// One spelling of the path. What routes are chosen by is what the endpoint gets: a rule for `/admin` would be worth
/// nothing if `/x/../%61dmin` got past it.
fn settle_path(uri: &mut Uri, rules: &PathRules) -> Result<(), Failure> {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if target != "*"
        && let Cow::Owned(normal) = normalize(target, rules)?
    {
        let target = PathAndQuery::from_maybe_shared(Bytes::from(normal));
        *uri = target.map_err(|_| Failure::BadRequest("bad path"))?.into();
    }
    Ok(())
}

/// HTTP/2 may split cookies for its compression; others expect one line (RFC 9113, section 8.2.3), and join several in
/// ways of their own.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        // Values that were good one by one are good together.
        if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// Says to the next hop what was said to this one. Whether the client asks for another protocol.
#[cold]
#[inline(never)]
fn forward_hop(hop: &Hop, headers: &mut HeaderMap) -> Result<bool, Failure> {
    if hop.has_other_coding {
        return Err(Failure::NotSupported("a transfer coding other than chunked"));
    }
    let wants_http2 = |value: &HeaderValue| headers::tokens(value).any(|token| headers::is(token, "h2c"));
    // An offer of HTTP/2, also among others, is passed over in silence: past this proxy's back it would be a way
    // around its rules.
    let upgrade = hop.upgrade.as_ref().filter(|value| !wants_http2(value));
    if hop.takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(UPGRADE, protocol.clone());
    }
    let named = match (hop.takes_trailers, upgrade.is_some()) {
        (true, true) => "te, upgrade",
        (true, false) => "te",
        (false, true) => "upgrade",
        (false, false) => return Ok(false),
    };
    headers.insert(CONNECTION, HeaderValue::from_static(named));
    Ok(upgrade.is_some())
}
