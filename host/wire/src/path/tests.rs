use proptest::prelude::*;

use super::*;

const STRICT: PathRules =
    PathRules { merge_slashes: true, escaped_slash: Separator::Refuse, backslash: Separator::Refuse };
const LENIENT: PathRules =
    PathRules { merge_slashes: false, escaped_slash: Separator::Keep, backslash: Separator::Keep };

fn check(path: &str, expected: &str) {
    check_by(&PathRules::default(), path, expected);
}

fn check_by(rules: &PathRules, path: &str, expected: &str) {
    let normal = normalize(path, rules).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    assert_eq!(normal, expected, "{path:?}");
    assert_eq!(matches!(normal, Cow::Borrowed(_)), path == expected, "{path:?} is borrowed if it stays");
}

fn refused(rules: &PathRules, path: &str, expected: BadPath) {
    assert_eq!(normalize(path, rules), Err(expected), "{path:?}");
}

#[test]
fn what_is_in_order_stays() {
    for path in [
        "/",
        "/a",
        "/a/b/c.js",
        "/.well-known/x",
        "/a/.b/..c/...",
        "/a//b",
        "//",
        "/a;b=c",
        "/%C3%A9",
        "/a%20b",
        "/a%2Fb",
        "/?",
        "/?%zz/../\\",
        "/a?b=../c&d=%2e%00",
        "/a:b@c!$&'()*+,;=~_-",
        "/a%25b",
        "/%2525",
        "/a/b/",
        "/\"<>^`{|}",
        "/a.",
        "/a..",
        "/a/;/b",
        "/;..",
    ] {
        check(path, path);
    }
}

#[test]
fn escapes_get_one_spelling() {
    for (path, expected) in [
        ("/%61dmin", "/admin"),
        ("/%41%5a%30%39%2d%5F%7E", "/AZ09-_~"),
        ("/a%2fb", "/a%2Fb"),
        ("/%c3%a9", "/%C3%A9"),
        ("/%7e%2E", "/~."),
        ("/%3f%23%3b", "/%3F%23%3B"),
        ("/%252e%252e", "/%252e%252e"),
        ("/a%20b?%61", "/a%20b?%61"),
        ("/%6a?b?c", "/j?b?c"),
    ] {
        check(path, expected);
    }
}

