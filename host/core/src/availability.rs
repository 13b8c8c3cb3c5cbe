//! Who may be picked: endpoints by priority, and how much of the load each priority gets.

use std::collections::BTreeMap;

/// The largest weight of endpoints that are shown with another than their own. A ten-thousandth is finer than any
/// policy's spread, and the weights of ten thousand endpoints still add up within 32 bits.
const FINEST: u32 = 10_000;

/// What is known of an endpoint when the pickable ones are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// What the health checks say.
    pub healthy: bool,
    /// Whether outlier detection has put it aside.
    pub ejected: bool,
    /// Whether it is to get no new requests because somebody is about to take it away.
    pub draining: bool,
    /// Its priority: 0 comes first.
    pub priority: u32,
    /// Its weight beside the others; 0 is the same as 1.
    pub weight: u32,
}

/// When to spread to the next priority, and when not to believe what is known of the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvailabilitySpec {
    /// How much of its share a priority can bear, in percent: with 140, it gives nothing away until less than 100 / 140
    /// of it is available.
    pub overprovisioning_percent: u32,
    /// When less than this many percent of a priority is available, all of its endpoints are used; 0 is off.
    pub panic_percent: u32,
}

/// Both are Envoy's. 140: a cluster is rarely so full that losing two endpoints of seven asks for help from afar. 50:
/// when half of the endpoints seem to be down, it is more likely that the one who says so is wrong, and if not,
/// the other half would not survive the load of all.
impl Default for AvailabilitySpec {
    fn default() -> Self {
        Self { overprovisioning_percent: 140, panic_percent: 50 }
    }
}

/// The endpoints of one priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Which priority.
    pub priority: u32,
    /// Who may be picked, as indexes into the list of all endpoints, from small to large. Never empty when there is
    /// load.
    pub members: Box<[u32]>,
    /// Its part of the load, in percent.
    pub load_percent: u32,
    /// Whether `members` are all endpoints that are not draining, because too few of them are available.
    pub panicking: bool,
}

/// Who may be picked, by priority. Made anew on the control side whenever an endpoint's state changes.
///
/// Policies are shown those who get load and no others: no policy has to know about health, ejection, draining and
/// priorities, and none can get them wrong. Nearly always that is one level, as it is configured. When several levels
/// share the load, or endpoints are warming up, it is in the weights that they are shown with.
///
/// The arithmetic is Envoy's ("Priority levels" and "Panic threshold" in its architecture overview). What counts is
/// weight, not heads, as with its `weighted_priority_health`: losing the one large endpoint is losing most of a level.
/// Draining endpoints are capacity that is gone, so that a level that is drained bit by bit hands over its load bit by
/// bit. But they are no evidence that something is wrong, and do not make a level panic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    levels: Box<[Level]>,
}

impl Availability {
    /// Sorts out all endpoints of a cluster.
    pub fn of(states: &[EndpointState], spec: &AvailabilitySpec) -> Self {
        let mut groups: BTreeMap<u32, Group> = BTreeMap::new();
        for (index, state) in states.iter().enumerate() {
            groups.entry(state.priority).or_default().add(index as u32, state);
        }
        let healths: Vec<u64> = groups.values().map(|group| group.health(spec)).collect();
        let total = healths.iter().sum::<u64>().min(100);
        // As long as the levels together can bear the load, none of them has a reason to panic.
        let panics: Vec<bool> = groups.values().map(|group| total < 100 && group.panics(spec)).collect();
        let all_panic = groups.values().zip(&panics).all(|(group, panics)| *panics || group.usable.is_empty());
        let loads = if all_panic {
            // Health says nothing any more; the levels' sizes do.
            shares(&groups.values().map(|group| group.usable_weight).collect::<Vec<u64>>())
        } else if total > 0 {
            loads(&healths, total)
        } else {
            // Somebody is available, but too few to be a percent.
            let first = groups.values().position(|group| !group.available.is_empty());
            (0..groups.len()).map(|index| if Some(index) == first { 100 } else { 0 }).collect()
        };
        let level = |(((priority, group), panicking), load_percent): (((u32, Group), bool), u32)| Level {
            priority,
            members: if panicking { group.usable } else { group.available }.into(),
            load_percent,
            panicking,
        };
        Self { levels: groups.into_iter().zip(panics).zip(loads).map(level).collect() }
    }

