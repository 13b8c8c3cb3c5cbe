use sluicegate_sdk::{
    Setup, Signal,
    harness::{Harness, SimCluster, SimEndpoint, SimRequest, check_promises},
};

use crate::Sticky;

const KEY: &str = r#"{"key": "000102030405060708090a0b0c0d0e0f"}"#;
const OTHER: &str = r#"{"key": "f0e0d0c0b0a090807060504030201000"}"#;

fn harness(config: &str) -> Harness<Sticky> {
    Harness::new(config, SimCluster::of(20)).unwrap()
}

/// The whole header that the last pick has set, if it has.
fn given(harness: &Harness<Sticky>) -> Option<String> {
    let headers = &harness.reply().response_headers;
    assert!(headers.len() <= 1 && headers.iter().all(|(name, _)| name == "set-cookie"), "{headers:?}");
    headers.first().map(|(_, value)| value.clone())
}

fn value(harness: &Harness<Sticky>) -> Option<String> {
    given(harness).map(|cookie| cookie.split(['=', ';']).nth(1).unwrap().to_owned())
}

fn with(cookie: &str) -> SimRequest {
    SimRequest::get("/").cookie("sluicegate", cookie)
}

/// Hits, misses, endpoints that were gone, forgeries.
fn counted(harness: &Harness<Sticky>) -> [u64; 4] {
    ["hits", "misses", "gone", "forged"].map(|name| harness.world().counter(name).unwrap())
}

#[test]
fn promises() {
    check_promises::<Sticky>(KEY);
}

#[test]
fn a_client_stays_where_it_was() {
    let mut harness = harness(KEY);
    for number in 1..=50 {
        let first = harness.pick();
        let cookie = value(&harness).unwrap();
        assert_eq!(harness.pick_for(&with(&cookie)), first);
        assert_eq!(given(&harness), None, "it has its cookie already");
        assert_eq!(counted(&harness), [number, number, 0, 0]);
    }
}

#[test]
fn who_comes_new_goes_to_the_less_loaded_of_two() {
    let mut harness = Harness::<Sticky>::new(KEY, SimCluster::of(2)).unwrap();
    harness.set(0, Signal::InFlight, 3);
    assert!((0..20).all(|_| harness.pick() == Some(1)));
    let busy = with(&harness.policy().signers[0].value(harness.cluster()[0].id()));
    assert_eq!(harness.pick_for(&busy), Some(0), "who has been there stays all the same");
}

/// The same in every release, or clients would move with each one.
#[test]
fn the_whole_cookie() {
    let cluster = SimCluster::from([SimEndpoint::new("10.0.0.1:80")]);
    let give = |config: &str| {
        let mut harness = Harness::<Sticky>::new(config, cluster.clone()).unwrap();
        harness.pick();
        given(&harness).unwrap()
    };
    assert_eq!(
        give(KEY),
        "sluicegate=b3372cd670c313bce82ed52b983d57a647f071016b49d721; Path=/; HttpOnly; SameSite=Lax"
    );
    let all = r#"{"key": "000102030405060708090a0b0c0d0e0f", "name": "__Secure-at", "path": "/shop", "max_age_s": 3600,
        "http_only": false, "secure": true, "same_site": "None"}"#;
    let cookie = give(all);
    assert!(cookie.starts_with("__Secure-at="), "{cookie}");
    assert!(cookie.ends_with("; Path=/shop; Max-Age=3600; Secure; SameSite=None"), "{cookie}");
}

#[test]
fn what_was_tampered_with_is_not_followed() {
    let mut harness = harness(KEY);
    harness.pick();
    let cookie = value(&harness).unwrap();
    for place in 0..cookie.len() {
        let digit = if cookie.as_bytes()[place] == b'0' { "1" } else { "0" };
        let forged = [&cookie[..place], digit, &cookie[place + 1..]].concat();
        harness.pick_for(&with(&forged));
        assert!(value(&harness).is_some_and(|new| new != forged), "{forged}");
        assert_eq!(counted(&harness), [0, 1, 0, place as u64 + 1]);
    }
    for nonsense in ["", "x", &cookie[1..], &format!("{cookie}0"), &"\u{e4}".repeat(24)] {
        harness.pick_for(&with(nonsense));
        assert!(value(&harness).is_some(), "{nonsense}");
    }
    assert_eq!(counted(&harness), [0, 1, 0, 48 + 5]);
}

/// A name and its tag belong together, and to this cookie: what is right elsewhere is forged here.
#[test]
fn pieces_of_other_cookies_are_of_no_use() {
    let mut one = harness(KEY);
    let values: Vec<String> =
        one.cluster().iter().map(|endpoint| one.policy().signers[0].value(endpoint.id())).collect();
    one.pick_for(&with(&[&values[0][..16], &values[1][16..]].concat()));
    assert_eq!(counted(&one), [0, 0, 0, 1]);
    let renamed = r#"{"key": "000102030405060708090a0b0c0d0e0f", "name": "other"}"#;
    let mut other = harness(renamed);
    other.pick_for(&SimRequest::get("/").cookie("other", &values[0]));
    assert_eq!(counted(&other), [0, 0, 0, 1]);
    let mut stranger = harness(OTHER);
    stranger.pick_for(&with(&values[0]));
    assert_eq!(counted(&stranger), [0, 0, 0, 1]);
}

