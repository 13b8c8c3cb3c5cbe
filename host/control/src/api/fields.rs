//! A JSON object's fields, with errors that say which one is wrong.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use sluicegate_admin::Problem;

pub(super) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// An object with no other fields than these.
    pub(super) fn new(value: &'a Value, known: &[&[&str]]) -> Result<Self, Problem> {
        let Value::Object(fields) = value else {
            return Err(Problem::bad_request(format!("{value} must be an object")));
        };
        let known = known.concat();
        match fields.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) if known.is_empty() => {
                Err(Problem::bad_request(format!("`{key}` is not known here: the body must be empty, or {{}}")))
            }
            Some(key) => {
                Err(Problem::bad_request(format!("`{key}` is not known here; these are: {}", known.join(", "))))
            }
            None => Ok(Self(fields)),
        }
    }

    fn get<T>(&self, key: &str, should: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>, Problem> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(Problem::bad_request(format!("`{key}` must be {should}, not {value}"))),
            },
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, Problem> {
        self.get(key, "a string", Value::as_str)
    }

    pub(super) fn number(&self, key: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, Problem> {
        let should = format!("a number from {} to {}", range.start(), range.end());
        self.get(key, &should, |value| value.as_f64().filter(|number| range.contains(number)))
    }

    pub(super) fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let should = format!("an integer from {} to {}", range.start(), range.end());
        self.get(key, &should, |value| value.as_u64().filter(|number| range.contains(number)))
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<Value>, Problem> {
        self.get(key, "an object", |value| value.is_object().then(|| value.clone()))
    }

    pub(super) fn array(&self, key: &str, max: usize) -> Result<Option<&'a Vec<Value>>, Problem> {
        let should = format!("a list of at most {max}");
        self.get(key, &should, |value| value.as_array().filter(|array| array.len() <= max))
    }
}
