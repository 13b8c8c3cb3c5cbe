use proptest::prelude::*;

use super::*;

/// Levels from text: `+` available, `-` unhealthy, `e` ejected, `d` draining, `D` draining and unhealthy, all of weight
/// 1. One word for each priority.
fn states(levels: &str) -> Vec<EndpointState> {
    let state = |priority: usize, kind: char| EndpointState {
        healthy: !matches!(kind, '-' | 'D'),
        ejected: kind == 'e',
        draining: matches!(kind, 'd' | 'D'),
        priority: priority as u32,
        weight: 1,
    };
    let level = |(priority, kinds): (usize, &str)| kinds.chars().map(|kind| state(priority, kind)).collect::<Vec<_>>();
    levels.split(' ').enumerate().flat_map(level).collect()
}

/// Expected, for each level: its load, its members and, when it panics, an exclamation mark.
fn check(levels: &str, expected: &[&str]) {
    let text =
        |level: &Level| format!("{} {:?}{}", level.load_percent, level.members, ["", "!"][level.panicking as usize]);
    let availability = Availability::of(&states(levels), &AvailabilitySpec::default());
    assert_eq!(availability.levels().iter().map(text).collect::<Vec<_>>(), expected, "{levels}");
}

fn loads_of(levels: &str) -> Vec<u32> {
    let availability = Availability::of(&states(levels), &AvailabilitySpec::default());
    availability.levels().iter().map(|level| level.load_percent).collect()
}

#[test]
fn who_is_unhealthy_ejected_or_draining_is_not_picked() {
    check("+++", &["100 [0, 1, 2]"]);
    check("+-+ed+", &["100 [0, 2, 5]"]);
    check("+D", &["100 [0]"]);
}

#[test]
fn below_half_everybody_is_used_but_who_drains() {
    check("++--", &["100 [0, 1]"]);
    check("+e--", &["100 [0, 1, 2, 3]!"]);
    check("+-e-dD", &["100 [0, 1, 2, 3]!"]);
    check("----", &["100 [0, 1, 2, 3]!"]);
}

#[test]
fn draining_is_lost_capacity_but_no_panic() {
    check("+dddd", &["100 [0]"]);
    check("+dddd ++", &["28 [0]", "72 [5, 6]"]);
    check("ddd ++", &["0 []", "100 [3, 4]"]);
}

#[test]
fn nobody_is_nobody() {
    check("dD dd", &["0 []", "0 []"]);
    let nobody = Availability::of(&[], &AvailabilitySpec::default());
    assert_eq!((nobody.levels().len(), nobody.shares(&[], &[])), (0, vec![]));
    assert_eq!(Availability::default(), nobody);
}

/// The tables in "Priority levels" of Envoy's architecture overview: of a hundred endpoints each, how many are
/// available, and the loads.
#[test]
fn loads_are_those_of_the_published_tables() {
    let check = |available: &[usize], loads: &[u32]| {
        let level = |available: &usize| "+".repeat(*available) + &"-".repeat(100 - available);
        assert_eq!(loads_of(&available.iter().map(level).collect::<Vec<_>>().join(" ")), loads, "{available:?}");
    };
    check(&[100, 100], &[100, 0]);
    check(&[72, 100], &[100, 0]);
    check(&[71, 100], &[99, 1]);
    check(&[50, 100], &[70, 30]);
    check(&[25, 100], &[35, 65]);
    check(&[0, 100], &[0, 100]);
    check(&[72, 72], &[100, 0]);
    check(&[71, 71], &[99, 1]);
    check(&[50, 50], &[70, 30]);
    check(&[25, 25], &[50, 50]);
    check(&[0, 50, 100], &[0, 70, 30]);
    check(&[20, 20, 20], &[34, 33, 33]);
}

#[test]
fn a_level_panics_only_if_the_others_cannot_take_over() {
    check("+--- ++++", &["35 [0]", "65 [4, 5, 6, 7]"]);
    check("---- ++++", &["0 []", "100 [4, 5, 6, 7]"]);
    check("+---- ++--", &["29 [0, 1, 2, 3, 4]!", "71 [5, 6]"]);
    check("---- --", &["67 [0, 1, 2, 3]!", "33 [4, 5]!"]);
    check("-- dd", &["100 [0, 1]!", "0 []"]);
}

#[test]
fn weight_counts_and_not_heads() {
    let mut states = states("-++ +");
    states[0].weight = 8;
    let availability = Availability::of(&states, &AvailabilitySpec::default());
    assert_eq!(availability.levels()[0].load_percent, 28, "2 of 10 are left");
    assert_eq!(*availability.levels()[0].members, [1, 2]);
}

#[test]
fn without_panic_nobody_is_picked_against_better_knowledge() {
    let spec = AvailabilitySpec { panic_percent: 0, ..AvailabilitySpec::default() };
    let shares = |levels: &str| Availability::of(&states(levels), &spec).shares(&states(levels), &[1.0; 203]);
    assert_eq!(shares("---"), []);
    // One of 200 is less than a percent, and still better than nobody.
    assert_eq!(shares(&format!("-- {}+", "-".repeat(200))), [(202, 1)]);
}

