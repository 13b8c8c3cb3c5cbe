//! The file as a tree of values that know their place, and the few ways of reading one.
//!
//! serde would stop at the first mistake. Here a value that is not what it should be leaves an error in the [`Sink`]
//! and the reading goes on: `None` always means that the error has been reported.

use std::{cell::RefCell, fmt::Display, ops::RangeInclusive, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::errors::{ConfigError, ConfigErrors, known_names};

// A person mends a few mistakes and looks again; a generated file may have the same one ten thousand times.
const MAX_ERRORS: usize = 100;

/// The longest text that a value may have: names travel in every metric and log line.
pub(super) const MAX_TEXT: usize = 1024;

/// Where errors gather.
pub(super) struct Sink<'a> {
    file: &'a Path,
    text: &'a str,
    // Offset, key and message.
    errors: RefCell<Vec<(usize, String, String)>>,
}

/// A value and its place.
#[derive(Clone)]
pub(super) struct Node<'a> {
    value: &'a DeValue<'a>,
    offset: usize,
    key: String,
    sink: &'a Sink<'a>,
}

/// A table with a fixed set of keys.
pub(super) struct Table<'a> {
    /// The table as a value, for errors that are about all of it.
    pub(super) node: Node<'a>,
    entries: &'a DeTable<'a>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, errors: RefCell::default() }
    }

    pub(super) fn error(&self, offset: usize, key: impl Into<String>, message: impl Display) {
        self.errors.borrow_mut().push((offset, key.into(), message.to_string()));
    }

    pub(super) fn finish(self) -> ConfigErrors {
        let mut found = self.errors.into_inner();
        found.sort();
        let more = found.len().saturating_sub(MAX_ERRORS);
        let errors = found.into_iter().take(MAX_ERRORS).map(|(offset, key, message)| {
            let before = self.text.get(..offset).unwrap_or(self.text);
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|char| *char != '\n').count() + 1;
            ConfigError { file: self.file.into(), place: Some((line, column)), key, message }
        });
        ConfigErrors::new(errors.collect(), more)
    }
}

impl<'a> Node<'a> {
    /// Reports what is wrong with this value. Always `None`, to be returned.
    pub(super) fn error<T>(&self, message: impl Display) -> Option<T> {
        self.sink.error(self.offset, &*self.key, message);
        None
    }

    /// Reports that this value is something else than it `should` be.
    pub(super) fn mismatch<T>(&self, should: impl Display) -> Option<T> {
        let found = match self.value {
            DeValue::String(text) if text.len() <= 100 => format!("{text:?}"),
            DeValue::String(_) => "a long string".into(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) => "a date".into(),
            DeValue::Array(_) => "an array".into(),
            DeValue::Table(_) => "a table".into(),
        };
        self.error(format_args!("must be {should}, not {found}"))
    }

    /// The path to this value.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn is_string(&self) -> bool {
        self.value.is_str()
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(super) fn is_array(&self) -> bool {
        self.value.is_array()
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        self.value.as_bool()
    }

