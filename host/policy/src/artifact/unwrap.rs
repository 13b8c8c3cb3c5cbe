//! Finds the core module in a component that does nothing but wrap it, so that it can be called directly.
//!
//! That is what `wasm-tools component new` and its like make of a module: the module itself, two small ones that break the
//! circle between its imports and its memory, and the lifting and lowering of its functions by the canonical ABI, which
//! the fast lane speaks as well. Whatever is more than that (an adapter, several modules, another encoding of strings) is
//! left to the component model.

use std::ops::Range;

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind, ExternalKind, Parser, Payload,
};

use super::CONTRACT_PACKAGE;

/// Where the module lies in the component's bytes, or why it is not to be taken out.
pub(super) fn core_module(bytes: &[u8]) -> Result<Range<usize>, String> {
    let mut found = Wrapper::default();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        // What is damaged gets its error from the compiler.
        let payload = payload.map_err(|error| error.to_string())?;
        match payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ModuleSection { unchecked_range: range, .. } if depth == 1 => {
                found.modules.push(Module { range, ..Module::default() });
            }
            Payload::ModuleSection { .. } => return Err("a component inside of it has a core module".into()),
            Payload::ComponentAliasSection(section) if depth == 1 => {
                for alias in section {
                    found.alias(&alias.map_err(|error| error.to_string())?);
                }
            }
            Payload::ComponentCanonicalSection(section) if depth == 1 => {
                for function in section {
                    found.canonical(&function.map_err(|error| error.to_string())?)?;
                }
            }
            Payload::ComponentCanonicalSection(_) => return Err("a component inside of it has functions".into()),
            Payload::ComponentStartSection { .. } => return Err("it has a start function".into()),
            part => {
                if let Some(module) = found.modules.last_mut().filter(|_| depth == 2) {
                    module.see(&part);
                }
            }
        }
    }
    found.modules.retain(|module| !module.is_glue());
    match found.modules.as_slice() {
        [module] => Ok(module.range.clone()),
        modules => Err(format!("it has {} core modules", modules.len())),
    }
}

#[derive(Default)]
struct Module {
    range: Range<usize>,
    has_state: bool,
    has_imports: bool,
    has_code: bool,
}

impl Module {
    fn see(&mut self, part: &Payload<'_>) {
        match part {
            Payload::MemorySection(_)
            | Payload::GlobalSection(_)
            | Payload::DataSection(_)
            | Payload::StartSection { .. } => self.has_state = true,
            Payload::ImportSection(_) => self.has_imports = true,
            Payload::CodeSectionStart { .. } => self.has_code = true,
            _ => {}
        }
    }

    /// Whether it can do no more than pass calls on: the shim, which has a table and calls into it, or what fills that
    /// table, which has no code.
    fn is_glue(&self) -> bool {
        let calls_others = self.has_imports && self.has_code;
        !self.has_state && !calls_others
    }
}

#[derive(Default)]
struct Wrapper {
    modules: Vec<Module>,
    /// The core functions by index: of exports, their names.
    functions: Vec<Option<String>>,
}

impl Wrapper {
    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::CoreInstanceExport { kind: ExternalKind::Func, name, .. } => {
                self.functions.push(Some((*name).to_owned()));
            }
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
                self.modules.push(Module { has_state: true, ..Module::default() });
            }
            _ => {}
        }
    }

    /// Lifting and lowering as the fast lane does it, and nothing else.
    fn canonical(&mut self, function: &CanonicalFunction) -> Result<(), String> {
        let options = match function {
            CanonicalFunction::Lift { core_func_index, options, .. } => {
                let name = self.functions.get(*core_func_index as usize).and_then(Option::as_deref);
                if !name.is_some_and(|name| name.starts_with(CONTRACT_PACKAGE)) {
                    return Err("it exports a function that is not the contract's".into());
                }
                options
            }
            CanonicalFunction::Lower { options, .. } => {
                self.functions.push(None);
                options
            }
            _ => return Err("it uses resources, tasks or threads".into()),
        };
        let plain = |option: &CanonicalOption| {
            use CanonicalOption::{Memory, PostReturn, Realloc, UTF8};
            matches!(option, UTF8 | Memory(_) | Realloc(_) | PostReturn(_))
        };
        match options.iter().find(|option| !plain(option)) {
            Some(option) => Err(format!("its functions are called in another way: {option:?}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use wit_component::ComponentEncoder;

    use super::*;

    fn wrapped(name: &str) -> Vec<u8> {
        let module = sluicegate_builtins::get(name).unwrap();
        ComponentEncoder::default().module(module).unwrap().encode().unwrap()
    }

    #[test]
    fn a_wrapped_module_is_found() {
        for name in sluicegate_builtins::names() {
            let component = wrapped(name);
            let range = core_module(&component).unwrap();
            // It has lost the description of its world, and nothing else that matters.
            let module = &component[range];
            assert!(module.starts_with(b"\0asm\x01\0\0\0") && wasmparser::validate(module).is_ok(), "{name}");
        }
    }

    #[test]
    fn whatever_is_more_than_a_wrapper_is_left_alone() {
        let component = wrapped("p2c");
        let mut two = component.clone();
        two.extend([1, 13]);
        two.extend(b"\0asm\x01\0\0\0\x05\x03\x01\0\0");
        assert_eq!(core_module(&two).unwrap_err(), "it has 2 core modules");
        assert!(core_module(&component[..component.len() / 2]).is_err());
        let none = wat::parse_str("(component)").unwrap();
        assert_eq!(core_module(&none).unwrap_err(), "it has 0 core modules");
        let utf16 = wat::parse_str(
            r#"(component
                (core module $m (memory (export "m") 1) (func (export "sluicegate:policy/x#f") (param i32 i32) unreachable)
                    (func (export "r") (param i32 i32 i32 i32) (result i32) unreachable))
                (core instance $i (instantiate $m))
                (func (param "s" string) (canon lift
                    (core func $i "sluicegate:policy/x#f") string-encoding=utf16
                    (memory (core memory $i "m")) (realloc (core func $i "r")))))"#,
        );
        assert!(core_module(&utf16.unwrap()).unwrap_err().contains("UTF16"));
    }
}
