//! The smallest proxy: one worker on 127.0.0.1:7110, or the port given as an argument; one cluster with one endpoint at 127.0.0.1:7001, nobody in the
//! policy's seat. It is what `cost per request` is measured with.

use std::{net::SocketAddr, sync::Arc};

use sluicegate_core::{ClusterSnapshot, EndpointSpec, LiveArena};
use sluicegate_policy::{Clock, seat};
use sluicegate_proxy::{ClusterSettings, Route, RouteTable, WorkerOptions, spawn_workers};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = Clock::start();
    let port = std::env::args().nth(1).map_or(Ok(7110), |port| port.parse())?;
    let listener = SocketAddr::from(([127, 0, 0, 1], port));
    let options =
        WorkerOptions { clock, access_log: false, limits: Arc::default(), thread_start: Arc::new(|_| Box::new(())) };
    let workers = spawn_workers(1, &[sluicegate_proxy::ListenerSettings::plain(listener)], &options)?;
    let specs = [EndpointSpec::new(([127, 0, 0, 1], 7001).into())];
    let snapshot = Arc::new(ClusterSnapshot::empty("origin").next(&specs, &mut LiveArena::default(), clock.now()));
    let routes = Arc::new(RouteTable::new(vec![Route { host: None, path_prefix: None, cluster: "origin".into() }]));
    let (reports, _inbox) = tokio::sync::mpsc::channel(1);
    let mut seats = Vec::new();
    for handle in workers.handles() {
        let (seat, inbox) = seat(handle.worker(), 1, clock, reports.clone());
        seats.push(seat);
        handle
            .add_cluster("origin".into(), ClusterSettings::default(), Arc::clone(&snapshot), inbox, Arc::default())
            .await?;
        handle.set_routes(Arc::clone(&routes)).await?;
    }
    workers.start().await?;
    std::future::pending().await
}
