//! What joins the two sides of outlier detection.

use std::{fmt, sync::Arc};

use super::{EjectionCause, OutlierMonitor, OutlierSpec, Verdict};
use crate::AttemptResult;

/// An endpoint whose run of failures is long enough, for [`OutlierDetector::suspect`](super::OutlierDetector::suspect).
#[derive(Clone, Debug)]
pub struct Suspect {
    /// Where its attempts are counted.
    pub monitor: Arc<OutlierMonitor>,
    /// What is held against it.
    pub cause: EjectionCause,
}

/// Counts one endpoint's attempts in whichever worker they are made, and reports when a run of failures is long enough.
pub struct OutlierWatch {
    monitor: Arc<OutlierMonitor>,
    spec: OutlierSpec,
    report: Arc<dyn Fn(Suspect) + Send + Sync>,
}

impl OutlierWatch {
    /// `report` is called on a worker's thread, and must not block.
    pub fn new(monitor: Arc<OutlierMonitor>, spec: OutlierSpec, report: Arc<dyn Fn(Suspect) + Send + Sync>) -> Self {
        Self { monitor, spec, report }
    }

    /// Takes in how an attempt went.
    #[inline]
    pub fn record(&self, result: &AttemptResult) {
        let Some(verdict) = Verdict::of(result) else { return };
        if let Some(cause) = self.monitor.record(verdict, &self.spec) {
            (self.report)(Suspect { monitor: Arc::clone(&self.monitor), cause });
        }
    }
}

impl fmt::Debug for OutlierWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutlierWatch").field("monitor", &self.monitor).finish_non_exhaustive()
    }
}
