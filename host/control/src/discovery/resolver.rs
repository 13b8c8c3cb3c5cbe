//! Asks DNS servers: a stub resolver (RFC 1035, section 5.3.1) with what discovery needs, and no more.
//!
//! Not asked are the hosts file and whatever else the system may have beside DNS; answers are not kept here, but by
//! whoever asks.

mod known;

use std::{
    collections::BTreeMap,
    fs,
    future::pending,
    hash::{BuildHasher as _, RandomState},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
    rdata::{RData, SRV},
};
use sluicegate_core::EndpointSpec;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    sync::oneshot,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::config::{Dns, Lookup};
use known::Host;
pub(super) use known::Known;

/// How long one server may take. Those nearby take milliseconds, and a name that they have to ask for themselves
/// hardly ever takes longer.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// After how long without an answer the next server is asked as well: the first may be down, and each of its names would
/// wait for it.
const NEXT_SERVER: Duration = Duration::from_millis(500);

/// How long an answer about IPv6 is waited for once that about IPv4 is there: some servers have none, not even that there
/// is nothing.
const SECOND_KIND: Duration = Duration::from_millis(500);

/// How often each server is asked, as a datagram may get lost.
const ROUNDS: usize = 2;

/// The largest answer in a datagram without extensions (RFC 1035, section 2.3.4); longer ones come over TCP.
const MAX_DATAGRAM: usize = 512;

/// Where the system's servers are.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What a name came to.
#[derive(Debug)]
pub(super) struct Answer {
    /// At least one, in the order of their addresses, so that servers which rotate their answers change nothing.
    pub(super) endpoints: Vec<EndpointSpec>,
    /// How long it holds.
    pub(super) ttl: Duration,
    /// Why some of them are those of an earlier answer, if any are.
    pub(super) kept: Option<LookupError>,
}

/// Why a name came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error("there are no servers to ask: name some in [dns], or in {RESOLV_CONF}")]
    NoServers,
    #[error("{0:?} does not exist")]
    NoName(String),
    #[error("{0:?} has no such records")]
    Nothing(String),
    #[error("{0:?} is no name")]
    BadName(String),
    #[error("{0}: {1}")]
    Failed(SocketAddr, io::Error),
    #[error("{0} answers {1:?}")]
    Refused(SocketAddr, RCODE),
    #[error("{0} says what is no answer")]
    Malformed(SocketAddr),
    #[error("no answer in time")]
    Late,
}

impl LookupError {
    /// Whether another server may know more.
    fn is_of_server(&self) -> bool {
        matches!(self, Self::Failed(..) | Self::Refused(..) | Self::Malformed(_))
    }

    /// Whether what was asked for is known not to be there.
    fn is_of_name(&self) -> bool {
        matches!(self, Self::NoName(_) | Self::Nothing(_))
    }
}

/// Records of one kind.
struct Records {
    data: Vec<RData<'static>>,
    ttl: Duration,
}

/// Who is asked, and what for.
struct Servers {
    addresses: Vec<SocketAddr>,
    /// Which of them is asked first.
    first: AtomicUsize,
    /// What may have to be put behind names with fewer dots than `ndots`.
    search: Vec<String>,
    ndots: usize,
}

