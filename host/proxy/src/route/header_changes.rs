//! What a route changes in headers.

use http::{HeaderMap, HeaderName, HeaderValue};

/// What goes, then what is put in place of what was there, then what is added to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Names that go.
    pub remove: Vec<HeaderName>,
    /// Names that have this value only.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Lines that come behind what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderChanges {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    #[inline(never)]
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_then_set_then_added() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let lines = |lines: &[(&'static str, &'static str)]| {
            lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
        };
        let changes = HeaderChanges {
            remove: vec![HeaderName::from_static("b"), HeaderName::from_static("none")],
            set: lines(&[("a", "3"), ("d", "1")]),
            add: lines(&[("a", "4"), ("b", "2")]),
        };
        changes.apply(&mut headers);
        let all = |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!([all("a"), all("b"), all("c"), all("d")], [vec!["3", "4"], vec!["2"], vec!["1"], vec!["1"]]);
        assert!(!changes.is_empty() && HeaderChanges::default().is_empty());
    }
}