#[test]
fn dot_segments_go_and_the_root_holds() {
    for (path, expected) in [
        ("/a/b/c/./../../g", "/a/g"),
        ("/./a", "/a"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/.", "/"),
        ("/..", "/"),
        ("/../../../etc", "/etc"),
        ("/%2e%2e/a", "/a"),
        ("/a/%2E./b", "/b"),
        ("/a/.%2e?x", "/?x"),
        ("/a//../b", "/a/b"),
        ("/a/..//b", "//b"),
        ("/.//a", "//a"),
        ("/..//", "//"),
        ("/a/./?..", "/a/?.."),
        ("/...", "/..."),
        ("/a/../", "/"),
        ("/a/b/../..", "/"),
    ] {
        check(path, expected);
    }
}

#[test]
fn slashes_are_merged_where_asked() {
    for (path, expected) in [
        ("//", "/"),
        ("//a///b//", "/a/b/"),
        ("/a//../b", "/b"),
        ("/a/..//", "/"),
        ("/a/%2e//b", "/a/b"),
        ("/a?//", "/a?//"),
        ("/a//?//", "/a/?//"),
        ("/.//", "/"),
    ] {
        check_by(&STRICT, path, expected);
    }
}

#[test]
fn what_has_no_one_reading_is_refused() {
    let rules = PathRules::default();
    for bad in ["", "a", "*", "?a", "http://a/"] {
        refused(&rules, bad, BadPath::NotAbsolute);
    }
    for bad in ["/a b", "/\t", "/\0", "/\u{7f}", "/\u{e9}", "/a#b", "/%41 "] {
        refused(&rules, bad, BadPath::BadByte);
    }
    for bad in ["/%", "/%4", "/%zz", "/%4g", "/%g4", "/%%41", "/%?41", "/a%u0041", "/%+1", "/%/41"] {
        refused(&rules, bad, BadPath::BadEscape);
    }
    for bad in ["/%00", "/a%0d%0ab", "/%1f", "/%7F", "/a%09"] {
        refused(&rules, bad, BadPath::Control);
    }
    for bad in ["/a\\b", "/a%5cb", "/%5C..", "/..\\a"] {
        refused(&rules, bad, BadPath::Backslash);
    }
    refused(&STRICT, "/a%2fb", BadPath::EscapedSlash);
    refused(&STRICT, "/%2F", BadPath::EscapedSlash);
    for bad in [
        "/..;/a",
        "/a/..;x=y/b",
        "/.;/a",
        "/%2e%2e;/a",
        "/..%2fa",
        "/a%2F..%2Fb",
        "/a%2f%2e%2e",
        "/a%2F.",
        "/..%3b/a",
        "/a%2f..;b",
    ] {
        refused(&rules, bad, BadPath::HiddenDots);
    }
    for bad in ["/a\\..\\b", "/..%5ca", "/..\\", "/\\..", "/a%5C.%2Fb"] {
        refused(&LENIENT, bad, BadPath::HiddenDots);
    }
    check_by(&LENIENT, "/a\\b%5cc", "/a\\b%5Cc");
}

/// Targets that are rich in what matters.
fn target() -> impl Strategy<Value = String> {
    let parts = vec![
        "/", "/", "/", ".", "..", "%2e", "%2E", "%2f", "%5c", "\\", ";", "a", "b", "%61", "%c3", "%20", "%00", "%",
        "?", "#", " ", "\u{e9}", "%25",
    ];
    prop_oneof![
        9 => prop::collection::vec(prop::sample::select(parts), 0..16).prop_map(|parts| format!("/{}", parts.concat())),
        1 => "\\PC{0,20}",
    ]
}

fn rules() -> impl Strategy<Value = PathRules> {
    let separator = || prop_oneof![Just(Separator::Keep), Just(Separator::Refuse)];
    (any::<bool>(), separator(), separator()).prop_map(|(merge_slashes, escaped_slash, backslash)| PathRules {
        merge_slashes,
        escaped_slash,
        backslash,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn what_comes_out_is_in_order(target in target(), rules in rules()) {
        let Ok(normal) = normalize(&target, &rules) else { return Ok(()) };
        // Once is enough.
        let again = normalize(&normal, &rules);
        prop_assert_eq!(again.as_deref(), Ok(&*normal));
        prop_assert!(matches!(again, Ok(Cow::Borrowed(_))));
        let (path, query) = normal.split_at(normal.find('?').unwrap_or(normal.len()));
        prop_assert_eq!(query, &target[target.find('?').unwrap_or(target.len())..]);
        prop_assert!(path.starts_with('/'));
        prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
        prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
        prop_assert!(!rules.merge_slashes || !path.contains("//"));
        for escape in path.split('%').skip(1) {
            prop_assert!(escape.len() >= 2 && u8::from_str_radix(&escape[..2], 16).is_ok_and(|byte| byte >= 0x20));
        }
    }

    #[test]
    fn it_is_what_a_decoder_of_everything_would_see(target in target()) {
        // A server that decodes all escapes, then resolves dots, gets to the same place from both spellings.
        let rules = PathRules { escaped_slash: Separator::Refuse, ..PathRules::default() };
        let Ok(normal) = normalize(&target, &rules) else { return Ok(()) };
        prop_assert_eq!(place(&normal), place(&target));
    }
}

/// The segments that a path leads to, after all its escapes are decoded.
fn place(target: &str) -> Vec<Vec<u8>> {
    let path = target.split('?').next().unwrap_or_default().as_bytes();
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < path.len() {
        if path[at] == b'%' {
            decoded.push(u8::from_str_radix(str::from_utf8(&path[at + 1..at + 3]).unwrap(), 16).unwrap());
            at += 3;
        } else {
            decoded.push(path[at]);
            at += 1;
        }
    }
    let mut place: Vec<Vec<u8>> = Vec::new();
    let segments: Vec<&[u8]> = decoded.split(|byte| *byte == b'/').skip(1).collect();
    for (index, segment) in segments.iter().enumerate() {
        let is_last = index + 1 == segments.len();
        match *segment {
            b"." | b".." => {
                if *segment == b".." {
                    place.pop();
                }
                if is_last {
                    place.push(Vec::new());
                }
            }
            name => place.push(name.to_vec()),
        }
    }
    place
}
