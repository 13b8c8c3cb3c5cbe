//! Regular expressions that match a whole text, and texts made of what they matched.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use regex::bytes::{Regex, RegexBuilder};

/// What a compiled expression may take, and what a worker may keep to run it. What people write for paths takes some
/// kilobytes; more is a repetition within a repetition.
const MAX_BYTES: usize = 256 << 10;

/// A regular expression for a whole text, in ASCII. It takes linear time, whatever the text.
///
/// A clone has working memory of its own, so that workers which have a clone each never wait for another.
#[derive(Clone)]
pub struct Pattern {
    text: Box<str>,
    regex: Regex,
}

/// Why something is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// Not a regular expression.
    #[error("is not a regular expression: {0}")]
    Syntax(String),
    /// It would take too much memory.
    #[error("takes more than {} KiB when it is compiled: repeat less", MAX_BYTES >> 10)]
    TooLarge,
}

/// A text with places for what groups of a pattern matched: `$1`, `${1}` or `${name}`, and `$$` for a dollar sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

/// Why something is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// A dollar sign that begins nothing.
    #[error("has a '$' that is not followed by a number, a name in braces or another '$'")]
    Dollar,
    /// The pattern has no such group.
    #[error("names the group {0:?}, which the regular expression does not have")]
    Group(String),
}

impl Pattern {
    /// Compiles an expression. It need not be anchored.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        let compile =
            |text: &str| RegexBuilder::new(text).unicode(false).size_limit(MAX_BYTES).dfa_size_limit(MAX_BYTES).build();
        // By itself first: what is around it must not make sense of brackets that do not match.
        let regex = compile(text).and_then(|_| compile(&format!(r"\A(?:{text})\z")));
        match regex {
            Ok(regex) => Ok(Self { text: text.into(), regex }),
            Err(regex::Error::CompiledTooBig(_)) => Err(BadPattern::TooLarge),
            Err(error) => {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                Err(BadPattern::Syntax(last.strip_prefix("error: ").unwrap_or(last).to_owned()))
            }
        }
    }

    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// What the template comes to for a text; none if that does not match.
    pub(crate) fn expand(&self, text: &str, template: &Template) -> Option<String> {
        let groups = self.regex.captures(text.as_bytes())?;
        let mut expanded = String::new();
        for part in &template.0 {
            match part {
                Part::Text(text) => expanded.push_str(text),
                // A group may have matched nothing. It can't end within a character: neither can the text's parts.
                Part::Group(group) => {
                    expanded.push_str(groups.get(*group).and_then(|group| text.get(group.range())).unwrap_or_default());
                }
            }
        }
        Some(expanded)
    }
}

impl Template {
    /// Reads a template for what this pattern matches.
    pub fn new(text: &str, pattern: &Pattern) -> Result<Self, BadTemplate> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            parts.push(Part::Text(before.to_owned()));
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let (name, after) = if let Some(after) = after.strip_prefix('$') {
                parts.push(Part::Text("$".to_owned()));
                rest = after;
                continue;
            } else if let Some(braced) = after.strip_prefix('{') {
                braced.split_once('}').ok_or(BadTemplate::Dollar)?
            } else if digits > 0 {
                after.split_at(digits)
            } else {
                return Err(BadTemplate::Dollar);
            };
            let group = match name.parse() {
                Ok(number) => Some(number).filter(|number| *number < pattern.regex.captures_len()),
                Err(_) => pattern.regex.capture_names().position(|known| known == Some(name)),
            };
            parts.push(Part::Group(group.ok_or_else(|| BadTemplate::Group(name.to_owned()))?));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_text() {
        let pattern = Pattern::new("/v[0-9]+|/w").unwrap();
        for (text, expected) in [("/v1", true), ("/v12", true), ("/w", true), ("/v1/", false), ("x/w", false)] {
            assert_eq!(pattern.matches(text.as_bytes()), expected, "{text}");
        }
        assert!(!Pattern::new("/a$").unwrap().matches(b"/a\n"));
        assert_eq!(Pattern::new("a)|(?:b").unwrap_err(), BadPattern::Syntax("unopened group".into()));
        assert_eq!(Pattern::new("(a").unwrap_err(), BadPattern::Syntax("unclosed group".into()));
        assert_eq!(Pattern::new("((a{1,100}){1,100}){1,100}").unwrap_err(), BadPattern::TooLarge);
    }

    #[test]
    fn a_template_is_filled_with_groups() {
        let pattern = Pattern::new("/(?<kind>[a-z]+)/([0-9]+)(/.*)?").unwrap();
        let check = |template: &str, path: &str, expected: Option<&str>| {
            let template = Template::new(template, &pattern).unwrap();
            assert_eq!(pattern.expand(path, &template).as_deref(), expected, "{path}");
        };
        check("/$2/${kind}$3", "/cats/12/x", Some("/12/cats/x"));
        check("/${2}0$$1", "/cats/12", Some("/120$1"));
        check("/$1", "/cats", None);
        let bad = |template: &str| Template::new(template, &pattern).unwrap_err();
        for dollar in ["$", "a$b", "${kind", "$-1"] {
            assert_eq!(bad(dollar), BadTemplate::Dollar, "{dollar}");
        }
        for (template, name) in
            [("$4", "4"), ("${size}", "size"), ("${}", ""), ("$99999999999999999999", "99999999999999999999")]
        {
            assert_eq!(bad(template), BadTemplate::Group(name.into()));
        }
    }
}
