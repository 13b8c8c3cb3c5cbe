//! From what is known of the endpoints to who is seen.

use std::{collections::HashMap, sync::Arc};

use sluicegate_core::{Availability, ClusterSnapshot, Endpoint, EndpointSpec, EndpointState, Level};

use super::{EndpointView, Endpoints, Standing};

impl Endpoints {
    /// The picture of who may be picked now; `None` when it is the one from `before`.
    pub(crate) fn show(&mut self, before: &ClusterSnapshot, now: u64) -> Option<ClusterSnapshot> {
        let states: Vec<EndpointState> = self.all().iter().map(|endpoint| self.state(endpoint)).collect();
        let factors = self.factors(&states, now);
        let availability = Availability::of(&states, &self.rules.availability);
        let mut weights: Vec<u32> = vec![0; states.len()];
        for (index, weight) in availability.shares(&states, &factors) {
            weights[index as usize] = weight;
        }
        self.set_levels(availability.levels());
        let known: HashMap<_, _> = before.endpoints().iter().map(|endpoint| (endpoint.id, endpoint)).collect();
        let (mut shown, mut hidden) = (Vec::new(), Vec::new());
        for (endpoint, weight) in self.all().iter().zip(weights) {
            if weight == 0 {
                hidden.push(Arc::clone(endpoint));
                continue;
            }
            let spec = EndpointSpec { weight, ..endpoint.spec.clone() };
            let watch = self.standings.get(&endpoint.id).and_then(|standing| standing.watch.clone());
            let is_same = |known: &&&Arc<Endpoint>| {
                known.spec == spec && known.watch.as_ref().map(Arc::as_ptr) == watch.as_ref().map(Arc::as_ptr)
            };
            let same = known.get(&endpoint.id).filter(is_same).map(|known| Arc::clone(known));
            shown.push(same.unwrap_or_else(|| Arc::new(Endpoint { spec, watch, ..Endpoint::clone(endpoint) })));
        }
        if same(&shown, before.endpoints()) && same(&hidden, before.hidden()) {
            return None;
        }
        Some(before.showing(shown, hidden))
    }

    /// Everybody, as the operator sees them beside a picture.
    pub(crate) fn views(&self, snapshot: &ClusterSnapshot) -> Arc<[EndpointView]> {
        let weights: HashMap<_, _> =
            snapshot.endpoints().iter().map(|endpoint| (endpoint.id, endpoint.spec.weight)).collect();
        let view = |endpoint: &Arc<Endpoint>| {
            let (state, reason) =
                self.standings.get(&endpoint.id).map_or(("unknown", None), |standing| match standing {
                    _ if endpoint.spec.drain => ("draining", None),
                    Standing { ejected: Some(cause), .. } => ("ejected", Some(cause.label().into())),
                    Standing { health, failure, .. } if !health.is_healthy() => ("unhealthy", failure.clone()),
                    Standing { health, .. } if health.is_known() => ("healthy", None),
                    _ => ("unknown", None),
                });
            let shown_weight = weights.get(&endpoint.id).copied().unwrap_or(0);
            EndpointView { endpoint: Arc::clone(endpoint), state, reason, shown_weight }
        };
        self.all().iter().map(view).collect()
    }

    fn state(&self, endpoint: &Endpoint) -> EndpointState {
        let standing = self.standings.get(&endpoint.id);
        EndpointState {
            healthy: standing.is_none_or(|standing| standing.health.is_healthy()),
            ejected: standing.is_some_and(|standing| standing.ejected.is_some()),
            draining: endpoint.spec.drain,
            priority: endpoint.spec.priority,
            weight: endpoint.spec.weight,
        }
    }

    /// How much of its weight each endpoint bears by now: it warms up from when it comes, and from when it comes back.
    fn factors(&mut self, states: &[EndpointState], now: u64) -> Vec<f64> {
        let slow_start = self.rules.slow_start;
        let endpoints = self.all.endpoints().iter().zip(states);
        let factors: Vec<f64> = endpoints
            .map(|(endpoint, state)| {
                let Some(standing) = self.standings.get_mut(&endpoint.id) else { return 1.0 };
                if !state.healthy || state.ejected || state.draining {
                    // Should it be used all the same, it is because there are too few: then there is no time to warm up.
                    standing.available_since = None;
                    return 1.0;
                }
                slow_start.factor(*standing.available_since.get_or_insert(now), now)
            })
            .collect();
        self.is_warming = factors.iter().any(|factor| *factor < 1.0);
        factors
    }

    fn set_levels(&mut self, levels: &[Level]) {
        let panics = |levels: &[Level], priority| {
            levels.iter().any(|level| level.priority == priority && level.panicking && !level.members.is_empty())
        };
        for priority in levels.iter().map(|level| level.priority) {
            match (panics(&self.levels, priority), panics(levels, priority)) {
                (false, true) => tracing::warn!(
                    cluster = %self.cluster, priority,
                    "too few endpoints are healthy: all of them get requests (panic_threshold_percent)"
                ),
                (true, false) => tracing::info!(
                    cluster = %self.cluster, priority, "enough endpoints are healthy again: only they get requests"
                ),
                _ => {}
            }
        }
        self.levels = levels.into();
    }
}

fn same(one: &[Arc<Endpoint>], other: &[Arc<Endpoint>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}
