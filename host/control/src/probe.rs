//! Active health checks: asks a cluster's endpoints how they are, beside the traffic.
//!
//! Each endpoint has a task that asks, reports and sleeps. They are the control side's: no worker is ever held up by
//! them, and they see what a new client would see, not what an old connection still can do.

mod ask;

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use sluicegate_core::{Endpoint, EndpointId, Probe, Rng};
use sluicegate_policy::Clock;
use sluicegate_proxy::{ClusterSettings, UpstreamProtocol};
use tokio::{
    sync::{Semaphore, mpsc},
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{
    actor::Event,
    config::{HealthCheck, Question},
};

/// How many endpoints of a cluster are asked at the same time: each one costs a socket, and a cluster of ten thousand
/// that hang should not take those that the traffic needs.
const MAX_AT_ONCE: usize = 100;

/// A health check's result.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) endpoint: EndpointId,
    pub(crate) probe: Probe,
    /// What was wrong.
    pub(crate) failure: Option<Arc<str>>,
}

/// Asks the endpoints of one cluster. When it goes, nobody is asked any more.
pub(crate) struct Prober {
    clock: Clock,
    rng: Rng,
    results: mpsc::Sender<Event>,
    way: Option<Arc<Way>>,
    tasks: HashMap<EndpointId, Task>,
}

/// How endpoints are asked.
struct Way {
    check: HealthCheck,
    protocol: UpstreamProtocol,
    tls: Option<(Arc<ClientConfig>, Option<ServerName<'static>>)>,
    /// What connections begin with, where endpoints expect it: who asks is nobody's client.
    greeting: Vec<u8>,
    turns: Semaphore,
}

/// Ends with its handle.
struct Task(AbortHandle);

impl Prober {
    /// Asks nobody yet. Results go to `results`.
    pub(crate) fn new(clock: Clock, seed: u64, results: mpsc::Sender<Event>) -> Self {
        Self { clock, rng: Rng::new(seed), results, way: None, tasks: HashMap::new() }
    }

    /// Asks in another way from now on, or nobody.
    pub(crate) fn set_way(
        &mut self,
        check: Option<&HealthCheck>,
        settings: &ClusterSettings,
        endpoints: &[Arc<Endpoint>],
    ) {
        self.tasks.clear();
        self.way = check.map(|check| Arc::new(Way::new(check.clone(), settings)));
        self.set_endpoints(endpoints);
    }

    /// Asks these endpoints from now on, and no others.
    pub(crate) fn set_endpoints(&mut self, endpoints: &[Arc<Endpoint>]) {
        let Some(way) = &self.way else { return };
        let mut before = std::mem::take(&mut self.tasks);
        for endpoint in endpoints {
            let task = before.remove(&endpoint.id).unwrap_or_else(|| {
                let (way, results, rng) = (Arc::clone(way), self.results.clone(), Rng::new(self.rng.next_u64()));
                let watch = way.watch(endpoint.id, endpoint.spec.address, self.clock, rng, results);
                Task(tokio::spawn(watch).abort_handle())
            });
            self.tasks.insert(endpoint.id, task);
        }
    }
}

impl Way {
    fn new(check: HealthCheck, settings: &ClusterSettings) -> Self {
        // gRPC is HTTP/2, whatever else the cluster speaks.
        let protocol = match check.question {
            Question::Grpc { .. } => UpstreamProtocol::Http2,
            _ => settings.protocol,
        };
        let tls = settings.tls.as_ref().map(|tls| {
            let mut config = Arc::clone(&tls.config);
            if protocol != settings.protocol {
                Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec()];
            }
            (config, tls.server_name.clone())
        });
        // Another port is another server, as far as anybody knows.
        let announced = settings.proxy_protocol.filter(|_| check.port.is_none());
        let greeting = announced.map_or_else(Vec::new, |version| version.header(None));
        Self { check, protocol, tls, greeting, turns: Semaphore::new(MAX_AT_ONCE) }
    }

    /// Asks one endpoint again and again, until nobody wants to know any more.
    async fn watch(
        self: Arc<Self>,
        endpoint: EndpointId,
        mut address: SocketAddr,
        clock: Clock,
        mut rng: Rng,
        results: mpsc::Sender<Event>,
    ) {
        let spec = self.check.spec;
        let time = Duration::from_nanos(spec.timeout_ns);
        address.set_port(self.check.port.unwrap_or(address.port()));
        let mut next = spec.first_probe(clock.now(), &mut rng);
        loop {
            sleep(Duration::from_nanos(next.saturating_sub(clock.now()))).await;
            let turn = self.turns.acquire().await;
            let asked = timeout(time, self.ask(address)).await;
            drop(turn);
            next = spec.next_probe(clock.now(), &mut rng);
            let (probe, failure) = match asked {
                Ok(Ok(true)) => (Probe::Passed, None),
                Ok(Ok(false)) => continue,
                Ok(Err(failure)) => (Probe::Failed, Some(failure.into())),
                Err(_) => (Probe::TimedOut, Some(format!("no answer within {time:?}").into())),
            };
            if results.send(Event::Probed(Probed { endpoint, probe, failure })).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use sluicegate_core::{ClusterSnapshot, EndpointSpec, HealthSpec, LiveArena};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn only_so_many_are_asked_at_once_and_nobody_when_it_goes() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Two connections for each turn there is, to somebody who never answers.
        let specs = (1..=MAX_AT_ONCE as u8 * 2).map(|last| EndpointSpec::new(([127, 0, 0, last], port).into()));
        let all = ClusterSnapshot::empty("test").next(&specs.collect::<Vec<_>>(), &mut LiveArena::default(), 0);
        let check = HealthCheck {
            question: Question::Http { path: http::uri::PathAndQuery::from_static("/"), host: None, expect: vec![] },
            port: None,
            spec: HealthSpec { jitter_percent: 0, timeout_ns: 60_000_000_000, ..HealthSpec::default() },
        };
        let (results, mut events) = mpsc::channel(1);
        let mut prober = Prober::new(Clock::start(), 1, results);
        prober.set_way(Some(&check), &ClusterSettings::default(), all.endpoints());
        let mut accepted = Vec::new();
        for _ in 0..MAX_AT_ONCE {
            accepted.push(listener.accept().await.unwrap());
        }
        timeout(Duration::from_millis(200), listener.accept()).await.expect_err("one more than there may be");
        drop(prober);
        assert!(events.recv().await.is_none(), "all tasks are over");
    }
}
