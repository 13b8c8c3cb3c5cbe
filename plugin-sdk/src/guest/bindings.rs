//! What wit-bindgen makes of the contract.
//!
//! There is a world for each group of exports, and a plugin uses those that it implements. The macros that export a
//! world bring its description along; of the others a module says only what it could have imported, so that tools
//! which make a component of it look for no export that is not there.

#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)] // Generated.

pub mod policy {
    wit_bindgen::generate!({
        path: "wit",
        world: "policy",
        pub_export_macro: true,
        export_macro_name: "export_policy",
        // There are no constructors: checking on every pick whether they have run would be for nothing.
        disable_run_ctors_once_workaround: true,
    });
}

pub mod with_feedback {
    wit_bindgen::generate!({
        path: "wit",
        world: "with-feedback",
        pub_export_macro: true,
        export_macro_name: "export_feedback",
        disable_run_ctors_once_workaround: true,
    });
}

pub mod with_probing {
    wit_bindgen::generate!({
        path: "wit",
        world: "with-probing",
        pub_export_macro: true,
        export_macro_name: "export_probing",
        disable_run_ctors_once_workaround: true,
    });
}

pub mod with_timer {
    wit_bindgen::generate!({
        path: "wit",
        world: "with-timer",
        pub_export_macro: true,
        export_macro_name: "export_timer",
        disable_run_ctors_once_workaround: true,
    });
}

pub mod with_state {
    wit_bindgen::generate!({
        path: "wit",
        world: "with-state",
        pub_export_macro: true,
        export_macro_name: "export_state",
        disable_run_ctors_once_workaround: true,
    });
}
