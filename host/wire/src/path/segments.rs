//! Segments of a path whose escapes are in order.

use super::BadPath;

/// Without `.` and `..` (RFC 3986, section 5.2.4), and without empty segments if slashes are merged. A path that ends
/// in a dot segment names a folder, and ends in a slash.
pub(super) fn remove_dots(path: &str, merge_slashes: bool) -> Result<String, BadPath> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "" if merge_slashes && !is_last => continue,
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            "." => {}
            _ if hides_dots(segment) => return Err(BadPath::HiddenDots),
            _ => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        if is_last {
            out.push('/');
        }
    }
    Ok(out)
}

/// Whether a segment becomes a dot segment for servers that take other characters for slashes, or take away parameters
/// (`..;a=b`) before they look for dots.
fn hides_dots(segment: &str) -> bool {
    let mut rest = segment;
    loop {
        let end = ["%2F", "%5C", "\\"].iter().filter_map(|it| Some((rest.find(it)?, it.len()))).min();
        let (part, after) = match end {
            Some((at, length)) => (&rest[..at], Some(&rest[at + length..])),
            None => (rest, None),
        };
        let name = part.split(';').next().unwrap_or_default();
        // Escaped, a semicolon is part of the name to all that are known; but not to those that decode twice.
        let name = name.split("%3B").next().unwrap_or_default();
        if matches!(name, "." | "..") {
            return true;
        }
        match after {
            Some(after) => rest = after,
            None => return false,
        }
    }
}
