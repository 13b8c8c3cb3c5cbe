//! Tells systemd how it goes (`sd_notify(3)`), above all which process is the service's main one: an upgrade changes
//! that, and without knowing it systemd would take the end of the old process for the service's.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
};

/// This process serves, and is the main one.
pub(crate) fn ready() {
    notify(&format!("READY=1\nMAINPID={}", process::id()));
}

/// The service stops.
pub(crate) fn stopping() {
    notify("STOPPING=1");
}

fn notify(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, state, "systemd can't be told");
    }
}

fn send(to: &OsStr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    match to.as_bytes() {
        // A name that is no file's.
        [b'@', name @ ..] => socket.send_to_addr(state.as_bytes(), &SocketAddr::from_abstract_name(name)?)?,
        _ => socket.send_to(state.as_bytes(), to)?,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_arrives_at_both_kinds_of_address() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("sluicegate-test-{}", process::id());
        let sockets = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (
                format!("@{name}").into(),
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
            ),
        ];
        for (to, socket) in sockets {
            send(&to, "READY=1\nMAINPID=7").unwrap();
            let mut said = [0; 64];
            let count = socket.recv(&mut said).unwrap();
            assert_eq!(&said[..count], b"READY=1\nMAINPID=7");
        }
        assert!(send(OsStr::new("/nowhere/at/all"), "READY=1").is_err());
    }
}
