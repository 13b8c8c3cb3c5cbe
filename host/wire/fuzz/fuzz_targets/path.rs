//! What comes out is in order, and stays as it is.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use sluicegate_wire::path::{PathRules, Separator, normalize};

fuzz_target!(|input: (bool, bool, bool, &str)| {
    let (merge_slashes, keep_slash, keep_backslash, target) = input;
    let separator = |keep| if keep { Separator::Keep } else { Separator::Refuse };
    let rules =
        PathRules { merge_slashes, escaped_slash: separator(keep_slash), backslash: separator(keep_backslash) };
    let Ok(normal) = normalize(target, &rules) else { return };
    assert!(matches!(normalize(&normal, &rules), Ok(Cow::Borrowed(again)) if again == normal));
    let path = normal.split('?').next().unwrap_or_default();
    assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
    assert!(!merge_slashes || !path.contains("//"));
});
