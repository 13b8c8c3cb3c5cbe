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
    let separator = |(at, byte)| match byte {
        b'\\' => Some((at, 1)),
        b'%' if matches!(segment.get(at..at + 3), Some("%2F" | "%5C")) => Some((at, 3)),
        _ => None,
    };
    let mut ends = segment.bytes().enumerate().filter_map(separator).chain([(segment.len(), 0)]);
    let mut begin = 0;
    ends.any(|(end, length)| {
        let part = &segment[begin..end];
        begin = end + length;
        let name = part.split(';').next().unwrap_or_default();
        // Escaped, a semicolon is part of the name to all that are known; but not to those that decode twice.
        matches!(name.split("%3B").next(), Some("." | ".."))
    })
}
