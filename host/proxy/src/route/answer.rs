//! Answers that a route gives by itself.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, HOST, LOCATION},
    uri::PathAndQuery,
};
use sluicegate_policy::RequestParts;
use sluicegate_wire::path::PathRules;

use super::{PathChange, PathMatch, path_change::Changed};

/// Sends the client elsewhere: to what it asked for, with some of it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// `http` or `https`; the client's own if there is none.
    pub scheme: Option<&'static str>,
    /// A host, perhaps with a port. If there is none, the one that was asked for; without its port if the scheme
    /// changes.
    pub host: Option<String>,
    /// Another path. The query stays in any case.
    pub path: Option<PathChange>,
}

/// The same answer for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedResponse {
    /// From 200 to 599.
    pub status: StatusCode,
    /// The body; it may be empty.
    pub body: Bytes,
    /// What kind of body that is.
    pub content_type: Option<HeaderValue>,
}

impl Redirect {
    /// The answer to a request that came over `scheme`. None if there is no such place, or it is where the request
    /// came to.
    pub(super) fn answer(
        &self,
        matched: &PathMatch,
        head: &RequestParts,
        scheme: &HeaderValue,
        rules: Option<&PathRules>,
    ) -> Option<Response<Bytes>> {
        let own = scheme.to_str().ok()?;
        let scheme = self.scheme.unwrap_or(own);
        let host = match &self.host {
            Some(host) => host,
            None => {
                let host = head.headers.get(&HOST)?.to_str().ok()?;
                if scheme == own { host } else { without_port(host) }
            }
        };
        let changed = self.path.as_ref().map_or(Changed::Same, |path| path.apply(matched, &head.uri, rules));
        let target = match &changed {
            Changed::Same if self.scheme.is_none() && self.host.is_none() => return None,
            Changed::Same => head.uri.path_and_query(),
            Changed::To(target) => Some(target),
            Changed::Bad => return None,
        };
        let target = target.map_or("/", PathAndQuery::as_str);
        // `OPTIONS *` asks for no path.
        let location = format!("{scheme}://{host}{}", target.strip_prefix('*').unwrap_or(target));
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = self.status;
        response.headers_mut().insert(LOCATION, HeaderValue::from_maybe_shared(Bytes::from(location)).ok()?);
        Some(response)
    }
}

impl FixedResponse {
    pub(super) fn answer(&self) -> Response<Bytes> {
        let mut response = Response::new(self.body.clone());
        *response.status_mut() = self.status;
        if let Some(content_type) = &self.content_type {
            response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
        }
        response
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // A colon inside brackets is part of an IPv6 address.
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Pattern, Template},
        *,
    };

    #[test]
    fn nobody_is_sent_in_a_circle() {
        let pattern = Pattern::new("/u/(.*)").unwrap();
        let path = Some(PathChange::Regex(pattern.clone(), Template::new("/v/$1", &pattern).unwrap()));
        let redirect = Redirect { status: StatusCode::FOUND, scheme: None, host: None, path };
        let (head, ()) = http::Request::get("/x").header(HOST, "h").body(()).unwrap().into_parts();
        assert!(redirect.answer(&PathMatch::Any, &head.into(), &HeaderValue::from_static("http"), None).is_none());
    }

    #[test]
    fn what_is_not_changed_stays() {
        let check =
            |(scheme, host, path): (Option<&'static str>, Option<&str>, Option<&str>), asked: &str, expected: &str| {
                let redirect = Redirect {
                    status: StatusCode::PERMANENT_REDIRECT,
                    scheme,
                    host: host.map(str::to_owned),
                    path: path.map(|path| PathChange::Matched(path.to_owned())),
                };
                let (host, target) = asked.split_at(asked.find(['/', '*']).unwrap());
                let (head, ()) = http::Request::get(target).header(HOST, host).body(()).unwrap().into_parts();
                let matched = PathMatch::Prefix("/a".into());
                let answer = redirect.answer(&matched, &head.into(), &HeaderValue::from_static("http"), None).unwrap();
                assert_eq!((answer.status().as_u16(), answer.headers()[LOCATION].to_str().unwrap()), (308, expected));
            };
        check((Some("https"), None, None), "h.test:8080/a?b", "https://h.test/a?b");
        check((Some("https"), None, None), "[::1]:8080/a", "https://[::1]/a");
        check((Some("https"), None, None), "[::1]/a", "https://[::1]/a");
        check((Some("http"), None, Some("/b")), "h.test:8080/a/x?b", "http://h.test:8080/b/x?b");
        check((None, Some("o.test:1"), None), "h.test:8080//evil.test", "http://o.test:1//evil.test");
        check((Some("https"), Some("o.test"), Some("/")), "h.test/a", "https://o.test/");
        check((Some("https"), None, None), "h.test*", "https://h.test");
    }
}