/// The endpoints behind a name. `known`: what this has found before.
pub(super) async fn resolve(lookup: &Lookup, dns: &Dns, known: &mut Known) -> Result<Answer, LookupError> {
    let servers = Servers::new(dns)?;
    // By address: one that is there twice counts once, with both weights.
    let mut weights = BTreeMap::<SocketAddr, u32>::new();
    let (ttl, kept) = match lookup {
        Lookup::Addresses { host, port } => {
            let Host { addresses, ttl, kept } = servers.addresses(host, known).await?;
            weights.extend(addresses.into_iter().map(|ip| (SocketAddr::new(ip, *port), 1)));
            (ttl, kept)
        }
        Lookup::Service(name) => {
            let Records { data, mut ttl } = servers.records(name, TYPE::SRV).await?;
            let services = || data.iter().filter_map(|data| if let RData::SRV(srv) = data { Some(srv) } else { None });
            // The others are for when none of these can be reached.
            let first = services().map(|srv| srv.priority).min();
            let host = |srv: &SRV<'_>| format!("{}.", srv.target);
            known.forget_others(&services().map(host).collect());
            let (mut gone, mut kept) = (None, None);
            for srv in services().filter(|srv| Some(srv.priority) == first) {
                let found = match servers.addresses(&host(srv), known).await {
                    Ok(found) => found,
                    // One that is gone says nothing of the others.
                    Err(error) if error.is_of_name() => {
                        gone = Some(error);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                ttl = ttl.min(found.ttl);
                kept = kept.or(found.kept);
                for ip in found.addresses {
                    // A weight of 0 means the smallest there is.
                    *weights.entry(SocketAddr::new(ip, srv.port)).or_default() += u32::from(srv.weight).max(1);
                }
            }
            if let Some(error) = gone.filter(|_| weights.is_empty()) {
                return Err(error);
            }
            (ttl, kept)
        }
    };
    let endpoint = |(address, weight): (SocketAddr, u32)| EndpointSpec { weight, ..EndpointSpec::new(address) };
    Ok(Answer { endpoints: weights.into_iter().map(endpoint).collect(), ttl, kept })
}

impl Servers {
    fn new(dns: &Dns) -> Result<Self, LookupError> {
        let mut servers =
            Self { addresses: dns.servers.clone(), first: AtomicUsize::new(0), search: Vec::new(), ndots: 1 };
        if servers.addresses.is_empty() {
            let text = fs::read(RESOLV_CONF).unwrap_or_default();
            let (conf, _) = resolv_conf::Config::parse_with_errors(&text);
            servers.addresses = conf.nameservers.iter().map(|ip| SocketAddr::new(IpAddr::from(ip), 53)).collect();
            servers.search = conf.get_last_search_or_domain().cloned().collect();
            servers.ndots = conf.ndots as usize;
        }
        if servers.addresses.is_empty() { Err(LookupError::NoServers) } else { Ok(servers) }
    }

    /// What a name may mean, in the order of asking (`resolv.conf(5)`); a dot at its end says that it is whole.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.trim_end_matches('.').to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{name}.{}", domain.trim_matches('.')));
        let whole = std::iter::once(name.to_owned());
        let is_whole = name.matches('.').count() >= self.ndots;
        if is_whole { whole.chain(searched).collect() } else { searched.chain(whole).collect() }
    }

    /// All of a host's addresses. If only one of the two kinds is to be had, that has to do, with what is known of the
    /// other: there are servers that never answer when asked for IPv6, which is not waited for much longer than for IPv4.
    async fn addresses(&self, host: &str, known: &mut Known) -> Result<Host, LookupError> {
        let (is_had, had) = oneshot::channel();
        let v4 = async {
            let v4 = self.records(host, TYPE::A).await;
            if v4.is_ok() {
                // Who asks for IPv6 may have its answer already.
                let _ = is_had.send(());
            }
            v4
        };
        let late = async {
            match had.await {
                Ok(()) => sleep(SECOND_KIND).await,
                Err(_) => pending().await,
            }
        };
        let v6 = async {
            tokio::select! {
                v6 = self.records(host, TYPE::AAAA) => v6,
                () = late => Err(LookupError::Late),
            }
        };
        let (v4, v6) = tokio::join!(v4, v6);
        known.take_in(host, [v4, v6])
    }

    /// A name's records of one kind; at least one.
    async fn records(&self, name: &str, kind: TYPE) -> Result<Records, LookupError> {
        let mut last = LookupError::NoName(name.to_owned());
        for candidate in self.candidates(name) {
            match self.ask(&candidate, kind).await {
                Ok(records) => return Ok(records),
                Err(error) if error.is_of_name() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Asks one server after the other, until one knows: the next as soon as one fails, or takes long. The one that
    /// answered last goes first.
    async fn ask(&self, name: &str, kind: TYPE) -> Result<Records, LookupError> {
        let mut round = self.addresses.clone();
        round.rotate_left(self.first.load(Ordering::Relaxed));
        let mut servers = round.repeat(ROUNDS).into_iter();
        let (mut asked, mut last) = (JoinSet::new(), LookupError::NoServers);
        loop {
            let next = servers.next();
            if let Some(server) = next {
                let name = name.to_owned();
                asked.spawn(async move {
                    let answer = timeout(SERVER_TIMEOUT, ask(server, &name, kind)).await;
                    (server, answer.unwrap_or(Err(LookupError::Failed(server, io::ErrorKind::TimedOut.into()))))
                });
            }
            tokio::select! {
                answer = asked.join_next() => match answer {
                    Some(Ok((_, Err(error)))) if error.is_of_server() => last = error,
                    Some(Ok((server, answer))) => {
                        let index = self.addresses.iter().position(|address| *address == server);
                        self.first.store(index.unwrap_or_default(), Ordering::Relaxed);
                        return answer;
                    }
                    Some(Err(error)) => tracing::error!(%error, "a look-up broke"),
                    None => return Err(last),
                },
                () = sleep(NEXT_SERVER), if next.is_some() => {}
            }
        }
    }
}

async fn ask(server: SocketAddr, name: &str, kind: TYPE) -> Result<Records, LookupError> {
    let failed = |error| LookupError::Failed(server, error);
    // Whoever is not on the way between here and there has to guess this, and the port (RFC 5452).
    let id = RandomState::new().hash_one(name) as u16;
    let mut query = Packet::new_query(id);
    query.set_flags(PacketFlag::RECURSION_DESIRED);
    let qname = Name::new(name).map_err(|_| LookupError::BadName(name.to_owned()))?;
    query.questions.push(Question::new(qname, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    let bytes = query.build_bytes_vec().map_err(|_| LookupError::BadName(name.to_owned()))?;
    let mut answer = ask_by_datagram(server, &bytes, &query).await.map_err(failed)?;
    let is_whole = |answer: &[u8]| Packet::parse(answer).is_ok_and(|it| !it.has_flags(PacketFlag::TRUNCATION));
    if !is_whole(&answer) {
        answer = ask_by_stream(server, &bytes).await.map_err(failed)?;
    }
    read_answer(server, &answer, &query)
}

/// What a server's bytes say of the question's name.
fn read_answer(server: SocketAddr, bytes: &[u8], query: &Packet<'_>) -> Result<Records, LookupError> {
    let question = &query.questions[0];
    let answer = Packet::parse(bytes).map_err(|_| LookupError::Malformed(server))?;
    if !is_answer_to(&answer, query) {
        return Err(LookupError::Malformed(server));
    }
    match answer.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Err(LookupError::NoName(question.qname.to_string())),
        code => return Err(LookupError::Refused(server, code)),
    }
    // A chain of aliases is in the answer, too, and holds no longer than its weakest part.
    let ttl = answer.answers.iter().map(|record| record.ttl).min();
    let wanted = |record: &ResourceRecord<'_>| record.match_qtype(question.qtype);
    let data: Vec<_> = answer.answers.into_iter().filter(wanted).map(|record| record.rdata.into_owned()).collect();
    match ttl {
        Some(ttl) if !data.is_empty() => Ok(Records { data, ttl: Duration::from_secs(ttl.into()) }),
        _ => Err(LookupError::Nothing(question.qname.to_string())),
    }
}

fn is_answer_to(answer: &Packet<'_>, query: &Packet<'_>) -> bool {
    let (asked, answered) = (&query.questions[0], answer.questions.first());
    answer.id() == query.id()
        && answer.has_flags(PacketFlag::RESPONSE)
        && answered.is_some_and(|answered| {
            answered.qtype == asked.qtype && answered.qname.to_string().eq_ignore_ascii_case(&asked.qname.to_string())
        })
}

async fn ask_by_datagram(server: SocketAddr, bytes: &[u8], query: &Packet<'_>) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // From here on, the kernel takes datagrams of this server only.
    socket.connect(server).await?;
    socket.send(bytes).await?;
    loop {
        let mut answer = vec![0; MAX_DATAGRAM];
        let count = socket.recv(&mut answer).await?;
        answer.truncate(count);
        // Another's guess, or an answer to an earlier question: the right one may still come.
        let is_ours = |answer: &[u8]| Packet::parse(answer).is_ok_and(|answer| is_answer_to(&answer, query));
        if is_ours(&answer) {
            return Ok(answer);
        }
    }
}

async fn ask_by_stream(server: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&(bytes.len() as u16).to_be_bytes(), bytes].concat()).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests;
