//! What a pick costs, in a loop: natively and in both lanes, over numbers of endpoints.

use anyhow::Result;

use std::time::Duration;

use super::super::{
    Setting,
    data::{Better, Findings},
};
use crate::{
    picks::{LANES, POLICIES},
    stats::quantile,
};

pub(super) fn run(setting: &Setting) -> Result<Findings> {
    let mut findings = Findings::default();
    let columns = ["policy", "endpoints", "lane", "p50_ns", "p99_ns"];
    let counts: &[u16] = if setting.quick { &[16, 1000] } else { &[2, 4, 16, 64, 256, 1000] };
    // Compiling a policy anew for each round takes about as long as measuring it.
    let cell = Duration::from_millis(if setting.quick { 5 } else { 30 });
    for (policy, measure) in POLICIES {
        for endpoints in counts {
            let mut batches: [Vec<f64>; 3] = Default::default();
            // Rounds, so that there is an interval.
            for _ in 0..setting.count(7, 3) {
                let row = measure(policy, *endpoints, cell)?;
                for ((mut lane, name), all) in row.picks.into_iter().zip(LANES).zip(&mut batches) {
                    let p50 = quantile(&mut lane, 0.5);
                    findings.add(format!("{policy}/{endpoints}/{name}"), "ns", Better::Lower, p50);
                    all.extend(lane);
                }
                for (what, us) in ["all-new", "one-more"].into_iter().zip(row.changes) {
                    findings.add(format!("{policy}/{endpoints}/{what}"), "us", Better::Lower, us);
                }
            }
            for (mut all, lane) in batches.into_iter().zip(LANES) {
                let (p50, p99) = (quantile(&mut all, 0.5), quantile(&mut all, 0.99));
                let row = vec![policy.into(), f64::from(*endpoints).into(), lane.into(), p50.into(), p99.into()];
                findings.row("picks", &columns, row);
            }
        }
    }
    Ok(findings)
}
