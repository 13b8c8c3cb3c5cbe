//! The cookie around the signed value.

use serde::Deserialize;
use sluicegate_sdk::ConfigError;

use crate::StickyConfig;

/// Whether a cookie comes with requests from other sites ("Cookies: HTTP State Management Mechanism",
/// draft-ietf-httpbis-rfc6265bis, section 5.6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// With none.
    Strict,
    /// With links that are followed.
    #[default]
    Lax,
    /// With all, if the cookie is `secure`.
    None,
}

/// A cookie's name, and what follows its value.
#[derive(Clone)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    attributes: String,
}

impl Cookie {
    /// Refuses what clients would refuse, as they say nothing about it.
    pub(crate) fn new(config: &StickyConfig) -> Result<Self, ConfigError> {
        let StickyConfig { name, path, max_age_s, http_only, secure, same_site, .. } = config;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_token) {
            return Err(ConfigError::at("name", "has to be a cookie's name, of 64 characters at the most"));
        }
        if !path.starts_with('/') || !path.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';') {
            return Err(ConfigError::at("path", "has to begin with `/`, and to be ASCII without `;`"));
        }
        if *max_age_s == Some(0) {
            return Err(ConfigError::at("max_age_s", "0 would take the cookie away from every client"));
        }
        if *same_site == SameSite::None && !secure {
            return Err(ConfigError::at("same_site", "clients take \"none\" with `secure = true` only"));
        }
        if (name.starts_with("__Secure-") || name.starts_with("__Host-")) && !secure {
            return Err(ConfigError::at("name", "clients take that prefix with `secure = true` only"));
        }
        if name.starts_with("__Host-") && path != "/" {
            return Err(ConfigError::at("name", "clients take `__Host-` with `path = \"/\"` only"));
        }
        let mut attributes = ["; Path=", path].concat();
        if let Some(seconds) = max_age_s {
            attributes += "; Max-Age=";
            attributes += &seconds.to_string();
        }
        attributes += if *http_only { "; HttpOnly" } else { "" };
        attributes += if *secure { "; Secure" } else { "" };
        attributes += match same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        };
        Ok(Self { name: name.clone(), attributes })
    }

    /// What `set-cookie` says.
    pub(crate) fn with(&self, value: &str) -> String {
        [&self.name, "=", value, &self.attributes].concat()
    }
}
