//! Which series there are, and when one is gone.
//!
//! A series has one cell for each shard that registered it. It is retired when no shard holds a handle any more, not
//! shard by shard: a total that lost the part of one worker would look like a reset to Prometheus.

use std::collections::BTreeMap;

use metrics::{Key, KeyName, SharedString};

use crate::{
    cell::{Cell, Kind},
    recorder::GLOBAL_SHARD,
};

/// How many series there may be at once, over all names. A proxy with a thousand endpoints needs about half of it;
/// more means that a label takes values without end (a path, a client), which would use up memory here and at
/// whoever scrapes.
pub const MAX_SERIES: usize = 20_000;

/// Sweeping is not worth it before this many new series.
const SWEEP_AT_LEAST: usize = 1024;

/// Why a registration got a handle that does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("there are {MAX_SERIES} series already")]
    Full,
    #[error("the name or a label is not one that Prometheus accepts")]
    Name,
    #[error("the name is already taken by another kind of metric")]
    Kind,
}

/// All series of one name, as a scrape sees them.
#[derive(Debug)]
pub(crate) struct FamilyView {
    pub(crate) name: KeyName,
    pub(crate) kind: Kind,
    pub(crate) help: Option<SharedString>,
    pub(crate) series: Vec<(Key, Vec<Cell>)>,
}

/// All series of one name.
#[derive(Debug, Default)]
struct Family {
    kind: Kind,
    help: Option<SharedString>,
    series: BTreeMap<Key, Series>,
}

#[derive(Debug)]
struct Series {
    cells: Vec<(u32, Cell)>,
    retired: bool,
}

impl Series {
    fn is_held(&self) -> bool {
        self.cells.iter().any(|(_, cell)| cell.is_held())
    }

    fn cells(&self) -> impl Iterator<Item = Cell> {
        self.cells.iter().map(|(_, cell)| cell.clone())
    }

    /// The cell of a shard, a new one if need be.
    fn cell(&mut self, shard: u32, kind: Kind) -> Cell {
        if let Some((_, cell)) = self.cells.iter().find(|(owner, _)| *owner == shard) {
            return cell.clone();
        }
        let cell = Cell::new(kind, shard != GLOBAL_SHARD);
        self.cells.push((shard, cell.clone()));
        cell
    }
}

/// All series, by name. Sorted, so that every scrape shows them in the same order.
#[derive(Debug)]
pub(crate) struct Registry {
    families: BTreeMap<KeyName, Family>,
    len: usize,
    sweep_in: usize,
}

impl Default for Registry {
    fn default() -> Self {
        Self { families: BTreeMap::new(), len: 0, sweep_in: SWEEP_AT_LEAST }
    }
}

impl Registry {
    /// The cell of a shard in a series. Whatever is not there yet is made.
    pub(crate) fn register(&mut self, shard: u32, key: &Key, kind: Kind) -> Result<Cell, Rejection> {
        if let Some(family) = self.families.get_mut(key.name())
            && family.kind == kind
            && let Some(series) = family.series.get_mut(key)
        {
            return Ok(series.cell(shard, kind));
        }
        if !is_valid(key) {
            return Err(Rejection::Name);
        }
        self.make_room()?;
        let family = self.families.entry(key.name_shared().to_retained()).or_default();
        if family.series.is_empty() {
            family.kind = kind;
        } else if family.kind != kind {
            return Err(Rejection::Kind);
        }
        let mut series = Series { cells: Vec::with_capacity(1), retired: false };
        let cell = series.cell(shard, kind);
        family.series.insert(key.to_retained(), series);
        self.len += 1;
        Ok(cell)
    }

    /// Says what a name stands for; the last word counts.
    pub(crate) fn describe(&mut self, name: &KeyName, help: SharedString) {
        self.families.entry(name.to_retained()).or_default().help = Some(help);
    }

    /// Everything there is to show. A series that nobody holds is shown this one more time, then it goes.
    ///
    /// Cells are handed out instead of their values, so that they can be read and rendered without the lock that
    /// this registry is behind.
    pub(crate) fn scrape(&mut self) -> Vec<FamilyView> {
        self.retain(|series| {
            let (was_retired, held) = (series.retired, series.is_held());
            series.retired = !held;
            held || !was_retired
        });
        let families = self.families.iter().filter(|(_, family)| !family.series.is_empty());
        let view = |(name, family): (&KeyName, &Family)| FamilyView {
            name: name.clone(),
            kind: family.kind,
            help: family.help.clone(),
            series: family.series.iter().map(|(key, series)| (key.clone(), series.cells().collect())).collect(),
        };
        families.map(view).collect()
    }

    /// The cells of all series with this name and these labels, whatever other labels they have.
    pub(crate) fn cells(&self, name: &str, labels: &[(&str, &str)]) -> Vec<Cell> {
        let Some(family) = self.families.get(name) else { return Vec::new() };
        let has = |key: &Key, (name, value): &(&str, &str)| {
            key.labels().any(|label| label.key() == *name && label.value() == *value)
        };
        let matching = family.series.iter().filter(|(key, _)| labels.iter().all(|label| has(key, label)));
        matching.flat_map(|(_, series)| series.cells()).collect()
    }

