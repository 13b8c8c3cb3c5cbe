//! The contract's imports, for core modules: the canonical ABI by hand.

use sluicegate_core::{BLOCK, Signal};
use wasmtime::{AsContextMut, Caller, Linker, bail, format_err};

use crate::{
    asked::{EXPLANATION_BYTES, Message, REASON_BYTES},
    state::{Guest, HostState, LOG_BYTES},
};

const ENDPOINTS: &str = "sluicegate:policy/endpoints@0.1.0";
const REQUEST: &str = "sluicegate:policy/request@0.1.0";
const REPLY: &str = "sluicegate:policy/reply@0.1.0";
const SHARED: &str = "sluicegate:policy/shared@0.1.0";
const HOST: &str = "sluicegate:policy/host@0.1.0";
const NEEDS: &str = "sluicegate:policy/needs@0.1.0";

/// The longest text that is taken from a policy whole: names and values of headers, names of metrics, keys.
const TEXT_BYTES: u32 = 64 << 10;

type Host<'a> = Caller<'a, HostState>;

/// All of the contract's imports.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine);
    endpoints(&mut linker)?;
    request(&mut linker)?;
    reply(&mut linker)?;
    shared(&mut linker)?;
    around(&mut linker)?;
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
    linker.func_wrap(REQUEST, "body", |mut host: Host<'_>, start: u32, length: u32, at: u32| {
        let body = host.data().body(start, length)?.to_vec();
        return_bytes(&mut host, at, &body)
    })?;
    Ok(())
}

fn reply(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.func_wrap(REPLY, "reject", |mut host: Host<'_>, status: u32, pointer: u32, length: u32| {
        let reason = text_up_to(&mut host, pointer, length, REASON_BYTES)?;
        // A u16, by the canonical ABI.
        host.data_mut().reject(status as u16, reason)
    })?;
    for (name, message) in [("set-response-header", Message::Response), ("set-request-header", Message::Request)] {
        linker.func_wrap(
            REPLY,
            name,
            move |mut host: Host<'_>, name: u32, name_length: u32, value: u32, value_length: u32| {
                let (name, value) = (text(&mut host, name, name_length)?, text(&mut host, value, value_length)?);
                host.data_mut().set_header(message, &name, &value)
            },
        )?;
    }
    linker.func_wrap(REPLY, "then", |mut host: Host<'_>, index: u32| host.data_mut().then(index))?;
    linker.func_wrap(REPLY, "hedge", |mut host: Host<'_>, index: u32, after_us: u32| {
        host.data_mut().hedge(index, after_us)
    })?;
    linker.func_wrap(REPLY, "wants-explanation", |mut host: Host<'_>| {
        host.data_mut().wants_explanation().map(u32::from)
    })?;
    linker.func_wrap(REPLY, "explain", |mut host: Host<'_>, pointer: u32, length: u32| {
        let why = text_up_to(&mut host, pointer, length, EXPLANATION_BYTES)?;
        host.data_mut().explain(why)
    })?;
    Ok(())
}

fn shared(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.func_wrap(SHARED, "get", |host: Host<'_>, slot: u32| host.data().shared.get(slot))?;
    linker.func_wrap(SHARED, "add", |host: Host<'_>, slot: u32, delta: u64| host.data().shared.add(slot, delta))?;
    linker.func_wrap(SHARED, "compare-and-set", |host: Host<'_>, slot: u32, expected: u64, new: u64| {
        host.data().shared.compare_and_set(slot, expected, new).map(u32::from)
    })?;
    Ok(())
}

/// `host` and `needs`.
fn around(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.func_wrap(HOST, "log", |mut host: Host<'_>, level: u32, pointer: u32, length: u32| {
        let message = text_up_to(&mut host, pointer, length, LOG_BYTES)?;
        host.data_mut().log(level, &message);
        Ok(())
    })?;
    linker.func_wrap(HOST, "counter", |mut host: Host<'_>, pointer: u32, length: u32| {
        let name = text(&mut host, pointer, length)?;
        host.data_mut().counter(&name)
    })?;
    linker.func_wrap(HOST, "add", |host: Host<'_>, counter: u32, delta: u64| {
        host.data().add_to_counter(counter, delta)
    })?;
    linker.func_wrap(HOST, "gauge", |mut host: Host<'_>, pointer: u32, length: u32| {
        let name = text(&mut host, pointer, length)?;
        host.data_mut().gauge(&name)
    })?;
    linker.func_wrap(HOST, "set", |host: Host<'_>, gauge: u32, value: f64| host.data().set_gauge(gauge, value))?;
    linker.func_wrap(HOST, "probe", |mut host: Host<'_>, index: u32| host.data_mut().probe(index))?;
    linker.func_wrap(NEEDS, "body-prefix", |mut host: Host<'_>, bytes: u32| host.data_mut().need_body_prefix(bytes))?;
    linker.func_wrap(NEEDS, "load-reports", |mut host: Host<'_>| host.data_mut().need_load_reports())?;
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
    if length > TEXT_BYTES {
        bail!("a text of {length} bytes: the limit is {TEXT_BYTES}");
    }
    let memory = guest(host)?.memory;
    let bytes = slice(memory.data(&*host), pointer, length)?;
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => bail!("text that is not UTF-8: {error}"),
    }
}

/// The beginning of such a text: to read all of what is thrown away would take time that no deadline sees.
fn text_up_to(host: &mut Host<'_>, pointer: u32, length: u32, limit: usize) -> wasmtime::Result<String> {
    let memory = guest(host)?.memory;
    let bytes = slice(memory.data(&*host), pointer, length)?;
    let is_cut = bytes.len() > limit;
    match std::str::from_utf8(&bytes[..bytes.len().min(limit)]) {
        Ok(text) => Ok(text.to_owned()),
        // Cut in the middle of a character.
        Err(error) if is_cut && error.error_len().is_none() => {
            Ok(String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned())
        }
        Err(error) => bail!("text that is not UTF-8: {error}"),
    }
}

fn return_text(host: &mut Host<'_>, at: u32, text: &str) -> wasmtime::Result<()> {
    return_bytes(host, at, text.as_bytes())
}

fn return_bytes(host: &mut Host<'_>, at: u32, bytes: &[u8]) -> wasmtime::Result<()> {
    let guest = guest(host)?.clone();
    let (pointer, length) = lend(&mut *host, &guest, bytes)?;
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
