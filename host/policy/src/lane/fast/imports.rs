//! The contract's imports, for core modules: the canonical ABI by hand.

use sluicegate_core::{BLOCK, Signal};
use wasmtime::{AsContextMut, Caller, Linker, bail, format_err};

use crate::state::{Guest, HostState};

const ENDPOINTS: &str = "sluicegate:policy/endpoints@0.1.0";
const REQUEST: &str = "sluicegate:policy/request@0.1.0";
const HOST: &str = "sluicegate:policy/host@0.1.0";

type Host<'a> = Caller<'a, HostState>;

/// All of the contract's imports.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine);
    endpoints(&mut linker)?;
    request(&mut linker)?;
    linker.func_wrap(HOST, "log", |mut host: Host<'_>, level: u32, pointer: u32, length: u32| {
        let message = text(&mut host, pointer, length)?;
        host.data_mut().log(level, &message);
        Ok(())
    })?;
    Ok(linker)
}

fn endpoints(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.func_wrap(ENDPOINTS, "count", |host: Host<'_>| host.data().snapshot.endpoints().len() as u32)?;
    linker.func_wrap(ENDPOINTS, "generation", |host: Host<'_>| host.data().snapshot.generation)?;
    linker.func_wrap(ENDPOINTS, "id", |host: Host<'_>, index: u32| Ok(host.data().endpoint(index)?.id.0))?;
    linker.func_wrap(ENDPOINTS, "weight", |host: Host<'_>, index: u32| Ok(host.data().endpoint(index)?.spec.weight))?;
    linker.func_wrap(ENDPOINTS, "read", |host: Host<'_>, index: u32, signal: u32| {
        host.data().read(index, signal_of(signal)?)
    })?;
    linker.func_wrap(ENDPOINTS, "read-block", read_block)?;
    linker.func_wrap(ENDPOINTS, "address", |mut host: Host<'_>, index: u32, at: u32| {
        let address = host.data().endpoint(index)?.name.clone();
        return_text(&mut host, at, &address)
    })?;
    linker.func_wrap(ENDPOINTS, "zone", |mut host: Host<'_>, index: u32, at: u32| {
        let zone = host.data().endpoint(index)?.spec.zone.clone();
        return_text(&mut host, at, &zone)
    })?;
    linker.func_wrap(ENDPOINTS, "label", |mut host: Host<'_>, index: u32, pointer: u32, length: u32, at: u32| {
        let key = text(&mut host, pointer, length)?;
        let label = host.data().endpoint(index)?.spec.labels.get(&key).cloned();
        return_option(&mut host, at, label)
    })?;
    Ok(())
}

fn request(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.func_wrap(REQUEST, "method", |mut host: Host<'_>, at: u32| {
        let method = host.data().request()?.parts.method.clone();
        return_text(&mut host, at, method.as_str())
    })?;
    linker.func_wrap(REQUEST, "path", |mut host: Host<'_>, at: u32| {
        let path = host.data().path()?;
        return_text(&mut host, at, &path)
    })?;
    linker.func_wrap(REQUEST, "authority", |mut host: Host<'_>, at: u32| {
        let authority = host.data().authority()?;
        return_text(&mut host, at, &authority)
    })?;
    linker.func_wrap(REQUEST, "header", |mut host: Host<'_>, pointer: u32, length: u32, at: u32| {
        let name = text(&mut host, pointer, length)?;
        let value = host.data().header(&name)?;
        return_option(&mut host, at, value)
    })?;
    linker.func_wrap(REQUEST, "cookie", |mut host: Host<'_>, pointer: u32, length: u32, at: u32| {
        let name = text(&mut host, pointer, length)?;
        let value = host.data().cookie(&name)?;
        return_option(&mut host, at, value)
    })?;
    linker.func_wrap(REQUEST, "client-address", |mut host: Host<'_>, at: u32| {
        let client = host.data().request()?.client.to_string();
        return_text(&mut host, at, &client)
    })?;
    linker.func_wrap(REQUEST, "tried", |host: Host<'_>, nth: u32| host.data().tried(nth))?;
    Ok(())
}

#[inline]
fn signal_of(number: u32) -> wasmtime::Result<Signal> {
    Signal::from_number(number).ok_or_else(|| format_err!("there is no signal {number}"))
}

/// Writes a block of values straight to where the module wants them.
fn read_block(mut host: Host<'_>, start: u32, signal: u32, at: u32) -> wasmtime::Result<()> {
    let signal = signal_of(signal)?;
    let memory = guest(&host)?.memory;
    let (bytes, state) = memory.data_and_store_mut(&mut host);
    let target = slice_mut(bytes, at, (BLOCK * 4) as u32)?;
    let (values, _) = target.as_chunks_mut();
    state.snapshot.read_block(start, signal, state.now, values);
    Ok(())
}

fn guest<'a>(host: &'a Host<'_>) -> wasmtime::Result<&'a Guest> {
    match &host.data().guest {
        Some(guest) => Ok(guest),
        None => bail!("the module's start function may not ask the host for anything"),
    }
}

/// The text that a module passes by pointer and length.
fn text(host: &mut Host<'_>, pointer: u32, length: u32) -> wasmtime::Result<String> {
    let memory = guest(host)?.memory;
    let bytes = slice(memory.data(&*host), pointer, length)?;
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => bail!("text that is not UTF-8: {error}"),
    }
}

fn return_text(host: &mut Host<'_>, at: u32, text: &str) -> wasmtime::Result<()> {
    let guest = guest(host)?.clone();
    let (pointer, length) = lend(&mut *host, &guest, text.as_bytes())?;
    let memory = guest.memory.data_mut(&mut *host);
    slice_mut(memory, at, 4)?.copy_from_slice(&pointer.to_le_bytes());
    slice_mut(memory, at.wrapping_add(4), 4)?.copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn return_option(host: &mut Host<'_>, at: u32, text: Option<String>) -> wasmtime::Result<()> {
    let memory = guest(host)?.memory;
    slice_mut(memory.data_mut(&mut *host), at, 1)?[0] = u8::from(text.is_some());
    match text {
        Some(text) => return_text(host, at.wrapping_add(4), &text),
        None => Ok(()),
    }
}

/// Copies bytes into the module's memory, to a place that its allocator gives.
pub(super) fn lend(mut store: impl AsContextMut, guest: &Guest, bytes: &[u8]) -> wasmtime::Result<(u32, u32)> {
    let length = u32::try_from(bytes.len())?;
    let pointer = guest.realloc.call(&mut store, (0, 0, 1, length))?;
    slice_mut(guest.memory.data_mut(&mut store), pointer, length)?.copy_from_slice(bytes);
    Ok((pointer, length))
}

pub(super) fn bytes_at<const N: usize>(memory: &[u8], at: u32) -> wasmtime::Result<[u8; N]> {
    let mut bytes = [0; N];
    bytes.copy_from_slice(slice(memory, at, N as u32)?);
    Ok(bytes)
}

pub(super) fn slice(memory: &[u8], pointer: u32, length: u32) -> wasmtime::Result<&[u8]> {
    let range = range(pointer, length);
    memory.get(range).ok_or_else(|| format_err!("{length} bytes at {pointer:#x} lie outside the module's memory"))
}

fn slice_mut(memory: &mut [u8], pointer: u32, length: u32) -> wasmtime::Result<&mut [u8]> {
    let range = range(pointer, length);
    memory.get_mut(range).ok_or_else(|| format_err!("{length} bytes at {pointer:#x} lie outside the module's memory"))
}

fn range(pointer: u32, length: u32) -> std::ops::Range<usize> {
    pointer as usize..pointer as usize + length as usize
}
