//! Listening sockets: bound here, or taken over from the process that served before.
//!
//! With `SO_REUSEPORT` every socket has a backlog of its own, and the kernel resets what waits in there when the last
//! process that holds the socket closes it. So an inherited socket is always served, even if there are more of them
//! than workers.

use std::{io, net::SocketAddr, os::fd::OwnedFd};

use socket2::Socket;

use crate::{
    listener::{self, ListenerSettings},
    workers::SpawnError,
};

/// A listening socket that one process can hand to another.
#[derive(Debug)]
pub struct OpenSocket {
    /// The address as configured: its port may be 0, which the socket's own never is.
    pub address: SocketAddr,
    /// The socket.
    pub socket: OwnedFd,
}

/// One worker's sockets, by listener.
pub(crate) type WorkerSockets = Vec<(ListenerSettings, Vec<Socket>)>;

/// Sockets for all workers.
#[derive(Default)]
pub(crate) struct Opened {
    /// For each worker, at least one at each address.
    pub(crate) workers: Vec<WorkerSockets>,
    /// Where they listen, in the order asked for, with the ports that the system chose.
    pub(crate) addresses: Vec<SocketAddr>,
    /// All of them once more, to be handed on.
    pub(crate) shared: Vec<OpenSocket>,
}

/// Opens all `listeners` for each of `count` workers, with the `inherited` sockets where they fit. Those that fit
/// nowhere are closed.
pub(crate) fn open_all(
    count: u32,
    listeners: &[ListenerSettings],
    mut inherited: Vec<OpenSocket>,
) -> Result<Opened, SpawnError> {
    let mut opened = Opened { workers: (0..count).map(|_| Vec::new()).collect(), ..Opened::default() };
    for settings in listeners {
        let asked = settings.address;
        let bind = |source| SpawnError::Bind { address: asked, source };
        let (address, sockets) = open(count, asked, &mut inherited).map_err(bind)?;
        opened.addresses.push(address);
        let mut shares: Vec<Vec<Socket>> = opened.workers.iter().map(|_| Vec::new()).collect();
        for (socket, worker) in sockets.into_iter().zip((0..shares.len()).cycle()) {
            let shared = socket.try_clone().map_err(bind)?.into();
            opened.shared.push(OpenSocket { address: asked, socket: shared });
            shares[worker].push(socket);
        }
        for (worker, share) in opened.workers.iter_mut().zip(shares) {
            worker.push((ListenerSettings { address, ..settings.clone() }, share));
        }
    }
    Ok(opened)
}

/// The sockets of one listener: at least one for each worker. A port that is left to the system is the first one's.
fn open(count: u32, asked: SocketAddr, inherited: &mut Vec<OpenSocket>) -> io::Result<(SocketAddr, Vec<Socket>)> {
    let (mut address, mut sockets) = (asked, Vec::new());
    if let Some(first) = inherited.iter().find(|open| open.address == asked || local(&open.socket) == Some(asked)) {
        address = local(&first.socket).unwrap_or(asked);
        let fitting = inherited.extract_if(.., |open| local(&open.socket) == Some(address));
        sockets.extend(fitting.map(|open| Socket::from(open.socket)));
    }
    while sockets.len() < count as usize {
        let socket = listener::bind(address)?;
        address = socket.local_addr()?.as_socket().unwrap_or(address);
        sockets.push(socket);
    }
    Ok((address, sockets))
}

fn local(socket: &OwnedFd) -> Option<SocketAddr> {
    socket2::SockRef::from(socket).local_addr().ok()?.as_socket()
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn open_at(count: u32, addresses: &[SocketAddr], inherited: Vec<OpenSocket>) -> Opened {
        let listeners: Vec<_> = addresses.iter().copied().map(ListenerSettings::plain).collect();
        open_all(count, &listeners, inherited).unwrap()
    }

    fn counts(opened: &Opened) -> Vec<Vec<usize>> {
        opened.workers.iter().map(|worker| worker.iter().map(|(_, sockets)| sockets.len()).collect()).collect()
    }

    #[test]
    fn inherited_sockets_are_all_served_whatever_the_number_of_workers() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = open_at(3, &[any, any], Vec::new());
        assert_eq!(counts(&first), [[1, 1], [1, 1], [1, 1]]);
        let addresses = first.addresses.clone();
        assert_ne!(addresses[0], addresses[1]);
        let fewer = open_at(2, &[any, any], first.shared);
        assert_eq!((counts(&fewer), &fewer.addresses), (vec![vec![2, 2], vec![1, 1]], &addresses));
        let more = open_at(4, &[any, any], fewer.shared);
        assert_eq!((counts(&more), &more.addresses), (vec![vec![1, 1]; 4], &addresses));
        // Asked for by the port that the system chose, in another order, and with one listener fewer.
        let other = open_at(4, &[addresses[1]], more.shared);
        assert_eq!((counts(&other), &other.addresses), (vec![vec![1]; 4], &addresses[1..].to_vec()));
        assert_eq!(other.shared.len(), 4);
    }

    #[test]
    fn what_waits_in_a_backlog_stays_there() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let old = open_at(1, &[any], Vec::new());
        old.workers[0][0].1[0].listen(1).unwrap();
        let _waits = TcpStream::connect(old.addresses[0]).unwrap();
        let Opened { workers, shared, .. } = old;
        drop(workers);
        let new = open_at(1, &[any], shared);
        new.workers[0][0].1[0].set_nonblocking(false).unwrap();
        new.workers[0][0].1[0].accept().unwrap();
    }
}
