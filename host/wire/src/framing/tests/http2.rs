use super::{
    super::{Http2Head, OddNames},
    *,
};
use Violation::*;

const HEAD: Http2Head<'_> = Http2Head { method: b"GET", target: b"/a?b", authority: Some(b"a:80"), has_body: false };

fn check_by(rules: &Rules, head: Http2Head<'_>, headers: &[(&str, &str)]) -> Result<(), Violation> {
    head.check(headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), rules)
}

fn check(head: Http2Head<'_>, headers: &[(&str, &str)]) -> Result<(), Violation> {
    check_by(&Rules::default(), head, headers)
}

#[test]
fn heads_that_http1_could_carry_pass() {
    for headers in [
        &[][..],
        &[("accept", "*/*"), ("x-empty", ""), ("content-length", "0"), ("host", "a:80"), ("te", "trailers")],
        &[("my_header", "a b\tc"), ("x", "\u{e9}")],
        &[("cookie", "a=1"); 500],
    ] {
        assert_eq!(check(HEAD, headers), Ok(()), "{headers:?}");
    }
    assert_eq!(
        check(Http2Head { method: b"OPTIONS", target: b"*", authority: None, ..HEAD }, &[("host", "a")]),
        Ok(())
    );
    assert_eq!(check(Http2Head { method: b"BREW", has_body: true, ..HEAD }, &[("content-length", "5")]), Ok(()));
}

#[test]
fn what_says_where_a_message_ends_says_it_once() {
    for (headers, violation) in [
        (&[("content-length", "")][..], BadLength),
        (&[("content-length", "+5")], BadLength),
        (&[("content-length", "9223372036854775808")], LengthTooLarge),
        (&[("content-length", "5"), ("content-length", "5")], DuplicateLength),
        (&[("content_length", "5")], AliasName),
        (&[("transfer_encoding", "chunked")], AliasName),
        (&[("content-length", "5"), ("transfer-encoding", "chunked")], LengthAndCoding),
    ] {
        assert_eq!(check(HEAD, headers), Err(violation), "{headers:?}");
    }
    assert_eq!(check(Http2Head { method: b"TRACE", has_body: true, ..HEAD }, &[]), Err(BodyNotAllowed));
}

#[test]
fn names_that_stand_for_others_are_refused() {
    for name in ["x_forwarded_for", "x-forwarded.client!cert", "x_request_id"] {
        assert_eq!(check(HEAD, &[(name, "a")]), Err(AliasName), "{name}");
    }
    assert_eq!(check(HEAD, &[("x\"", "a")]), Err(BadName));
    let strict = Rules { odd_names: OddNames::Refuse, ..Rules::default() };
    assert_eq!(check_by(&strict, HEAD, &[("my_header", "a")]), Err(OddName));
}

#[test]
fn targets_and_hosts_have_one_reading() {
    for (target, violation) in [
        ("*", TargetForm),
        ("?a", TargetForm),
        ("a", TargetForm),
        ("", TargetForm),
        ("http://b/", TargetForm),
        ("/\u{e4}", BadTarget),
        ("/a b", BadTarget),
        ("/a#b", BadTarget),
    ] {
        assert_eq!(check(Http2Head { target: target.as_bytes(), ..HEAD }, &[]), Err(violation), "{target}");
    }
    for (method, violation) in [("get", SmallMethod), ("Post", SmallMethod), ("PRI", BadMethod)] {
        assert_eq!(check(Http2Head { method: method.as_bytes(), ..HEAD }, &[]), Err(violation), "{method}");
    }
    for bad in ["", "u@a", "a:", "a:b", "a:99999", ":80", "a,b", "a;b", "a%2eb", "[::1"] {
        assert_eq!(check(Http2Head { authority: Some(bad.as_bytes()), ..HEAD }, &[]), Err(BadAuthority), "{bad}");
        if !bad.is_empty() {
            assert_eq!(check(Http2Head { authority: None, ..HEAD }, &[("host", bad)]), Err(BadHost), "{bad}");
        }
    }
    assert_eq!(check(HEAD, &[("host", "a:80"), ("host", "a:80")]), Err(DuplicateHost));
}

#[test]
fn sizes_and_values_are_those_of_http1() {
    let rules = Rules { request_line_bytes: 40, header_count: 2, ..Rules::default() };
    let target = [b"/".as_slice(), &[b'a'; 24]].concat();
    assert_eq!(check_by(&rules, Http2Head { target: &target, ..HEAD }, &[]), Ok(()));
    let target = [&target[..], b"a"].concat();
    assert_eq!(check_by(&rules, Http2Head { target: &target, ..HEAD }, &[]), Err(RequestLineTooLong));
    assert_eq!(check_by(&rules, HEAD, &[("a", ""), ("b", ""), ("c", "")]), Err(TooManyHeaders));
    assert_eq!(check(Http2Head { method: &[b'A'; 33], ..HEAD }, &[]), Err(MethodTooLong));
    for value in [" a", "a ", "\ta", " "] {
        assert_eq!(check(HEAD, &[("x", value)]), Err(PaddedValue), "{value:?}");
    }
}