#[test]
fn a_name_tells_nothing() {
    let harness = harness(KEY);
    for endpoint in harness.cluster().iter() {
        let value = harness.policy().signers[0].value(endpoint.id());
        assert!(!value.contains(&format!("{:016x}", endpoint.id())), "{value}");
    }
}

#[test]
fn a_client_whose_endpoint_is_gone_moves_and_stays_there() {
    let mut harness = harness(KEY);
    let first = harness.pick().unwrap();
    let cookie = value(&harness).unwrap();
    let gone = harness.cluster()[first as usize].clone();
    harness.change(|cluster| drop(cluster.remove(first as usize)));
    let second = harness.pick_for(&with(&cookie));
    let new = value(&harness).unwrap();
    assert_ne!(new, cookie);
    assert_eq!(counted(&harness), [0, 1, 1, 0]);
    assert_eq!(harness.pick_for(&with(&new)), second);
    // It comes back, and those who still have its cookie find it.
    harness.change(|cluster| cluster.push(gone));
    assert_eq!(harness.pick_for(&with(&cookie)), Some(19));
}

#[test]
fn a_retry_goes_elsewhere_with_a_new_cookie() {
    let mut harness = harness(KEY);
    let first = harness.pick().unwrap();
    let cookie = value(&harness).unwrap();
    let tried = with(&cookie).tried(harness.cluster()[first as usize].id());
    let second = harness.pick_for(&tried);
    assert!(second.is_some_and(|second| second != first));
    let new = value(&harness).unwrap();
    assert_eq!(counted(&harness), [0, 1, 0, 0], "a request counts once");
    assert_eq!(harness.pick_for(&with(&new)), second);
}

#[test]
fn workers_and_proxies_agree() {
    let mut one = harness(KEY);
    let first = one.pick().unwrap();
    let cookie = value(&one).unwrap();
    let setup = Setup { seed: 99, worker: 3, workers: 4 };
    let mut other = Harness::<Sticky>::with_setup(KEY, setup, one.cluster().clone()).unwrap();
    other.change(|cluster| cluster.reverse());
    assert_eq!(other.pick_for(&with(&cookie)), Some(19 - first));
}

#[test]
fn a_new_key_follows_the_one_before() {
    let mut old = harness(KEY);
    let first = old.pick();
    let cookie = value(&old).unwrap();
    let both = r#"{"key": "f0e0d0c0b0a090807060504030201000", "previous_key": "000102030405060708090a0b0c0d0e0f"}"#;
    let mut new = harness(both);
    assert_eq!(new.pick_for(&with(&cookie)), first);
    let renewed = value(&new).unwrap();
    assert_ne!(renewed, cookie);
    assert_eq!(new.pick_for(&with(&renewed)), first);
    assert_eq!((given(&new), counted(&new)), (None, [2, 0, 0, 0]));
    assert_eq!(harness(OTHER).pick_for(&with(&renewed)), first, "the old key can go");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |more: &str| {
        let config = format!(r#"{{"key": "000102030405060708090a0b0c0d0e0f"{more}}}"#);
        Harness::<Sticky>::new(&config, SimCluster::of(1)).unwrap_err().to_string()
    };
    let key = |key: &str| {
        let config = format!(r#"{{"key": "{key}"}}"#);
        Harness::<Sticky>::new(&config, SimCluster::of(1)).unwrap_err().to_string()
    };
    let wanted = "`key`: has to be 32 hexadecimal digits, as `openssl rand -hex 16` makes them";
    assert_eq!([key(""), key("secret"), key("0123456789abcdef0123456789abcde")], [wanted; 3]);
    assert_eq!(key("this is not a hexadecimal number"), wanted);
    assert_eq!(key(&"00".repeat(16)), "`key`: can be guessed: make one with `openssl rand -hex 16`");
    let none = Harness::<Sticky>::new("{}", SimCluster::of(1)).unwrap_err().to_string();
    assert_eq!(none, "missing field `key`");
    assert_eq!(
        refused(r#", "previous_key": "abc""#),
        "`previous_key`: has to be 32 hexadecimal digits, as `openssl rand -hex 16` makes them"
    );
    assert_eq!(refused(r#", "name": "a b""#), "`name`: has to be a cookie's name, of 64 characters at the most");
    assert_eq!(refused(r#", "path": "/; Domain=x""#), "`path`: has to begin with `/`, and to be ASCII without `;`");
    assert_eq!(refused(r#", "max_age_s": 0"#), "`max_age_s`: 0 would take the cookie away from every client");
    assert_eq!(refused(r#", "same_site": "None""#), "`same_site`: clients take \"None\" with `secure = true` only");
    assert_eq!(refused(r#", "same_site": "lax""#), "`same_site`: has to be \"Strict\", \"Lax\" or \"None\"");
    assert_eq!(refused(r#", "name": "__Host-x""#), "`name`: clients take that prefix with `secure = true` only");
    assert_eq!(
        refused(r#", "name": "__Host-x", "secure": true, "path": "/x""#),
        "`name`: clients take `__Host-` with `path = \"/\"` only"
    );
}
