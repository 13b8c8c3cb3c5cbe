//! The control side's hold on a worker.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use sluicegate_core::ClusterSnapshot;
use sluicegate_policy::SeatInbox;
use tokio::sync::{mpsc, oneshot};

use crate::{cluster::ClusterSettings, load::ClusterLoad, route::RouteTable, worker::DRAIN_GRACE};

/// Why a worker did not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Its thread has ended.
    #[error("the worker has stopped")]
    WorkerGone,
    /// The name is taken.
    #[error("there is a cluster {0} already")]
    ClusterExists(Arc<str>),
    /// Nobody has that name.
    #[error("there is no cluster {0}")]
    UnknownCluster(Arc<str>),
    /// Nobody listens there.
    #[error("there is no listener {0}")]
    UnknownListener(usize),
    /// The routes have to change first.
    #[error("a route still leads to cluster {0}")]
    ClusterInUse(Arc<str>),
}

pub(crate) type Ack = oneshot::Sender<Result<(), ControlError>>;

pub(crate) enum Command {
    Start(oneshot::Sender<Result<(), (SocketAddr, std::io::Error)>>),
    AddCluster(Arc<str>, ClusterSettings, Arc<ClusterSnapshot>, Box<SeatInbox>, Arc<ClusterLoad>, Ack),
    UpdateCluster(Arc<str>, ClusterSettings, Ack),
    SetEndpoints(Arc<str>, Arc<ClusterSnapshot>, Ack),
    RemoveCluster(Arc<str>, Ack),
    SetRoutes(Arc<RouteTable>, Ack),
    SetTls(usize, Arc<ServerConfig>, Ack),
    /// The whole time, and how much of it idle connections get.
    Drain(Duration, Duration, oneshot::Sender<usize>),
}

/// Tells a worker what to do; it does so between two requests.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    pub(crate) worker: u32,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
}

impl WorkerHandle {
    /// The worker's number, from 0.
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// Adds a cluster. Its policy's instance is sent to the other end of `inbox`; all workers count in the same `load`.
    pub async fn add_cluster(
        &self,
        name: Arc<str>,
        settings: ClusterSettings,
        snapshot: Arc<ClusterSnapshot>,
        inbox: SeatInbox,
        load: Arc<ClusterLoad>,
    ) -> Result<(), ControlError> {
        self.ask(|ack| Command::AddCluster(name, settings, snapshot, Box::new(inbox), load, ack)).await?
    }

    /// Changes how requests to a cluster are handled from the next one on.
    pub async fn update_cluster(&self, name: Arc<str>, settings: ClusterSettings) -> Result<(), ControlError> {
        self.ask(|ack| Command::UpdateCluster(name, settings, ack)).await?
    }

    /// Changes a cluster's endpoints. Requests under way to one that is gone finish.
    pub async fn set_endpoints(&self, name: Arc<str>, snapshot: Arc<ClusterSnapshot>) -> Result<(), ControlError> {
        self.ask(|ack| Command::SetEndpoints(name, snapshot, ack)).await?
    }

    /// Removes a cluster that no route leads to. Requests under way finish.
    pub async fn remove_cluster(&self, name: Arc<str>) -> Result<(), ControlError> {
        self.ask(|ack| Command::RemoveCluster(name, ack)).await?
    }

    /// Changes all routes at once. All their clusters have to be there.
    pub async fn set_routes(&self, routes: Arc<RouteTable>) -> Result<(), ControlError> {
        self.ask(|ack| Command::SetRoutes(routes, ack)).await?
    }

    /// Secures a listener's new connections with something else. `index`: its place among the listeners.
    pub async fn set_tls(&self, index: usize, config: Arc<ServerConfig>) -> Result<(), ControlError> {
        self.ask(|ack| Command::SetTls(index, config, ack)).await?
    }

    /// Stops accepting connections, lets requests finish until `timeout` is over, and ends the worker. Returns how
    /// many connections were cut off.
    pub async fn drain(&self, timeout: Duration) -> Result<usize, ControlError> {
        self.ask(|done| Command::Drain(timeout, DRAIN_GRACE, done)).await
    }

    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, ControlError> {
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).map_err(|_| ControlError::WorkerGone)?;
        answer.await.map_err(|_| ControlError::WorkerGone)
    }
}
