//! Two workers against one.
//!
//! On a machine with processors to spare, throughput would tell. Here load, origin and workers may have to share what
//! there is, and then what a second worker adds is what the others leave it. So it is told from the processor time of a
//! request: workers wait for nothing but the network, so what they get in each other's way (locks, cache lines that go to
//! and fro) is in it. Two processors' worth of it, at two workers' price, is what two workers can do.
//!
//! Both proxies, load and origin may run anywhere, in every run.

use anyhow::Result;

use super::super::{
    Setting,
    data::{Better, Findings},
};
use crate::{
    load::{Plan, Target},
    stand::{Gate, OriginSpec, Origins, pin_self, unpin_self, usage},
};

/// For each worker, so that each finds as much to do whenever it looks.
const CONNECTIONS: usize = 32;

pub(super) fn run(setting: &Setting) -> Result<Findings> {
    let mut findings = Findings::default();
    let Some(cores) = setting.cores else {
        findings.remark("Two workers were not compared with one: there is one processor.");
        return Ok(findings);
    };
    unpin_self()?;
    let origins = Origins::start(vec![OriginSpec::default()])?;
    let origin = origins.addresses[0];
    let config = format!("[[route]]\ncluster = \"api\"\n[cluster.api]\npolicy = \"p2c\"\nendpoints = [\"{origin}\"]\n");
    let gates = [Gate::with_workers(&config, 1)?, Gate::with_workers(&config, 2)?];
    let (short, time) = (setting.time(0.3, 0.2), setting.time(2.0, 0.6));
    // The first round warms up.
    for round in 0..=setting.count(8, 3) {
        let mut cpu = [0.0; 2];
        // Nobody is always first.
        for index in [round % 2, (round + 1) % 2] {
            let (gate, connections) = (&gates[index], CONNECTIONS * (index + 1));
            let plan = Plan::closed(Target::at(gate.http1(), "/128"), connections, short, time);
            let (before, own) = (gate.usage(), usage(std::process::id()));
            let outcome = plan.run()?;
            let seconds = (short + time).as_secs_f64();
            let answered = outcome.throughput() * seconds;
            let own = usage(std::process::id()) - own;
            // The proxies are children of this process.
            let spent = gate.usage() - before;
            cpu[index] = spent.total / answered * 1e6;
            if round > 0 {
                let name = ["one", "two"][index];
                findings.add(format!("{name}/throughput"), "requests/s", Better::Higher, outcome.throughput());
                findings.add(format!("{name}/cpu"), "us/request", Better::Lower, cpu[index]);
                let busy = spent.total / seconds;
                findings.add(format!("{name}/busy"), "processors", Better::Neither, busy);
                findings.add(format!("{name}/others"), "processors", Better::Neither, own.total / seconds - busy);
            }
        }
        if round > 0 {
            findings.add("scaling", "of one worker", Better::Higher, 2.0 * cpu[0] / cpu[1]);
        }
    }
    pin_self(cores.load)?;
    Ok(findings)
}
