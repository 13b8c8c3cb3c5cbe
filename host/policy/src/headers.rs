//! Headers of a request: what the client has said, and what the proxy says of the client.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AsHeaderName, HOST},
};

/// The host that the client asked for, whatever a route makes of it.
pub const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What the proxy says of a client in every request of a connection. Beside it, `X-Forwarded-Host` says what `Host` does.
#[derive(Debug)]
pub struct OwnLines {
    fields: Vec<(HeaderName, HeaderValue)>,
    text: Box<[u8]>,
}

impl OwnLines {
    /// These lines.
    pub fn new(fields: Vec<(HeaderName, HeaderValue)>) -> Self {
        let mut text = Vec::new();
        for (name, value) in &fields {
            text.extend_from_slice(name.as_ref());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        Self { fields, text: text.into() }
    }

    /// Puts those of them into a map that `wanted` holds for.
    pub fn put(&self, map: &mut HeaderMap, wanted: impl Fn(&HeaderName) -> bool) {
        if wanted(&FORWARDED_HOST)
            && let Some(host) = map.get(HOST).cloned()
        {
            map.append(FORWARDED_HOST, host);
        }
        for (name, value) in self.fields.iter().filter(|(name, _)| wanted(name)) {
            map.append(name, value.clone());
        }
    }
}

/// A request's headers.
///
/// The proxy's own lines are the same for all requests of a connection: they go out as they are, and are put among the
/// others only when something is to be changed. Whoever looks for a header finds them either way.
#[derive(Clone, Debug, Default)]
pub struct RequestHeaders {
    map: HeaderMap,
    own: Option<Arc<OwnLines>>,
}

impl RequestHeaders {
    /// What a client has said, and what the proxy says.
    pub fn new(map: HeaderMap, own: Option<Arc<OwnLines>>) -> Self {
        Self { map, own }
    }

    /// The first value that a header has.
    #[inline]
    pub fn get(&self, name: impl AsHeaderName + AsRef<str> + Clone) -> Option<&HeaderValue> {
        self.map.get(name.clone()).or_else(|| self.own_values(name.as_ref()).next())
    }

    /// All values that a header has.
    pub fn get_all(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.map.get_all(name).iter().chain(self.own_values(name.as_str()))
    }

    fn own_values(&self, name: &str) -> impl Iterator<Item = &HeaderValue> {
        let is_it = move |own: &HeaderName| own.as_str().eq_ignore_ascii_case(name);
        let fields = self.own.iter().flat_map(|own| &own.fields);
        let host = self.own.as_ref().filter(|_| is_it(&FORWARDED_HOST)).and_then(|_| self.map.get(HOST));
        fields.filter(move |(own, _)| is_it(own)).map(|(_, value)| value).chain(host)
    }

    /// All of them, to be changed.
    pub fn all_mut(&mut self) -> &mut HeaderMap {
        if let Some(own) = self.own.take() {
            own.put(&mut self.map, |_| true);
        }
        &mut self.map
    }

    /// Says them line by line, and the proxy's own as they go over the wire.
    #[inline]
    pub fn lines(&self, mut line: impl FnMut(&HeaderName, &HeaderValue)) -> &[u8] {
        let Some(own) = &self.own else {
            self.map.iter().for_each(|(name, value)| line(name, value));
            return b"";
        };
        let mut host = None;
        for (name, value) in &self.map {
            if *name == HOST {
                host = Some(value);
            }
            line(name, value);
        }
        if let Some(host) = host {
            line(&FORWARDED_HOST, host);
        }
        &own.text
    }
}

impl From<HeaderMap> for RequestHeaders {
    fn from(map: HeaderMap) -> Self {
        Self::new(map, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

    fn headers() -> RequestHeaders {
        let text = HeaderValue::from_static;
        let own = OwnLines::new(vec![(PROTO, text("https")), (FOR, text("10.0.0.1"))]);
        let said = [(HOST, text("a.test")), (FOR, text("10.0.0.9")), (PROTO, text("http"))];
        let mut map: HeaderMap = said.into_iter().collect();
        map.remove(PROTO);
        RequestHeaders::new(map, Some(Arc::new(own)))
    }

    fn all(headers: &RequestHeaders, name: &str) -> Vec<String> {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let values: Vec<String> = headers.get_all(&name).map(|value| value.to_str().unwrap().to_owned()).collect();
        let first = headers.get(&name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!((headers.get(name.as_str()), first.as_ref()), (headers.get(&name), values.first()), "{name}");
        values
    }

    #[test]
    fn own_lines_are_found_before_they_are_among_the_others_and_afterwards() {
        let mut headers = headers();
        for _ in 0..2 {
            assert_eq!(all(&headers, "host"), ["a.test"]);
            assert_eq!(all(&headers, "X-Forwarded-Host"), ["a.test"]);
            assert_eq!(all(&headers, "x-forwarded-proto"), ["https"]);
            assert_eq!(all(&headers, "x-forwarded-for"), ["10.0.0.9", "10.0.0.1"]);
            assert!(all(&headers, "x-other").is_empty());
            assert_eq!(headers.get("X-Forwarded-PROTO").unwrap(), "https");
            headers.all_mut();
        }
        assert_eq!(headers.all_mut().len(), 5);
    }

    #[test]
    fn another_host_is_not_the_one_that_the_client_asked_for() {
        let mut headers = headers();
        headers.all_mut().insert(HOST, HeaderValue::from_static("b.test"));
        assert_eq!(
            (all(&headers, "host"), all(&headers, "x-forwarded-host")),
            (vec!["b.test".into()], vec!["a.test".into()])
        );
    }

    #[test]
    fn the_same_lines_go_out_either_way() {
        let said = |headers: &RequestHeaders| {
            let mut lines = Vec::new();
            let own = headers.lines(|name, value| lines.push(format!("{name}: {}", value.to_str().unwrap())));
            lines.extend(std::str::from_utf8(own).unwrap().lines().map(str::to_owned));
            // The order of lines with different names says nothing.
            lines.sort_by(|one, other| one.split(':').next().cmp(&other.split(':').next()));
            lines
        };
        let mut headers = headers();
        let before = said(&headers);
        headers.all_mut();
        assert_eq!((before.len(), &before), (5, &said(&headers)));
    }

    #[test]
    fn of_own_lines_those_are_put_that_are_wanted() {
        let own = headers().own.unwrap();
        let mut map = HeaderMap::from_iter([(HOST, HeaderValue::from_static("a.test"))]);
        own.put(&mut map, |name| *name == FOR);
        assert_eq!((map.len(), &map[FOR]), (2, &HeaderValue::from_static("10.0.0.1")));
    }
}