    /// All levels, the first priority first, also those without load. The loads add up to 100, unless there is
    /// nobody to be picked: then all are 0.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Who gets load, as indexes into the list of all endpoints from small to large, and the weight that each is to be
    /// shown with. `states` are those that this was made of; `factors` say how much of its own weight each of them
    /// bears by now, above 0 and at most 1.
    ///
    /// Weights are the endpoints' own as long as that says it all. Otherwise they are from 1 to [`FINEST`], in
    /// proportion to each endpoint's share of all load.
    pub fn shares(&self, states: &[EndpointState], factors: &[f64]) -> Vec<(u32, u32)> {
        let own = |index: u32| states[index as usize].weight.max(1);
        let factor = |index: u32| factors[index as usize];
        let loaded: Vec<&Level> = self.levels.iter().filter(|level| level.load_percent > 0).collect();
        if let [level] = loaded[..]
            && level.members.windows(2).all(|pair| factor(pair[0]) == factor(pair[1]))
        {
            return level.members.iter().map(|index| (*index, own(*index))).collect();
        }
        let mut shares: Vec<(u32, f64)> = Vec::new();
        for level in loaded {
            let weight = |index: &u32| f64::from(own(*index)) * factor(*index);
            let part = f64::from(level.load_percent) / level.members.iter().map(weight).sum::<f64>();
            shares.extend(level.members.iter().map(|index| (*index, weight(index) * part)));
        }
        shares.sort_by_key(|(index, _)| *index);
        let largest = shares.iter().map(|(_, share)| *share).fold(0.0, f64::max);
        let scaled = |share: f64| ((share / largest * f64::from(FINEST)).round() as u32).max(1);
        shares.into_iter().map(|(index, share)| (index, scaled(share))).collect()
    }
}

/// The endpoints of one priority, sorted out.
#[derive(Default)]
struct Group {
    /// Not draining.
    usable: Vec<u32>,
    /// Not draining, healthy and not ejected.
    available: Vec<u32>,
    weight: u64,
    usable_weight: u64,
    available_weight: u64,
}

impl Group {
    fn add(&mut self, index: u32, state: &EndpointState) {
        let weight = u64::from(state.weight.max(1));
        self.weight += weight;
        if state.draining {
            return;
        }
        self.usable.push(index);
        self.usable_weight += weight;
        if state.healthy && !state.ejected {
            self.available.push(index);
            self.available_weight += weight;
        }
    }

    /// How much of its load it can bear, in percent.
    fn health(&self, spec: &AvailabilitySpec) -> u64 {
        let borne = u128::from(self.available_weight) * u128::from(spec.overprovisioning_percent);
        borne.checked_div(u128::from(self.weight)).unwrap_or(0).min(100) as u64
    }

    fn panics(&self, spec: &AvailabilitySpec) -> bool {
        let least = u128::from(self.usable_weight) * u128::from(spec.panic_percent.min(100));
        u128::from(self.available_weight) * 100 < least
    }
}

/// Load from the top down: each level takes what it can bear of the rest. When all together cannot bear it, all are
/// stretched alike. What rounding leaves over goes to the first that bears any.
fn loads(healths: &[u64], total: u64) -> Vec<u32> {
    let mut rest = 100;
    let mut loads: Vec<u32> = Vec::with_capacity(healths.len());
    for health in healths {
        let load = (health * 100 / total).min(rest);
        rest -= load;
        loads.push(load as u32);
    }
    add_rest(&mut loads, healths, rest);
    loads
}

/// Each one's part of 100, rounded down, and what that leaves over to the first that has any. All 0 when none has.
fn shares(sizes: &[u64]) -> Vec<u32> {
    let total: u64 = sizes.iter().sum();
    let share = |size: &u64| (u128::from(*size) * 100).checked_div(u128::from(total)).unwrap_or(0) as u32;
    let mut shares: Vec<u32> = sizes.iter().map(share).collect();
    let rest = 100 - u64::from(shares.iter().sum::<u32>());
    add_rest(&mut shares, sizes, rest);
    shares
}

fn add_rest(shares: &mut [u32], sizes: &[u64], rest: u64) {
    if let Some(first) = sizes.iter().position(|size| *size > 0) {
        shares[first] += rest as u32;
    }
}

#[cfg(test)]
mod tests;
