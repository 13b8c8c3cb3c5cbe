//! What wit-bindgen makes of the contract.
//!
//! There is a world for each group of exports, and a plugin uses those that it implements. The description of the
//! others is not linked in, so that tools which read it see what is really exported.

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

pub mod with_state {
    wit_bindgen::generate!({
        path: "wit",
        world: "with-state",
        pub_export_macro: true,
        export_macro_name: "export_state",
        disable_run_ctors_once_workaround: true,
    });
}
