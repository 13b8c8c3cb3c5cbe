//! WebAssembly for the tests: the built-in policies as components, and policies by hand that misbehave.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A built-in policy, for either lane.
pub fn builtin(name: &str, lane: &str) -> Vec<u8> {
    let module = sluicegate_builtins::get(name).unwrap();
    match lane {
        "portable" => component(module),
        _ => module.to_vec(),
    }
}

/// Makes a component of a core module that knows its own world, with a second module in it, which has a memory: it is not
/// merely one wrapped module then, and takes the portable lane.
pub fn component(module: &[u8]) -> Vec<u8> {
    let mut component = wrapped(module);
    component.extend([1, 13]);
    component.extend(b"\0asm\x01\0\0\0\x05\x03\x01\0\0");
    component
}

/// Makes a component of a core module that knows its own world, as `wasm-tools component new` does.
pub fn wrapped(module: &[u8]) -> Vec<u8> {
    ComponentEncoder::default().module(module).unwrap().validate(true).encode().unwrap()
}

/// A policy by hand: WebAssembly text for the bodies of its calls, everything else as it should be.
#[derive(Clone, Copy)]
pub struct ByHand {
    /// The version of the contract in its names.
    pub version: &'static str,
    /// Items of the module: imports, globals, functions.
    pub items: &'static str,
    /// The body of `configure`: a pointer to the result. At 0 there is "ok"; at 16, the error "no thanks".
    pub configure: &'static str,
    /// The body of `pick` (parameters `$now`, `$hash`, `$attempt`). `$turn` counts the picks.
    pub pick: &'static str,
}

impl Default for ByHand {
    fn default() -> Self {
        Self { version: "0.1.0", items: "", configure: "i32.const 0", pick: "i32.const 0" }
    }
}

impl ByHand {
    /// The core module.
    pub fn module(&self) -> Vec<u8> {
        let Self { version, items, configure, pick } = self;
        let name = format!("sluicegate:policy/balancer@{version}");
        let text = format!(
            r#"(module {items}
                (memory (export "memory") 2)
                (global $turn (mut i32) (i32.const 0))
                (data (i32.const 16) "\01\00\00\00\20\00\00\00\09\00\00\00")
                (data (i32.const 32) "no thanks")
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
                (func (export "{name}#configure") (param i32 i32 i64 i32 i32) (result i32) {configure})
                (func (export "{name}#endpoints-changed") (param i64))
                (func $pick (export "{name}#pick") (param $now i64) (param $hash i64) (param $attempt i32) (result i32)
                    (global.set $turn (i32.add (global.get $turn) (i32.const 1)))
                    {pick}))"#
        );
        wat::parse_str(text).unwrap()
    }

    /// The same as a component.
    pub fn component(&self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-sdk/wit");
        let (package, _) = resolve.push_dir(&wit).unwrap();
        let mut module = self.module();
        // What an interface's world is called, as its author would include it.
        let optional = ["feedback", "probing", "timer", "state"];
        let exported = optional.iter().filter(|interface| self.items.contains(&format!("{interface}@0.1.0#")));
        let worlds = exported.map(|interface| format!("with-{interface}")).chain(["policy".to_owned()]);
        for world in worlds {
            let world = resolve.select_world(&[package], Some(&world)).unwrap();
            embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
        }
        component(&module)
    }

    /// For either lane.
    pub fn build(&self, lane: &str) -> Vec<u8> {
        if lane == "portable" { self.component() } else { self.module() }
    }
}
