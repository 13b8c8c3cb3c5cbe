//! The guide for authors of policies (`README.md` beside this file): its listings in Rust are this crate's documentation
//! tests. Those in TOML and shell are run by `tests/e2e/guide.rs`.

#[allow(missing_docs)] // It is as short as a listing ought to be.
mod calm;

pub use calm::{Calm, Config};

macro_rules! chapters {
    ($($name:ident = $file:literal,)*) => {
        $(
            #[doc = include_str!($file)]
            mod $name {}
        )*

        /// Every chapter: its file and its text.
        pub const CHAPTERS: &[(&str, &str)] = &[$(($file, include_str!($file)),)*];
    };
}

chapters! {
    readme = "README.md",
    write = "write.md",
    test = "test.md",
    state = "state.md",
    debug = "debug.md",
    measure = "measure.md",
    ship = "ship.md",
    languages = "languages.md",
    limits = "limits.md",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_of_the_guide_is_the_one_that_is_printed() {
        let (_, write) = CHAPTERS.iter().find(|(file, _)| *file == "write.md").unwrap();
        assert!(write.contains(&format!("```rust\n{}```\n", include_str!("calm.rs"))), "write.md has another Calm");
    }

    #[test]
    fn every_chapter_is_named_in_the_contents() {
        let (_, contents) = CHAPTERS[0];
        for (file, _) in &CHAPTERS[1..] {
            assert!(contents.contains(&format!("]({file})")), "{file}");
        }
    }
}
