//! What is wrong with a configuration.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

/// What is wrong, and where.
///
/// An error type of our own, because serde's ready-made messages bring all of float formatting into every plugin.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) path: String,
    pub(super) message: String,
}

impl Wrong {
    /// Errors are made inside and gain their path on the way out.
    pub(super) fn under(mut self, key: &str) -> Self {
        self.path = if self.path.is_empty() { key.into() } else { [key, &self.path].join(".") };
        self
    }
}

impl Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { path: String::new(), message: message.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(value) => format!("`{value}`"),
            Unexpected::Unsigned(value) => value.to_string(),
            Unexpected::Signed(value) => value.to_string(),
            Unexpected::Float(_) => "a number with a fraction".into(),
            Unexpected::Str(value) => format!("\"{value}\""),
            Unexpected::Unit => "null".into(),
            Unexpected::Seq => "an array".into(),
            Unexpected::Map => "an object".into(),
            _ => "something else".into(),
        };
        Self::custom(format_args!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Wrong {}
