//! What the control side counts.

use metrics::{Counter, counter};
use sluicegate_core::{EjectionCause, Probe};

/// Registers what the metrics mean, once, at start.
pub fn describe_metrics() {
    use metrics::{describe_counter, describe_gauge};
    describe_gauge!("sluicegate_policy_since_seconds", "Unix time since which the policy serves.");
    describe_gauge!("sluicegate_endpoint_in_flight", "Requests under way at an endpoint.");
    describe_gauge!("sluicegate_endpoint_connections", "Connections open to an endpoint.");
    describe_gauge!(
        "sluicegate_endpoint_healthy",
        "1 if the endpoint is neither unhealthy nor ejected, 0 if it is either."
    );
    describe_counter!("sluicegate_health_checks_total", "Active health checks, by result.");
    describe_counter!("sluicegate_ejections_total", "Endpoints put aside by outlier detection, by cause.");
}

/// What is counted of a cluster's endpoints.
pub(crate) struct HealthMetrics {
    probes: [Counter; 3],
    ejections: [Counter; 3],
}

impl HealthMetrics {
    pub(crate) fn new(cluster: &str) -> Self {
        let causes = [EjectionCause::GatewayFailures, EjectionCause::Failures, EjectionCause::SuccessRate];
        Self {
            probes: ["passed", "failed", "timed_out"].map(|result| {
                counter!("sluicegate_health_checks_total", "cluster" => cluster.to_owned(), "result" => result)
            }),
            ejections: causes.map(|cause| {
                counter!("sluicegate_ejections_total", "cluster" => cluster.to_owned(), "cause" => cause.label())
            }),
        }
    }

    // Both enums' numbers are their order above.
    pub(crate) fn probed(&self, probe: Probe) {
        self.probes[probe as usize].increment(1);
    }

    pub(crate) fn ejected(&self, cause: EjectionCause) {
        self.ejections[cause as usize].increment(1);
    }
}
