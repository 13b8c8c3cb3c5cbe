//! Another path for a request.

use bytes::Bytes;
use http::{Uri, uri::PathAndQuery};
use sluicegate_wire::path::{PathRules, normalize};

use super::{PathMatch, Pattern, Template};

/// How a path is made of another. The query stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// This takes the place of what the route's path matched: of a prefix, and what is behind it stays; of the whole
    /// path otherwise. A route for any path has an empty prefix. It begins with a slash.
    Matched(String),
    /// The template takes the place of the path, if the pattern matches all of it.
    Regex(Pattern, Template),
}

impl PathChange {
    /// The target in origin form that a request gets in place of this one; none when it stays as it is.
    #[inline(never)]
    pub(super) fn apply(&self, matched: &PathMatch, target: &Uri, rules: Option<&PathRules>) -> Changed {
        let path = target.path();
        if !path.starts_with('/') {
            // `OPTIONS *` asks for no path.
            return Changed::Same;
        }
        let mut new = match self {
            Self::Matched(new) => match matched {
                PathMatch::Any => joined(new, path),
                PathMatch::Prefix(prefix) => joined(new, path.get(prefix.len()..).unwrap_or_default()),
                PathMatch::Exact(_) | PathMatch::Regex(_) => new.clone(),
            },
            Self::Regex(pattern, template) => match pattern.expand(path, template) {
                Some(new) if new.starts_with('/') => new,
                Some(new) => format!("/{new}"),
                None => return Changed::Same,
            },
        };
        if new.contains(['?', '#']) {
            return Changed::Bad;
        }
        // Parts that are harmless by themselves may come together as dot segments.
        if let Some(rules) = rules {
            match normalize(&new, rules).map(|normal| normal.into_owned()) {
                Ok(normal) => new = normal,
                Err(_) => return Changed::Bad,
            }
        }
        if let Some(query) = target.query() {
            new.push('?');
            new.push_str(query);
        }
        PathAndQuery::from_maybe_shared(Bytes::from(new)).map_or(Changed::Bad, Changed::To)
    }
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changed {
    Same,
    To(PathAndQuery),
    /// To something that is no path.
    Bad,
}

/// A prefix and what is behind it, which is empty or begins with a slash.
fn joined(prefix: &str, rest: &str) -> String {
    match (prefix.trim_end_matches('/'), rest) {
        ("", "") => "/".to_owned(),
        // What was asked for in the folder itself.
        (_, "") => prefix.to_owned(),
        (prefix, rest) => format!("{prefix}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: &PathChange, matched: &PathMatch, target: &'static str, expected: Option<&str>) {
        let changed = change.apply(matched, &Uri::from_static(target), Some(&PathRules::default()));
        let expected = expected.map_or(Changed::Same, |text| Changed::To(text.parse().unwrap()));
        assert_eq!(changed, expected, "{target}");
    }

    #[test]
    fn a_prefix_is_replaced_and_the_rest_stays() {
        let prefix = PathMatch::Prefix("/api".into());
        let to = |path: &str| PathChange::Matched(path.into());
        check(&to("/v2"), &prefix, "/api/x?a=/b", Some("/v2/x?a=/b"));
        check(&to("/v2"), &prefix, "/api", Some("/v2"));
        check(&to("/v2/"), &prefix, "/api/", Some("/v2/"));
        check(&to("/v2/"), &prefix, "/api?q", Some("/v2/?q"));
        check(&to("/"), &prefix, "/api", Some("/"));
        check(&to("/"), &prefix, "/api/x", Some("/x"));
        check(&to("/v2"), &PathMatch::Any, "/x/y", Some("/v2/x/y"));
        check(&to("/v2"), &PathMatch::Exact("/api".into()), "/api?q", Some("/v2?q"));
        check(&to("/v2"), &PathMatch::Any, "*", None);
    }

    #[test]
    fn a_pattern_makes_another_path() {
        let change = |pattern: &str, template: &str| {
            let pattern = Pattern::new(pattern).unwrap();
            let template = Template::new(template, &pattern).unwrap();
            PathChange::Regex(pattern, template)
        };
        check(&change("/user/([^/]*)(/.*)?", "/u$2/$1"), &PathMatch::Any, "/user/7/x?q", Some("/u/x/7?q"));
        check(&change("/user/(.*)", "$1"), &PathMatch::Any, "/user/7", Some("/7"));
        check(&change("/user/(.*)", "$1"), &PathMatch::Any, "/users", None);
        // Nobody climbs out of a folder that the operator chose.
        check(&change("/v(.)(.)", "/in/$1$2/x"), &PathMatch::Any, "/v..", Some("/x"));
        let bad = change("/(.*)", "/a?$1").apply(&PathMatch::Any, &Uri::from_static("/x"), None);
        assert_eq!(bad, Changed::Bad);
    }
}
