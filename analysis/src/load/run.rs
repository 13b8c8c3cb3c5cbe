//! A run, on one thread: who is due goes to whoever is free.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use anyhow::Result;
use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    Arrivals, Outcome, Plan, Protocol,
    arrivals::Schedule,
    clock::{Alarm, now_ns, thread_cpu_ns},
    http1, http2,
};

/// What the tasks of a run share.
pub(super) struct Shared {
    pub(super) plan: Plan,
    /// When the run began.
    pub(super) start: u64,
    pub(super) state: RefCell<State>,
}

pub(super) struct State {
    /// Due, and no connection was free.
    waiting: VecDeque<u64>,
    /// Free connections, longest first.
    idle: VecDeque<Rc<Desk>>,
    /// Requests that went out and have not ended.
    under_way: usize,
    over: bool,
    outcome: Outcome,
}

/// Where a connection waits for work.
#[derive(Default)]
struct Desk {
    job: RefCell<Option<Job>>,
    called: Notify,
}

/// A request that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// When it is or was.
    pub(super) due: u64,
    /// Whether it had to wait for a connection.
    waited: bool,
}

/// How a request ended.
pub(super) enum End {
    Status(u16),
    Error(&'static str),
}

impl Shared {
    /// The next request; none when the run is over.
    pub(super) async fn next(&self) -> Option<Job> {
        if self.plan.arrivals == Arrivals::Closed {
            // Lets the others have their turn: a server that answers at once would keep this task going forever.
            tokio::task::yield_now().await;
            let due = now_ns();
            return (due < self.start + self.plan.length().as_nanos() as u64).then(|| self.started(due, false));
        }
        let desk = {
            let mut state = self.state.borrow_mut();
            if let Some(due) = state.waiting.pop_front() {
                drop(state);
                return Some(self.started(due, true));
            }
            if state.over {
                return None;
            }
            let desk = Rc::<Desk>::default();
            state.idle.push_back(Rc::clone(&desk));
            desk
        };
        desk.called.notified().await;
        desk.job.take()
    }

    fn started(&self, due: u64, waited: bool) -> Job {
        let mut state = self.state.borrow_mut();
        state.under_way += 1;
        Job { due, waited }
    }

    /// A request is about to be written.
    pub(super) fn sent(&self, job: Job) {
        if job.due < self.counted_from() {
            return;
        }
        let mut state = self.state.borrow_mut();
        if job.waited {
            state.outcome.waited += 1;
        } else {
            state.outcome.lateness.saturating_record(now_ns().saturating_sub(job.due));
        }
    }

    pub(super) fn ended(&self, job: Job, end: &End) {
        let ns = now_ns().saturating_sub(job.due);
        let mut state = self.state.borrow_mut();
        state.under_way -= 1;
        let is_counted = job.due >= self.counted_from();
        let slice = (job.due - self.start) / self.plan.slice.as_nanos().max(1) as u64;
        let outcome = &mut state.outcome;
        let mut slice = outcome.slices.get_mut(slice as usize);
        let kind = match end {
            End::Status(status @ 200..400) => {
                let _ = status;
                if let Some(slice) = &mut slice {
                    slice.latency.saturating_record(ns);
                }
                if is_counted {
                    outcome.due += 1;
                    outcome.latency.saturating_record(ns);
                }
                return;
            }
            End::Status(status) => {
                if is_counted {
                    outcome.failed.saturating_record(ns);
                }
                format!("status {status}")
            }
            End::Error(kind) => (*kind).to_owned(),
        };
        if let Some(slice) = slice {
            slice.errors += 1;
        }
        if is_counted {
            outcome.due += 1;
            *outcome.errors.entry(kind).or_default() += 1;
        }
    }

    fn counted_from(&self) -> u64 {
        self.start + self.plan.warm_up.as_nanos() as u64
    }

    /// How long a request may still take.
    pub(super) fn patience(&self, job: Job) -> Duration {
        self.plan.timeout.saturating_sub(Duration::from_nanos(now_ns().saturating_sub(job.due)))
    }

