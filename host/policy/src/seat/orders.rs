//! What the control side and a seat say to each other.

use tokio::sync::{mpsc, oneshot};

use crate::{
    Fault, Saved,
    generation::Instance,
    picks::SeenPick,
    trial::{Tally, TrialMode},
};

/// What a seat tells the control side.
#[derive(Debug)]
pub struct Report {
    /// The worker whose seat it is.
    pub worker: u32,
    /// The generation that sat there.
    pub generation: u64,
    /// What it did.
    pub fault: Fault,
    /// When, on the data path's clock: a report may wait until a rebuild or a swap is done.
    pub at: u64,
}

/// How an instance took its seat.
pub struct Installed {
    /// Whether state was carried over: none when there was none, an error when the successor refused it.
    pub carried: Option<Result<(), String>>,
    /// When it began to serve, on the data path's clock.
    pub at: u64,
    /// Who sat there before. To unmap its memory takes longer than all else of a switch, so the worker does not do it.
    pub(super) _replaced: Option<Instance>,
}

/// What a trial left behind.
pub(crate) struct TrialEnded {
    /// Whether the candidate took the seat.
    pub(crate) promoted: bool,
    /// Who serves no more: as with [`Installed`], the worker does not unmap its memory.
    pub(super) _left: Option<Instance>,
}

/// What the control side wants of a seat.
pub(super) enum Order {
    Install {
        instance: Box<Instance>,
        carry: bool,
        done: oneshot::Sender<Result<Installed, Fault>>,
    },
    /// Who sat there goes back, as with [`Installed`].
    Remove {
        done: oneshot::Sender<Option<Instance>>,
    },
    Save {
        done: oneshot::Sender<Option<Saved>>,
    },
    Try {
        instance: Box<Instance>,
        mode: TrialMode,
        carry: bool,
        done: oneshot::Sender<Result<Installed, Fault>>,
    },
    Share {
        step: u32,
        share: f64,
        done: oneshot::Sender<()>,
    },
    Observe {
        done: oneshot::Sender<Option<Tally>>,
    },
    EndTrial {
        promote: bool,
        done: oneshot::Sender<TrialEnded>,
    },
    Look {
        done: oneshot::Sender<Vec<SeenPick>>,
    },
}

/// The control side's end of a seat.
#[derive(Clone, Debug)]
pub struct SeatHandle {
    worker: u32,
    orders: mpsc::UnboundedSender<Order>,
}

/// A seat whose worker is gone.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the worker has stopped")]
pub struct WorkerGone;

impl SeatHandle {
    pub(super) fn new(worker: u32, orders: mpsc::UnboundedSender<Order>) -> Self {
        Self { worker, orders }
    }

    /// The worker whose seat it is.
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// Puts an instance into the seat, between two requests, with the state of its predecessor if it is to be
    /// carried over. A fault leaves the predecessor in its place.
    ///
    /// The order is on its way when this returns; the future waits for the answer.
    pub fn install(
        &self,
        instance: Instance,
        carry: bool,
    ) -> impl Future<Output = Result<Result<Installed, Fault>, WorkerGone>> + use<> {
        self.ask(move |done| Order::Install { instance: Box::new(instance), carry, done })
    }

    /// Empties the seat: the fallback serves.
    pub async fn remove(&self) -> Result<(), WorkerGone> {
        self.ask(|done| Order::Remove { done }).await.map(drop)
    }

    /// The state of the instance in the seat, if it has any.
    pub async fn save(&self) -> Result<Option<Saved>, WorkerGone> {
        self.ask(|done| Order::Save { done }).await
    }

    /// Puts an instance on trial beside the policy that serves, with a copy of that one's state if it is to be carried
    /// over.
    pub(crate) fn put_on_trial(
        &self,
        instance: Instance,
        mode: TrialMode,
        carry: bool,
    ) -> impl Future<Output = Result<Result<Installed, Fault>, WorkerGone>> + use<> {
        self.ask(move |done| Order::Try { instance: Box::new(instance), mode, carry, done })
    }

    /// Changes the candidate's share of the requests.
    pub(crate) async fn set_share(&self, step: u32, share: f64) -> Result<(), WorkerGone> {
        self.ask(|done| Order::Share { step, share, done }).await
    }

    /// What has been counted of the trial.
    pub(crate) async fn observe(&self) -> Result<Option<Tally>, WorkerGone> {
        self.ask(|done| Order::Observe { done }).await
    }

    /// Ends the trial; with `promote`, the candidate takes the seat.
    pub(crate) async fn end_trial(&self, promote: bool) -> Result<TrialEnded, WorkerGone> {
        self.ask(|done| Order::EndTrial { promote, done }).await
    }

    /// The last picks, of those that were made since somebody has looked first, which may be now.
    pub async fn look(&self) -> Result<Vec<SeenPick>, WorkerGone> {
        self.ask(|done| Order::Look { done }).await
    }

    fn ask<T, O: FnOnce(oneshot::Sender<T>) -> Order>(
        &self,
        order: O,
    ) -> impl Future<Output = Result<T, WorkerGone>> + use<T, O> {
        let (done, answer) = oneshot::channel();
        let sent = self.orders.send(order(done));
        async move {
            sent.map_err(|_| WorkerGone)?;
            answer.await.map_err(|_| WorkerGone)
        }
    }
}
