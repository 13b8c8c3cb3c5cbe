//! From the operator's words to a policy's configuration.
//!
//! A misspelt key must not be taken for a default, so unknown keys are refused whatever attributes the author put
//! on the type. The deserializer in here stands between JSON and the author's type: it knows where it is, for the
//! error's path, and which keys a struct has, for the error's help.

mod json;
mod read;
mod wrong;

use serde::de::DeserializeOwned;

use self::{json::Json, wrong::Wrong};
use crate::ConfigError;

/// Reads a configuration from JSON. Errors name the key, and what was expected there.
pub(crate) fn parse<C: DeserializeOwned>(text: &str) -> Result<C, ConfigError> {
    read(text.as_bytes()).map_err(ConfigError::new)
}

/// Reads anything from JSON, as strictly. Everything comes by here, so that a plugin carries this code once.
pub(crate) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let json = Json::parse(text)?;
    T::deserialize(&json).map_err(|wrong: Wrong| match wrong.path.as_str() {
        "" => wrong.message,
        path => ConfigError::at(path, wrong.message).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Config {
        #[serde(default = "two", alias = "draws")]
        choices: u32,
        #[serde(default)]
        zones: Vec<Zone>,
        #[serde(default)]
        shares: BTreeMap<u32, f64>,
        mode: Option<Mode>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Zone {
        name: String,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    enum Mode {
        Plain,
        PreferZone { name: String },
    }

    fn two() -> u32 {
        2
    }

    fn check_refused(json: &str, expected: &str) {
        assert_eq!(parse::<Config>(json).unwrap_err().to_string(), expected, "{json}");
    }

    #[test]
    fn what_is_right_is_read() {
        let plain = Config { choices: 2, zones: vec![], shares: BTreeMap::new(), mode: None };
        assert_eq!(parse::<Config>("{}").unwrap(), plain);
        let json = r#"{"draws": 3, "zones": [{"name": "a"}], "shares": {"7": 0.5}, "mode": "plain"}"#;
        let full = Config {
            choices: 3,
            zones: vec![Zone { name: "a".into() }],
            shares: BTreeMap::from([(7, 0.5)]),
            mode: Some(Mode::Plain),
        };
        assert_eq!(parse::<Config>(json).unwrap(), full);
        let prefer = parse::<Config>(r#"{"mode": {"prefer-zone": {"name": "b"}}}"#).unwrap().mode;
        assert_eq!(prefer, Some(Mode::PreferZone { name: "b".into() }));
    }

    #[test]
    fn what_is_wrong_is_named() {
        check_refused(
            r#"{"choice": 3}"#,
            "unknown key `choice`: expected one of `choices`, `draws`, `zones`, `shares`, `mode`",
        );
        check_refused(r#"{"choices": "two"}"#, "`choices`: expected u32, found \"two\"");
        check_refused(r#"{"choices": -1}"#, "`choices`: expected u32, found -1");
        check_refused(r#"{"zones": [{"name": "a"}, {}]}"#, "`zones.1`: missing field `name`");
        check_refused(r#"{"zones": [{"nam": "a"}]}"#, "`zones.0`: unknown key `nam`: the only one is `name`");
        check_refused(r#"{"shares": {"7": true}}"#, "`shares.7`: expected f64, found `true`");
        check_refused(r#"{"mode": "odd"}"#, "`mode`: unknown variant `odd`, expected `plain` or `prefer-zone`");
        check_refused(
            r#"{"mode": {"prefer-zone": {"zone": "b"}}}"#,
            "`mode.prefer-zone`: unknown key `zone`: the only one is `name`",
        );
        check_refused("[]", "expected struct Config, found an array");
        check_refused("{} {}", "invalid JSON, byte 3: more than one value");
        let nothing = parse::<crate::NoConfig>(r#"{"a": 1}"#).unwrap_err().to_string();
        assert_eq!(nothing, "unknown key `a`: there is nothing to configure here");
    }
}
