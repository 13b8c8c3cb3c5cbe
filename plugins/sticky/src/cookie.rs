//! The cookie around the signed value.

use sluicegate_sdk::ConfigError;

use crate::StickyConfig;

/// A cookie's name, and what follows its value.
#[derive(Clone)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    attributes: String,
}

impl Cookie {
    /// Refuses what clients would refuse, as they say nothing about it.
    pub(crate) fn new(config: &StickyConfig) -> Result<Self, ConfigError> {
        if let Some((key, message)) = wrong(config) {
            return Err(ConfigError::at(key, message));
        }
        let StickyConfig { name, path, max_age_s, http_only, secure, same_site, .. } = config;
        let seconds = max_age_s.map(|seconds| seconds.to_string()).unwrap_or_default();
        let attributes = [
            "; Path=",
            path,
            if seconds.is_empty() { "" } else { "; Max-Age=" },
            &seconds,
            if *http_only { "; HttpOnly" } else { "" },
            if *secure { "; Secure" } else { "" },
            "; SameSite=",
            same_site,
        ];
        Ok(Self { name: name.clone(), attributes: attributes.concat() })
    }

    /// What `set-cookie` says.
    pub(crate) fn with(&self, value: &str) -> String {
        [&self.name, "=", value, &self.attributes].concat()
    }
}

/// A key that is wrong, and what it has to be.
fn wrong(config: &StickyConfig) -> Option<(&'static str, &'static str)> {
    let StickyConfig { name, path, max_age_s, secure, same_site, .. } = config;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_token) {
        Some(("name", "has to be a cookie's name, of 64 characters at the most"))
    } else if !path.starts_with('/') || !path.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';') {
        Some(("path", "has to begin with `/`, and to be ASCII without `;`"))
    } else if *max_age_s == Some(0) {
        Some(("max_age_s", "0 would take the cookie away from every client"))
    } else if !["Strict", "Lax", "None"].contains(&same_site.as_str()) {
        Some(("same_site", "has to be \"Strict\", \"Lax\" or \"None\""))
    } else if same_site == "None" && !secure {
        Some(("same_site", "clients take \"None\" with `secure = true` only"))
    } else if (name.starts_with("__Secure-") || name.starts_with("__Host-")) && !secure {
        Some(("name", "clients take that prefix with `secure = true` only"))
    } else if name.starts_with("__Host-") && path != "/" {
        Some(("name", "clients take `__Host-` with `path = \"/\"` only"))
    } else {
        None
    }
}
