//! What is under way is looked after: it must move, and come to its end.

use std::task::{Context, Poll, ready};

use crate::{failure::Failure, record::Record, timer::Idle};

/// Looks after a response's body, or what comes after a switch of protocols.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Begins when something is waited for.
    idle: Option<Idle>,
}

impl Watch {
    /// Ready when the body has to be cut off. To be called when nothing comes.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, record: &Record) -> Poll<Failure> {
        if record.deadline != u64::MAX && record.timer.poll(cx, record.deadline).is_ready() {
            return Poll::Ready(Failure::RequestTimeout { timeout: record.limit() });
        }
        self.poll_idle(cx, record, record.moved())
    }

    /// Ready when nothing has moved for too long. `moved`: a count of what has.
    pub(crate) fn poll_idle(&mut self, cx: &mut Context<'_>, record: &Record, moved: u64) -> Poll<Failure> {
        let Some(cluster) = &record.cluster else { return Poll::Pending };
        let timeout = || cluster.settings().stream_idle_timeout;
        let idle = self.idle.get_or_insert_with(|| Idle::new(timeout(), record.client.worker.clock.now(), moved));
        ready!(idle.poll(cx, &record.timer, moved));
        Poll::Ready(Failure::StreamIdle { timeout: timeout() })
    }
}
