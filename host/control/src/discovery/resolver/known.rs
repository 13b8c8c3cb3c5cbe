//! What hosts' addresses were when they were last answered. A query that fails says nothing of them: what one kind of
//! address was is kept until it is answered again, while the other kind may change.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use simple_dns::rdata::RData;

use super::{LookupError, Records};

/// How long an answer holds at most of which a part is kept: what has failed is asked for again before a long TTL is over.
const MAX_TTL: Duration = Duration::from_secs(30);

/// Hosts with their last addresses, of IPv4 and of IPv6.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<String, [Vec<IpAddr>; 2]>);

/// A host's addresses; at least one.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
    /// Why some of the addresses are those of an earlier answer, if any are.
    pub(super) kept: Option<LookupError>,
}

impl Known {
    /// Forgets what nobody asks for any more.
    pub(super) fn forget_others(&mut self, hosts: &BTreeSet<String>) {
        self.0.retain(|host, _| hosts.contains(host));
    }

    /// Takes in the answers about a host's IPv4 and IPv6. That it has no address of a kind is an answer, too.
    pub(super) fn take_in(
        &mut self,
        host: &str,
        answers: [Result<Records, LookupError>; 2],
    ) -> Result<Host, LookupError> {
        let known = self.0.entry(host.to_owned()).or_default();
        let is_answered = answers.iter().any(|answer| !matches!(answer, Err(error) if !error.is_of_name()));
        let (mut ttl, mut kept, mut failed) = (Duration::MAX, None, None);
        for (addresses, answer) in known.iter_mut().zip(answers) {
            match answer {
                Ok(records) => {
                    ttl = ttl.min(records.ttl);
                    *addresses = records.data.iter().filter_map(address).collect();
                }
                Err(error) if error.is_of_name() => {
                    addresses.clear();
                    failed = failed.or(Some(error));
                }
                Err(error) if is_answered && !addresses.is_empty() => {
                    ttl = ttl.min(MAX_TTL);
                    kept = Some(error);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            // When nobody answers, whoever asks goes on with all that there was.
            Some(error) if !is_answered || known.iter().all(Vec::is_empty) => Err(error),
            _ => Ok(Host { addresses: known.concat(), ttl, kept }),
        }
    }
}

fn address(data: &RData<'_>) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(Ipv4Addr::from(a.address).into()),
        RData::AAAA(aaaa) => Some(Ipv6Addr::from(aaaa.address).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use simple_dns::{
        RCODE,
        rdata::{A, AAAA},
    };

    use super::*;

    const SERVER: std::net::SocketAddr = std::net::SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

    fn is(address: &str) -> Result<Records, LookupError> {
        let data = match address.parse().unwrap() {
            IpAddr::V4(ip) => RData::A(A::from(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA::from(ip)),
        };
        Ok(Records { data: vec![data], ttl: Duration::from_secs(600) })
    }

    fn fails() -> Result<Records, LookupError> {
        Err(LookupError::Refused(SERVER, RCODE::ServerFailure))
    }

    fn late() -> Result<Records, LookupError> {
        Err(LookupError::Late)
    }

    fn none() -> Result<Records, LookupError> {
        Err(LookupError::Nothing("api.test".into()))
    }

    fn no_name() -> Result<Records, LookupError> {
        Err(LookupError::NoName("api.test".into()))
    }

    #[test]
    fn a_kind_that_is_not_answered_stays_as_it_was() {
        let mut known = Known::default();
        let mut check = |v4, v6, expected: &[&str], seconds: u64| {
            let host = known.take_in("api.test", [v4, v6]).unwrap();
            let found: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
            assert_eq!(
                (found.as_slice(), host.ttl.as_secs()),
                (&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..], seconds)
            );
            assert_eq!(host.kept.is_some(), seconds == 30);
        };
        // There is nothing to keep yet, and the TTL is that of the other kind.
        check(is("10.0.0.1"), late(), &["10.0.0.1"], 600);
        check(is("10.0.0.1"), is("fd00::1"), &["10.0.0.1", "fd00::1"], 600);
        check(is("10.0.0.2"), fails(), &["10.0.0.2", "fd00::1"], 30);
        check(late(), is("fd00::2"), &["10.0.0.2", "fd00::2"], 30);
        // "There are none" is an answer.
        check(none(), fails(), &["fd00::2"], 30);
        check(is("10.0.0.3"), no_name(), &["10.0.0.3"], 600);
        check(is("10.0.0.3"), fails(), &["10.0.0.3"], 600);
    }

    #[test]
    fn nothing_is_said_when_nobody_answers() {
        let mut known = Known::default();
        known.take_in("api.test", [is("10.0.0.1"), is("fd00::1")]).unwrap();
        assert!(known.take_in("api.test", [fails(), late()]).unwrap_err().is_of_server());
        assert_eq!(known.take_in("api.test", [is("10.0.0.1"), late()]).unwrap().addresses.len(), 2);
        assert!(known.take_in("api.test", [none(), none()]).unwrap_err().is_of_name());
        assert!(known.take_in("api.test", [none(), fails()]).unwrap_err().is_of_name(), "it was empty already");
        known.take_in("api.test", [is("10.0.0.1"), is("fd00::1")]).unwrap();
        known.forget_others(&BTreeSet::from(["other.test".into()]));
        assert_eq!(known.take_in("api.test", [is("10.0.0.1"), late()]).unwrap().addresses.len(), 1);
    }
}
