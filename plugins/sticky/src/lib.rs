//! Sticky sessions: a client stays at its endpoint, by a cookie that the policy makes and signs.
//!
//! This is what HAProxy calls `cookie ... insert` and Envoy and gRPC "stateful session affinity" (gRPC proposal A55): the
//! first answer sets a cookie (RFC 6265, section 4.1) that names the endpoint, and requests that bring it go there. They
//! put the endpoint's address into the cookie, or a name that everybody may write into it. Here it is
//!
//! ```text
//! name | tag     with name = the first 64 bits of PRF(key, 0, id)
//!                and  tag  = PRF(key, 1, the cookie's name, name)
//! ```
//!
//! as 48 hexadecimal digits, where the `PRF` is SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, "SipHash: a fast
//! short-input PRF", INDOCRYPT 2012, section 2.1; its longer output is the authors' reference implementation's), which
//! was made to authenticate short messages. So nobody who does not have the key can tell which endpoint a cookie names, or
//! make one that names an endpoint of their choice: they can keep what they were given. All workers and all proxies with
//! the key make the same cookies and follow each other's, also after a restart.
//!
//! A request without a cookie that is any good goes to the less loaded of two endpoints drawn at random, and its answer
//! brings a new cookie. So does a retry, when the cookie's endpoint could not be reached.
//!
//! The contract has no clock that means anything outside of the proxy's process. So it is the client who forgets a
//! cookie, after `max_age_s`; what ends all cookies is another key.

mod cookie;
mod signer;

use serde::Deserialize;
use sluicegate_sdk::{ConfigError, Counter, Endpoint, Endpoints, Pick, Policy, Request, Rng, Setup, export};

use self::{
    cookie::Cookie,
    signer::{Named, Signer},
};

/// What can be configured. It can't be printed, because of the keys.
#[derive(Clone, Deserialize)]
pub struct StickyConfig {
    /// What cookies are signed with: 32 hexadecimal digits, as `openssl rand -hex 16` makes them.
    key: String,
    /// The key before this one: cookies that it has signed are followed, and replaced.
    previous_key: Option<String>,
    /// The cookie's name.
    #[serde(default = "sluicegate")]
    name: String,
    /// The paths that clients send it with.
    #[serde(default = "root")]
    path: String,
    /// After how many seconds a client forgets it; when it is closed, if nothing is said.
    max_age_s: Option<u32>,
    /// Whether scripts in pages can't read it.
    #[serde(default = "yes")]
    http_only: bool,
    /// Whether clients send it over TLS only.
    #[serde(default)]
    secure: bool,
    /// Whether clients send it with requests from other sites ("Cookies: HTTP State Management Mechanism",
    /// draft-ietf-httpbis-rfc6265bis, section 5.6.7): never ("Strict"), with links that are followed ("Lax"), or with all
    /// of them ("None").
    #[serde(default = "lax")]
    same_site: String,
}

fn sluicegate() -> String {
    "sluicegate".into()
}

fn root() -> String {
    "/".into()
}

fn lax() -> String {
    "Lax".into()
}

fn yes() -> bool {
    true
}

/// The policy.
#[derive(Clone)]
pub struct Sticky {
    cookie: Cookie,
    // The one that signs first.
    signers: Vec<Signer>,
    rng: Rng,
    hits: Counter,
    misses: Counter,
    gone: Counter,
    forged: Counter,
}

impl Policy for Sticky {
    type Config = StickyConfig;

    fn new(config: StickyConfig, setup: Setup) -> Result<Self, ConfigError> {
        let cookie = Cookie::new(&config)?;
        let mut signers = vec![Signer::new("key", &config.key, &config.name)?];
        if let Some(previous) = &config.previous_key {
            signers.push(Signer::new("previous_key", previous, &config.name)?);
        }
        let [hits, misses, gone, forged] = ["hits", "misses", "gone", "forged"].map(|name| setup.counter(name));
        Ok(Self { cookie, signers, rng: Rng::new(setup.seed), hits, misses, gone, forged })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        self.signers.iter_mut().for_each(|signer| signer.follow(endpoints));
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        let named = request.cookie(&self.cookie.name).map(|value| self.named(&value));
        if request.attempt() == 0 {
            self.count(named);
        }
        if let Some((Named::Endpoint(index), is_current)) = named
            && !request.is_tried(index)
        {
            if !is_current && let Some(endpoint) = endpoints.get(index) {
                self.give(request, &endpoint);
            }
            return Pick::index(index);
        }
        let new = endpoints.least_of(&mut self.rng, 2, Endpoint::load);
        if let Some(new) = &new {
            self.give(request, new);
        }
        new.into()
    }
}

impl Sticky {
    /// What a cookie's value names, and whether the current key has signed it.
    fn named(&self, value: &str) -> (Named, bool) {
        let mut read = self.signers.iter().map(|signer| signer.read(value)).zip([true, false]);
        read.find(|(named, _)| *named != Named::Forged).unwrap_or((Named::Forged, false))
    }

    fn count(&self, named: Option<(Named, bool)>) {
        let counter = match named {
            None => &self.misses,
            Some((Named::Endpoint(_), _)) => &self.hits,
            Some((Named::Gone, _)) => &self.gone,
            Some((Named::Forged, _)) => &self.forged,
        };
        counter.add(1);
    }

    fn give(&self, request: &Request, endpoint: &Endpoint) {
        let value = self.signers[0].value(endpoint.id());
        request.reply().set_response_header("set-cookie", &self.cookie.with(&value));
    }
}

export!(Sticky);

#[cfg(test)]
mod tests;