/// Expected: who gets load, and the weights they are shown with.
fn check_shares(levels: &str, weights: &[(usize, u32)], factors: &[(usize, f64)], expected: &[(u32, u32)]) {
    let (mut states, mut all) = (states(levels), [1.0; 20]);
    weights.iter().for_each(|(index, weight)| states[*index].weight = *weight);
    factors.iter().for_each(|(index, factor)| all[*index] = *factor);
    let shares = Availability::of(&states, &AvailabilitySpec::default()).shares(&states, &all);
    assert_eq!(shares, expected, "{levels} {weights:?} {factors:?}");
}

#[test]
fn one_level_is_shown_as_it_is() {
    check_shares("++-+ ++", &[(0, 7), (1, 0)], &[], &[(0, 7), (1, 1), (3, 1)]);
    check_shares("++", &[(0, 2)], &[(0, 0.3), (1, 0.3)], &[(0, 2), (1, 1)]);
}

#[test]
fn several_levels_share_the_load_by_weight() {
    // 28% for one endpoint, 28% for one, 44% for two: 28 to 28 to 22 to 22.
    check_shares("+---- +---- ++", &[], &[], &[(0, 10_000), (5, 10_000), (10, 7857), (11, 7857)]);
    // Of the second level's 44%, one has three times the other's share: 28 to 33 to 11.
    check_shares("+---- +---- ++", &[(10, 3)], &[], &[(0, 8485), (5, 8485), (10, 10_000), (11, 3333)]);
}

#[test]
fn who_warms_up_gets_part_of_its_share() {
    check_shares("+++", &[], &[(1, 0.25)], &[(0, 10_000), (1, 2500), (2, 10_000)]);
    check_shares("++", &[(0, 65_535)], &[(1, 0.1)], &[(0, 10_000), (1, 1)]);
    // Its level's load stays what it is: the others of its level bear it.
    check_shares("++--- ++", &[], &[(0, 0.5), (5, 0.5)], &[(0, 5000), (1, 10_000), (5, 3929), (6, 7857)]);
}

fn any_states() -> impl Strategy<Value = Vec<EndpointState>> {
    let state = (any::<[bool; 3]>(), 0..4_u32, prop_oneof![0..4_u32, any::<u32>()]);
    let state = state.prop_map(|([healthy, ejected, draining], priority, weight)| EndpointState {
        healthy,
        ejected,
        draining,
        priority,
        weight,
    });
    prop::collection::vec(state, 0..30)
}

proptest! {
    #[test]
    fn loads_add_up_and_reach_only_who_may_be_picked(
        states in any_states(),
        overprovisioning_percent in prop_oneof![100..200_u32, any::<u32>()],
        panic_percent in 0..120_u32,
    ) {
        let availability = Availability::of(&states, &AvailabilitySpec { overprovisioning_percent, panic_percent });
        let levels = availability.levels();
        let available = |state: &EndpointState| state.healthy && !state.ejected && !state.draining;
        let pickable = |state: &EndpointState| if panic_percent > 0 { !state.draining } else { available(state) };
        let total: u32 = levels.iter().map(|level| level.load_percent).sum();
        prop_assert_eq!(total, if states.iter().any(pickable) { 100 } else { 0 });
        prop_assert!(levels.is_sorted_by_key(|level| level.priority));
        for level in levels {
            prop_assert!(level.load_percent == 0 || !level.members.is_empty());
            let expected = states.iter().enumerate().filter(|(_, state)| {
                state.priority == level.priority && if level.panicking { !state.draining } else { available(state) }
            });
            prop_assert!(level.members.iter().copied().eq(expected.map(|(index, _)| index as u32)));
        }
        let shares = availability.shares(&states, &vec![1.0; states.len()]);
        let loaded = levels.iter().filter(|level| level.load_percent > 0).map(|level| level.members.len()).sum::<usize>();
        prop_assert_eq!(shares.len(), loaded);
        prop_assert!(shares.is_sorted_by_key(|(index, _)| *index) && shares.iter().all(|(_, weight)| *weight > 0));
    }

    /// Who gets well takes load off the levels below.
    #[test]
    fn a_recovery_does_not_move_load_down(states in any_states(), which: prop::sample::Index) {
        prop_assume!(!states.is_empty());
        let mut better = states.clone();
        let one = &mut better[which.index(states.len())];
        (one.healthy, one.ejected) = (true, false);
        let top = one.priority;
        let spec = AvailabilitySpec { panic_percent: 0, ..AvailabilitySpec::default() };
        let down_to = |states: &[EndpointState]| -> u32 {
            let availability = Availability::of(states, &spec);
            availability.levels().iter().filter(|level| level.priority <= top).map(|level| level.load_percent).sum()
        };
        // Rounding may move a percent for each level.
        prop_assert!(down_to(&better) + 4 >= down_to(&states), "{} {}", down_to(&better), down_to(&states));
    }
}
