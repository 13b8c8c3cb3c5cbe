//! What is measured with: origins of which it is known what they can do, proxies on a processor of their own, and what
//! the kernel says of processes.

mod origin;
mod process;
mod proxy;

pub(crate) use self::{
    origin::{OriginSpec, Origins},
    process::{
        Cores, Neighbours, Usage, pin_self, raise_file_limit, resident_kib, run_tool, spawn_pinned, unpin_self, usage,
    },
    proxy::{Gate, endpoints},
};