    /// Lets in one more series, and sweeps now and then in case nobody scrapes: whenever as many are new as the last
    /// sweep or scrape left, which keeps the work per registration constant on average.
    fn make_room(&mut self) -> Result<(), Rejection> {
        self.sweep_in -= 1;
        if self.sweep_in == 0 {
            self.retain(|series| series.is_held());
        }
        if self.len < MAX_SERIES { Ok(()) } else { Err(Rejection::Full) }
    }

    fn retain(&mut self, mut keep: impl FnMut(&mut Series) -> bool) {
        self.families.values_mut().for_each(|family| family.series.retain(|_, series| keep(series)));
        self.families.retain(|_, family| !family.series.is_empty() || family.help.is_some());
        self.len = self.families.values().map(|family| family.series.len()).sum();
        // Close to the limit it comes earlier: the next registrations may need what can be freed.
        self.sweep_in = self.len.min(MAX_SERIES - self.len).max(SWEEP_AT_LEAST);
    }
}

/// Whether a key can be shown: one that cannot would make the whole scrape unreadable. `le` is the histograms' own.
fn is_valid(key: &Key) -> bool {
    let word = |text: &str, extra: &[u8]| {
        !text.starts_with(|first: char| first.is_ascii_digit())
            && !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || extra.contains(&byte))
    };
    let label = |name: &str| word(name, b"") && !name.starts_with("__") && name != "le";
    let mut names: Vec<&str> = key.labels().map(metrics::Label::key).collect();
    names.sort_unstable();
    word(key.name(), b":") && names.iter().all(|name| label(name)) && names.windows(2).all(|pair| pair[0] != pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &'static str, labels: &[(&'static str, String)]) -> Key {
        Key::from_parts(name, labels)
    }

    fn shown(registry: &mut Registry) -> usize {
        registry.scrape().iter().map(|family| family.series.len()).sum()
    }

    #[test]
    fn a_dropped_series_is_shown_once_more() {
        let mut registry = Registry::default();
        let key = key("picks_total", &[]);
        let held = registry.register(1, &key, Kind::Counter).unwrap();
        drop(registry.register(2, &key, Kind::Counter).unwrap());
        assert_eq!((shown(&mut registry), shown(&mut registry)), (1, 1), "one shard still holds it");
        drop(held);
        assert_eq!(shown(&mut registry), 1);
        let revived = registry.register(2, &key, Kind::Counter).unwrap();
        assert_eq!((shown(&mut registry), shown(&mut registry)), (1, 1), "registered again in time");
        drop(revived);
        assert_eq!((shown(&mut registry), shown(&mut registry), registry.families.len()), (1, 0, 0));
    }

    #[test]
    fn swaps_do_not_pile_up_when_nobody_scrapes() {
        let mut registry = Registry::default();
        let cluster = registry.register(1, &key("requests_total", &[]), Kind::Counter).unwrap();
        let mut most = 0;
        for generation in 0..10_000 {
            let label = [("generation", generation.to_string())];
            drop(registry.register(1, &key("picks_total", &label), Kind::Counter).unwrap());
            drop(registry.register(1, &key("pick_call_seconds", &label), Kind::Histogram).unwrap());
            most = most.max(registry.len);
        }
        assert!(most <= SWEEP_AT_LEAST + 1, "{most} series at once");
        drop(cluster);
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let mut registry = Registry::default();
        let of = |number: usize| key("requests_total", &[("path", number.to_string())]);
        let mut held: Vec<Cell> =
            (0..MAX_SERIES).map(|number| registry.register(1, &of(number), Kind::Counter).unwrap()).collect();
        assert_eq!(registry.register(1, &of(MAX_SERIES), Kind::Counter).unwrap_err(), Rejection::Full);
        assert!(registry.register(2, &of(0), Kind::Counter).is_ok(), "another shard's part is no new series");
        held.truncate(10);
        let refused = (0..).take_while(|_| registry.register(1, &of(MAX_SERIES), Kind::Counter).is_err()).count();
        assert!(refused <= SWEEP_AT_LEAST, "there is room again after {refused} attempts");
        assert_eq!(registry.len, 11);
    }

    #[test]
    fn what_would_spoil_a_scrape_is_rejected() {
        let mut registry = Registry::default();
        let value = || "x".to_owned();
        let bad = [
            key("", &[]),
            key("a.b", &[]),
            key("1a", &[]),
            key("a", &[("le", value())]),
            key("a", &[("__a", value())]),
            key("a", &[("a:b", value())]),
            key("a", &[("", value())]),
            key("a", &[("b", value()), ("c", value()), ("b", value())]),
        ];
        for key in bad {
            assert_eq!(registry.register(1, &key, Kind::Gauge).unwrap_err(), Rejection::Name, "{key}");
        }
        let gauge = registry.register(1, &key("sluicegate:a_1", &[("b", value())]), Kind::Gauge).unwrap();
        let clash = registry.register(1, &key("sluicegate:a_1", &[]), Kind::Counter);
        assert_eq!(clash.unwrap_err(), Rejection::Kind);
        drop(gauge);
    }
}