    /// Text without control characters, not empty and not too long; `should` says what it is for an error.
    pub(super) fn text(&self, should: &str) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) if text.is_empty() => self.error(format_args!("must be {should}, not empty")),
            DeValue::String(text) if text.len() > MAX_TEXT => {
                self.error(format_args!("must not be longer than {MAX_TEXT} bytes"))
            }
            DeValue::String(text) if text.contains(char::is_control) => {
                self.error("must not contain control characters")
            }
            DeValue::String(text) => Some(text),
            _ => self.mismatch(should),
        }
    }

    /// Any text of at most `max` bytes.
    pub(super) fn long_text(&self, max: usize) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) if text.len() > max => {
                self.error(format_args!("must not be longer than {max} bytes; it has {}", text.len()))
            }
            DeValue::String(text) => Some(text),
            _ => self.mismatch("a text"),
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.as_bool().or_else(|| self.mismatch("true or false"))
    }

    pub(super) fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let (least, most) = range.clone().into_inner();
        let DeValue::Integer(number) = self.value else {
            return self.mismatch(format_args!("a whole number from {least} to {most}"));
        };
        let value = u32::from_str_radix(number.as_str(), number.radix()).ok();
        value.filter(|value| range.contains(value)).or_else(|| self.mismatch(format_args!("from {least} to {most}")))
    }

    /// A number that need not be whole.
    pub(super) fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let text = match self.value {
            DeValue::Integer(number) => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => "",
        };
        let value = text.parse().ok().filter(|value| range.contains(value));
        value.or_else(|| self.mismatch(format_args!("a number from {} to {}", range.start(), range.end())))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let words = || choices.iter().map(|(word, _)| *word);
        let should = || words().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or ");
        let DeValue::String(text) = self.value else {
            return self.mismatch(should());
        };
        let found = choices.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
        found.or_else(|| self.mismatch(should()))
    }

    /// The elements of an array that has at most `max`.
    pub(super) fn array(&self, max: usize, should: &str) -> Option<Vec<Node<'a>>> {
        let DeValue::Array(elements) = self.value else {
            return self.mismatch(should);
        };
        if elements.len() > max {
            return self.error(format_args!("must not have more than {max} elements; it has {}", elements.len()));
        }
        let elements = elements.iter().enumerate();
        Some(elements.map(|(index, element)| self.child(element, format!("{}[{index}]", self.key))).collect())
    }

    /// The entries of a table whose keys are the operator's; at most `max`.
    pub(super) fn entries(&self, max: usize, should: &str) -> Option<Vec<(&'a str, Node<'a>)>> {
        let DeValue::Table(entries) = self.value else {
            return self.mismatch(should);
        };
        if entries.len() > max {
            return self.error(format_args!("must not have more than {max} entries; it has {}", entries.len()));
        }
        let entries = entries.iter();
        Some(
            entries.map(|(key, value)| (&**key.get_ref(), self.child(value, join(&self.key, key.get_ref())))).collect(),
        )
    }

    /// A table with no other keys than `known`.
    pub(super) fn table(&self, known: &'static [&'static str], should: &str) -> Option<Table<'a>> {
        match self.value {
            DeValue::Table(entries) => Some(Table::new(entries, self.clone(), known)),
            _ => self.mismatch(should),
        }
    }

    /// The table as JSON, with dates as strings.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        Some(match self.value {
            DeValue::String(text) => (&**text).into(),
            DeValue::Boolean(value) => (*value).into(),
            DeValue::Datetime(date) => date.to_string().into(),
            DeValue::Integer(number) => {
                let (digits, radix) = (number.as_str(), number.radix());
                let signed = i64::from_str_radix(digits, radix).map(serde_json::Value::from);
                let value = signed.or_else(|_| u64::from_str_radix(digits, radix).map(serde_json::Value::from));
                return value.ok().or_else(|| self.error("does not fit into 64 bits"));
            }
            DeValue::Float(number) => {
                let value = number.as_str().parse().ok().and_then(serde_json::Number::from_f64);
                return value.map(Into::into).or_else(|| self.mismatch("a finite number, as JSON knows no other"));
            }
            // Every part is read, so that all errors are found, before a missing one counts.
            DeValue::Array(_) => {
                let parts: Vec<_> = self.array(usize::MAX, "an array")?.iter().map(Node::json).collect();
                parts.into_iter().collect::<Option<_>>()?
            }
            DeValue::Table(_) => {
                let parts = self.entries(usize::MAX, "a table")?;
                let parts: Vec<_> = parts.iter().map(|(key, node)| Some(((*key).to_owned(), node.json()?))).collect();
                serde_json::Value::Object(parts.into_iter().collect::<Option<_>>()?)
            }
        })
    }

    fn child(&self, value: &'a Spanned<DeValue<'a>>, key: String) -> Self {
        Self { value: value.get_ref(), offset: value.span().start, key, sink: self.sink }
    }
}

impl<'a> Table<'a> {
    /// The whole document.
    pub(super) fn root(document: &'a DeValue<'a>, sink: &'a Sink<'a>, known: &'static [&'static str]) -> Option<Self> {
        Node { value: document, offset: 0, key: String::new(), sink }.table(known, "a table")
    }

    fn new(entries: &'a DeTable<'a>, node: Node<'a>, known: &'static [&'static str]) -> Self {
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&&**key.get_ref())) {
            let message = format!("unknown key{}", known_names(key.get_ref(), "known keys", known.iter().copied()));
            node.sink.error(key.span().start, join(&node.key, key.get_ref()), message);
        }
        Self { node, entries }
    }

    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        self.entries.get(key).map(|value| self.node.child(value, join(&self.node.key, key)))
    }

    /// What `read` makes of the value, or `default` when there is none. After an error the default stands in, so that
    /// the reading goes on.
    pub(super) fn or<T>(&self, key: &str, default: T, read: impl FnOnce(&Node<'a>) -> Option<T>) -> T {
        self.get(key).and_then(|node| read(&node)).unwrap_or(default)
    }

    /// What `read` makes of a value that must be there; `help` says what to add when it is not.
    pub(super) fn required<T>(&self, key: &str, help: &str, read: impl FnOnce(&Node<'a>) -> Option<T>) -> Option<T> {
        match self.get(key) {
            Some(node) => read(&node),
            None => {
                self.node.sink.error(self.node.offset, join(&self.node.key, key), format_args!("is missing: {help}"));
                None
            }
        }
    }
}

/// The path to `key` in the table at `path`.
fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
