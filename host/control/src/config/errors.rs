//! What is wrong with a configuration, and where.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Everything that is wrong with a file, in the order of the file. Displays as one line for each error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
    // How many more there are than a person would read.
    more: usize,
}

/// One mistake. Displays as `FILE:LINE:COLUMN: KEY: MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line and the column (in characters), both from 1; `None` when the whole file is meant.
    pub place: Option<(usize, usize)>,
    /// The dotted path to the value, such as `cluster.api.endpoints[1].weight`; empty for what is no value.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl ConfigErrors {
    pub(super) fn new(errors: Vec<ConfigError>, more: usize) -> Self {
        Self { errors, more }
    }

    pub(super) fn unread(file: &Path, message: String) -> Self {
        Self::new(vec![ConfigError { file: file.into(), place: None, key: String::new(), message }], 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// The errors; at most a hundred, whatever the file.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            write!(f, "{}{error}", if index > 0 { "\n" } else { "" })?;
        }
        match (self.errors.len(), self.more) {
            (0 | 1, 0) => Ok(()),
            (shown, 0) => write!(f, "\n{shown} errors"),
            (shown, more) => write!(f, "\n{} errors, of which the first {shown} are shown", shown + more),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)
    }
}

/// The end of a message about a name that is not one of `known`: the one that was probably meant, and all of them.
pub(super) fn known_names<'a>(name: &str, kind: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // A longer list helps nobody.
    const MAX_LISTED: usize = 20;
    // A name this long is no slip of the finger, and comparing it would take a while.
    const MAX_COMPARED: usize = 64;
    let known: Vec<&str> = known.into_iter().collect();
    let near = |known: &&&str| distance(name, known) <= 1.max(name.len() / 3);
    let meant = known.iter().filter(|known| name.len().max(known.len()) <= MAX_COMPARED).filter(near);
    let meant = meant.min_by_key(|known| distance(name, known)).map(|known| format!("; did you mean {known:?}?"));
    let listed = known.iter().take(MAX_LISTED).copied().collect::<Vec<_>>().join(", ");
    let rest = if known.len() > MAX_LISTED { ", ..." } else { "" };
    match known.is_empty() {
        true => format!(" (there are no {kind})"),
        false => format!("{} ({kind}: {listed}{rest})", meant.unwrap_or_default()),
    }
}

/// How many insertions, deletions and replacements of a byte make `b` of `a` (Levenshtein), ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(!from.eq_ignore_ascii_case(&to));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [("", "", 0), ("", "ab", 2), ("weigth", "weight", 2), ("P2C", "p2c", 0), ("a", "b", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn names() {
        let check = |name, known: &[&str], expected| {
            assert_eq!(known_names(name, "keys", known.iter().copied()), expected);
        };
        check("weigth", &["address", "weight"], "; did you mean \"weight\"? (keys: address, weight)");
        check("colour", &["address", "weight"], " (keys: address, weight)");
        check("x", &[], " (there are no keys)");
    }
}
