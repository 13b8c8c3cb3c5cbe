//! What the policy under test is asked about: requests of a few hundred clients, and endpoints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hyper::{Request, header};
use sluicegate_core::{EndpointSpec, Rng, hash};
use sluicegate_policy::RequestHead;

/// How many clients there are. Not without end: a policy may remember each for a while, and that is no leak.
const CLIENTS: u32 = 500;

/// How many of the policy's own cookies are in use.
const COOKIES: usize = 8;

/// Those who send the requests. They keep the cookies that the policy gives them, as browsers do.
#[derive(Default)]
pub(crate) struct Clients {
    cookies: Vec<String>,
}

impl Clients {
    /// A request, with up to `body_prefix` bytes of its body, and the hash of what its route is keyed by.
    pub(crate) fn request(&self, rng: &mut Rng, body_prefix: u32) -> (RequestHead, u64) {
        let client = rng.below(CLIENTS);
        let method = if rng.below(4) == 0 { "POST" } else { "GET" };
        let target = format!("/users/{client}?page={}", rng.below(10));
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, "conformance.test");
        request = request.header("x-user", format!("user-{client}"));
        if let Some(cookie) = self.cookie(rng) {
            request = request.header(header::COOKIE, format!("theme=dark; {cookie}"));
        }
        // All of the above is valid: the default is never taken.
        let parts = request.body(()).unwrap_or_default().into_parts().0;
        let address = match client % 2 {
            0 => IpAddr::from(Ipv4Addr::new(10, 1, (client >> 8) as u8, client as u8)),
            _ => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, client as u16).into(),
        };
        let mut head = RequestHead::new(parts, address);
        let length = (body_prefix as usize).min(if method == "POST" { 2_000 } else { 0 });
        let body = format!("{{\"user\": {client}, \"prompt\": \"You are the assistant of team {}. ", client % 7);
        head.body_prefix = body.bytes().cycle().take(length).collect();
        // A route need not be keyed, and one key may be everybody's.
        let hash = match rng.below(4) {
            0 => 0,
            1 => 1 << 40,
            _ => hash(&client.to_le_bytes()),
        };
        (head, hash)
    }

    /// One of the policy's, or one that somebody has tampered with.
    fn cookie(&self, rng: &mut Rng) -> Option<String> {
        if self.cookies.is_empty() || rng.below(3) == 0 {
            return None;
        }
        let mut cookie = self.cookies[rng.below(self.cookies.len() as u32) as usize].clone();
        if rng.below(8) == 0 {
            cookie.push('x');
        }
        Some(cookie)
    }

    /// Takes in an answer's headers.
    pub(crate) fn answered(&mut self, headers: &[(header::HeaderName, header::HeaderValue)]) {
        let cookies = headers.iter().filter(|(name, _)| *name == header::SET_COOKIE);
        for cookie in cookies.filter_map(|(_, value)| value.to_str().ok()?.split(';').next()) {
            if self.cookies.len() == COOKIES {
                self.cookies.remove(0);
            }
            self.cookies.push(cookie.to_owned());
        }
    }
}

/// So many endpoints, from the one with this number on: of several weights, in two zones and in none, some labelled.
pub(crate) fn endpoints(first: u32, count: u32) -> Vec<EndpointSpec> {
    (first..first + count).map(endpoint).collect()
}

fn endpoint(number: u32) -> EndpointSpec {
    // 10.0.0.0/8 has room for 16 million.
    let [_, high, middle, low] = number.to_be_bytes();
    let mut spec = EndpointSpec::new(SocketAddr::from(([10, high, middle, low], 8080)));
    spec.weight = number % 5 + 1;
    spec.zone = ["", "a", "b"][number as usize % 3].into();
    if number.is_multiple_of(4) {
        spec.labels.insert("version".into(), format!("v{}", number % 3));
    }
    spec
}