    fn dispatch(&self, due: u64) {
        let mut state = self.state.borrow_mut();
        match state.idle.pop_front() {
            Some(desk) => {
                state.under_way += 1;
                *desk.job.borrow_mut() = Some(Job { due, waited: false });
                desk.called.notify_one();
            }
            None => state.waiting.push_back(due),
        }
    }

    /// Sends the idle home.
    fn close(&self) {
        let mut state = self.state.borrow_mut();
        state.over = true;
        for desk in state.idle.drain(..) {
            desk.called.notify_one();
        }
    }

    fn is_quiet(&self) -> bool {
        let state = self.state.borrow();
        state.under_way == 0 && state.waiting.is_empty()
    }
}

/// Sockets are looked at often: by default 61 tasks may go before.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().event_interval(11).build()
}

/// Does it, among the other tasks of a [`LocalSet`].
pub(crate) async fn run(plan: Plan) -> Result<Outcome> {
    let outcome = Outcome::new(&plan);
    let state = State { waiting: VecDeque::new(), idle: VecDeque::new(), under_way: 0, over: false, outcome };
    let shared = drive(plan, state).await?;
    let state = Rc::into_inner(shared).map(|shared| shared.state.into_inner());
    Ok(state.ok_or_else(|| anyhow::anyhow!("a connection outlived its run"))?.outcome)
}

async fn drive(plan: Plan, state: State) -> Result<Rc<Shared>> {
    // Connections are made before the first request is due, so that it does not pay for all of them.
    let connections = match plan.protocol {
        Protocol::Http1 => http1::connect(&plan).await?,
        Protocol::Http2 { .. } => Vec::new(),
    };
    let multiplexed = match plan.protocol {
        Protocol::Http1 => Vec::new(),
        Protocol::Http2 { .. } => http2::connect(&plan).await?,
    };
    let alarm = Alarm::new()?;
    let start = now_ns();
    let cpu = thread_cpu_ns();
    let schedule = Schedule::new(plan.arrivals, plan.phases.clone(), plan.seed);
    let (timeout_time, length, is_open) = (plan.timeout, plan.length(), plan.arrivals != Arrivals::Closed);
    let shared = Rc::new(Shared { plan, start, state: RefCell::new(state) });
    let mut tasks = Vec::new();
    for connection in connections {
        tasks.push(tokio::task::spawn_local(http1::drive(Rc::clone(&shared), connection)));
    }
    for connection in multiplexed {
        tasks.extend(http2::drive(&shared, connection));
    }
    tokio::task::yield_now().await;
    if is_open {
        for due in schedule {
            let due = start + due;
            while shared.plan.watches && due > now_ns() {
                tokio::task::yield_now().await;
            }
            if due > now_ns() {
                alarm.at(due).await?;
            }
            shared.dispatch(due);
        }
    } else {
        alarm.at(start + length.as_nanos() as u64).await?;
    }
    let busy = (thread_cpu_ns() - cpu) as f64 / (now_ns() - start).max(1) as f64;
    // Whoever is under way has its own deadline; this is for those that wait behind them.
    let _ = timeout(timeout_time + Duration::from_millis(100), async {
        while !shared.is_quiet() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    shared.close();
    for task in tasks {
        let mut task = task;
        if timeout(Duration::from_secs(1), &mut task).await.is_err() {
            task.abort();
            let _ = task.await;
        }
    }
    settle(&shared, busy);
    Ok(shared)
}

/// What nobody had a connection for counts as what it is, and what was cut off at the end too.
fn settle(shared: &Shared, busy: f64) {
    let from = shared.counted_from();
    let mut state = shared.state.borrow_mut();
    let unsent = state.waiting.iter().filter(|due| **due >= from).count() as u64;
    state.outcome.processor = busy;
    if unsent > 0 {
        state.outcome.due += unsent;
        *state.outcome.errors.entry("never sent".to_owned()).or_default() += unsent;
    }
}
