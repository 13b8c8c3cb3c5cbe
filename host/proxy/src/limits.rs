//! How much is taken from clients, and for how long they are waited for.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use sluicegate_wire::framing::Rules;

/// What clients may take up, all workers together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Open connections. Those above it are told so (503); many more than that are closed without a word.
    pub connections: usize,
    /// Open connections from one address; any number when there is none.
    pub connections_per_client: Option<usize>,
    /// How long a client may take until its first request can come: PROXY header and TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a client may take from the first byte of a request's head to its last.
    pub head_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// How long a client may take none of what is being sent to it.
    pub write_timeout: Duration,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
    /// What a request's head may be.
    pub head: Rules,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            // A gigabyte or two of memory when each is busy; the files that a process may have open are the other limit.
            connections: 50_000,
            // Behind one address there may be an office, or another proxy.
            connections_per_client: None,
            // A TLS handshake is two round trips, and a second of arithmetic on a small device.
            handshake_timeout: Duration::from_secs(10),
            // A head is one packet, or a few; who takes longer keeps a connection on purpose (Slowloris).
            head_timeout: Duration::from_secs(10),
            // NGINX's 75 and HAProxy's and Apache's less: what clients are used to.
            idle_timeout: Duration::from_secs(60),
            // As NGINX's `send_timeout`.
            write_timeout: Duration::from_secs(60),
            // RFC 9113 (section 6.5.2) advises against less than 100.
            streams: 128,
            head: Rules::default(),
        }
    }
}

/// Counts clients' connections, and says who is one too many.
#[derive(Debug)]
pub(crate) struct Admissions {
    limits: Arc<ClientLimits>,
    open: AtomicUsize,
    /// Only where they are limited. Taken once per connection, never for a request.
    by_client: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Admission {
    admissions: Arc<Admissions>,
    client: Option<IpAddr>,
    /// Whether its requests are turned away.
    pub(crate) is_excess: bool,
}

impl Admissions {
    pub(crate) fn new(limits: Arc<ClientLimits>) -> Self {
        Self { limits, open: AtomicUsize::new(0), by_client: Mutex::default() }
    }

    /// A place for a new connection. None: there is no time even to say no.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Admission> {
        let before = self.open.fetch_add(1, Relaxed);
        let admission =
            Admission { admissions: Arc::clone(self), client: None, is_excess: before >= self.limits.connections };
        // Saying no takes a connection, too: for a sixteenth of them, and at least for a few.
        (before < self.limits.connections + self.limits.connections / 16 + 16).then_some(admission)
    }

    fn by_client(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// Counts it for its client, when that is known.
    pub(crate) fn of_client(&mut self, client: IpAddr) {
        let Some(limit) = self.admissions.limits.connections_per_client else { return };
        let client = client.to_canonical();
        let mut by_client = self.admissions.by_client();
        let open = by_client.entry(client).or_default();
        *open += 1;
        self.is_excess |= *open > limit;
        drop(by_client);
        self.client = Some(client);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.admissions.open.fetch_sub(1, Relaxed);
        let Some(client) = self.client else { return };
        if let Entry::Occupied(mut open) = self.admissions.by_client().entry(client) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admissions(connections: usize, connections_per_client: Option<usize>) -> Arc<Admissions> {
        Arc::new(Admissions::new(Arc::new(ClientLimits {
            connections,
            connections_per_client,
            ..ClientLimits::default()
        })))
    }

    #[test]
    fn who_is_too_many_is_told_so_until_even_that_is_too_much() {
        let admissions = admissions(3, None);
        let mut open: Vec<_> = (0..19).map(|_| admissions.enter().unwrap()).collect();
        assert_eq!(open.iter().filter(|admission| admission.is_excess).count(), 16);
        assert!(admissions.enter().is_none());
        open.truncate(2);
        assert!(!admissions.enter().unwrap().is_excess);
        drop(open);
        assert_eq!(admissions.open.load(Relaxed), 0);
    }

    #[test]
    fn each_client_has_a_limit_of_its_own() {
        let admissions = admissions(100, Some(2));
        let enter = |client: &str| {
            let mut admission = admissions.enter().unwrap();
            admission.of_client(client.parse().unwrap());
            admission
        };
        let first = [enter("10.0.0.1"), enter("::ffff:10.0.0.1"), enter("10.0.0.1"), enter("10.0.0.2")];
        assert_eq!(first.each_ref().map(|admission| admission.is_excess), [false, false, true, false]);
        drop(first);
        assert!(!enter("10.0.0.1").is_excess);
        assert!(admissions.by_client().is_empty());
    }
}
