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
    "bounded-load": "each key to one endpoint, or to the next that has no more than its share of the load";
    "c3": "of three endpoints drawn at random, the best by latency and the cube of its queue";
    "least-request": "of all endpoints, the one with the fewest requests in flight for its weight";
    "maglev": "each key to one endpoint, by a table with even shares";
    "orca-weighted": "each endpoint in turn, as often as its own load reports say that it can bear";
    "p2c": "of two endpoints drawn at random, the less loaded one (the power of two choices)";
    "peak-ewma": "of two endpoints drawn at random, the one with the least expected latency";
    "prefix-affinity": "prompts that begin alike to the same endpoint, unless that is full";
    "prequal": "of a few endpoints that were probed, the fastest that is not busier than most";
    "random": "at random, each endpoint as often as its weight says";
    "rendezvous": "each key to the endpoint that it ranks highest";
    "ring-hash": "each key to one endpoint, by ketama's ring";
    "round-robin": "each endpoint in turn";
    "sticky": "each client to its own endpoint, by a signed cookie; new ones as p2c";
    "subset": "as p2c, among the few endpoints that are this proxy's part of a fleet's";
    "weighted-round-robin": "each endpoint in turn, as often as its weight says, the turns spread out";
    "zone-aware": "as p2c, in the proxy's own zone as far as its endpoints can bear it";
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
        assert_eq!(get("no-such-policy"), None);
    }
}
