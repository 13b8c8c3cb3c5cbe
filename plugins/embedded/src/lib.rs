//! The built-in policies, as the WebAssembly modules that the proxy runs.
//!
//! They are built from `plugins/` together with the proxy, by the same toolchain that their authors' would be, and
//! have no privileges: what a built-in policy can do, a policy from a file can do too.

/// A built-in policy.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// The name by which configurations call it.
    pub name: &'static str,
    /// What it does, in a line.
    pub description: &'static str,
    /// The module.
    pub wasm: &'static [u8],
}

macro_rules! builtins {
    ($($name:literal: $description:literal;)*) => {
        &[$(Builtin {
            name: $name,
            description: $description,
            wasm: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".wasm")),
        }),*]
    };
}

/// All of them, by name.
pub const ALL: &[Builtin] = builtins! {
    "least-request": "of all endpoints, the one with the fewest requests in flight for its weight";
    "p2c": "of two endpoints drawn at random, the less loaded one (the power of two choices)";
    "random": "at random, each endpoint as often as its weight says";
    "round-robin": "each endpoint in turn";
};

/// The module of the built-in policy with this name.
pub fn get(name: &str) -> Option<&'static [u8]> {
    ALL.iter().find(|builtin| builtin.name == name).map(|builtin| builtin.wasm)
}

/// Their names, sorted.
pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
    ALL.iter().map(|builtin| builtin.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        assert!(ALL.is_sorted_by_key(|builtin| builtin.name));
        assert!(names().all(|name| get(name).is_some()));
        assert_eq!(get("rendezvous"), None);
    }
}
