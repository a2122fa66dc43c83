//! What is to be frozen or deleted next: one pure function over the catalog.
//!
//! Rules, in their order:
//! 1. A segment that stands there in both forms was being frozen when its recorder ended: it is frozen again, from the `.wal`.
//! 2. The oldest segment of the log is deleted when more are kept than the limits say, and nothing holds it: only ever the oldest,
//!    so that no gap arises.
//! 3. The oldest `.wal` is frozen when more of them are kept than the limits say.
//!
//! A segment that is unfit (it could not be read, or does not verify) is neither frozen nor deleted; one at the front of the log
//! therefore ends deletion. It takes no place of another among the hot ones.

use std::collections::BTreeSet;

use super::config::Config;
use crate::segment::Catalog;

/// No limit.
const KEEP_ALL: u32 = u32::MAX;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Segments as `.wal`, the one that is being written included.
    pub(crate) hot: u32,
    /// Segments as `.wal.lz4`.
    pub(crate) cold: u32,
    /// Whether segments are frozen; otherwise the sum counts.
    pub(crate) compress: bool,
}

impl Limits {
    pub(crate) fn of(config: &Config) -> Self {
        Self { hot: config.max_segments, cold: config.max_compressed_segments, compress: !config.no_compress }
    }

    /// Most `.wal` files that may stand at once, prepared ones included, with a stage of `slots`.
    pub(crate) fn most_hot_files(&self, slots: u32) -> u32 {
        // Without compression a limit on the files would let a floor stop the engine.
        if self.compress { self.hot.saturating_add(slots) } else { KEEP_ALL }
    }
}

/// What the maintainer is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Compress this `.wal` and retire it.
    Freeze(u32),
    /// Retire this segment, in the form it has.
    Delete(u32),
}

/// The next duty. `catalog` holds the closed segments alone, `in_use` counts those that are being written; `held` tells of the
/// oldest segment whether something forbids its deletion.
pub(crate) fn next_duty(
    catalog: &Catalog,
    unfit: &BTreeSet<u32>,
    in_use: u32,
    limits: Limits,
    held: impl FnOnce(u32) -> bool,
) -> Option<Duty> {
    if let Some(&both) = catalog.hot.intersection(&catalog.frozen).find(|index| !unfit.contains(index)) {
        return Some(Duty::Freeze(both));
    }
    let count = |set: &BTreeSet<u32>| u32::try_from(set.len()).unwrap_or(KEEP_ALL);
    let (hot, cold) = (count(&catalog.hot).saturating_add(in_use), count(&catalog.frozen));
    let hot_front = catalog.hot.first().copied();
    let front = catalog.frozen.first().copied().into_iter().chain(hot_front).min();
    let too_many = if limits.compress {
        cold > limits.cold && front != hot_front
    } else {
        limits.cold != KEEP_ALL && hot.saturating_add(cold) > limits.hot.saturating_add(limits.cold)
    };
    if let Some(front) = front.filter(|front| too_many && !unfit.contains(front))
        && !held(front)
    {
        return Some(Duty::Delete(front));
    }
    let fit = hot.saturating_sub(count(unfit));
    let oldest = catalog.hot.difference(unfit).next().copied();
    oldest.filter(|_| limits.compress && fit > limits.hot).map(Duty::Freeze)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(frozen: impl IntoIterator<Item = u32>, hot: impl IntoIterator<Item = u32>) -> Catalog {
        Catalog { hot: hot.into_iter().collect(), frozen: frozen.into_iter().collect(), ..Catalog::default() }
    }

    const LIMITS: Limits = Limits { hot: 3, cold: 2, compress: true };

    fn plan(catalog: &Catalog, limits: Limits) -> Option<Duty> {
        next_duty(catalog, &BTreeSet::new(), 1, limits, |_| false)
    }

    #[test]
    fn freezes_the_oldest_hot_one_above_the_limit() {
        assert_eq!(plan(&catalog([], []), LIMITS), None);
        assert_eq!(plan(&catalog([], [0, 1]), LIMITS), None);
        assert_eq!(plan(&catalog([], [0, 1, 2]), LIMITS), Some(Duty::Freeze(0)));
        assert_eq!(next_duty(&catalog([], [0, 1, 2]), &BTreeSet::new(), 0, LIMITS, |_| false), None);
        assert_eq!(plan(&catalog([4, 5], [6, 7, 8]), LIMITS), Some(Duty::Freeze(6)));
    }

    #[test]
    fn deletes_the_oldest_above_the_limit_and_nothing_but_the_oldest() {
        assert_eq!(plan(&catalog([4, 5, 6], [7, 8]), LIMITS), Some(Duty::Delete(4)));
        assert_eq!(plan(&catalog([4, 5], [6, 7]), LIMITS), None);
        // A hot one at the front is frozen first.
        assert_eq!(plan(&catalog([4, 5, 6], [3, 7]), LIMITS), None);
        assert_eq!(plan(&catalog([4, 5, 6], [3, 7, 8]), LIMITS), Some(Duty::Freeze(3)));
        let none = Limits { cold: 0, ..LIMITS };
        assert_eq!(plan(&catalog([4], [5]), none), Some(Duty::Delete(4)));
    }

    #[test]
    fn what_is_held_stays_and_freezing_goes_on() {
        let held = |catalog: &Catalog| next_duty(catalog, &BTreeSet::new(), 1, LIMITS, |_| true);
        assert_eq!(held(&catalog([4, 5, 6], [7, 8])), None);
        assert_eq!(held(&catalog([4, 5, 6], [7, 8, 9])), Some(Duty::Freeze(7)));
        let asked = |front: u32| -> bool {
            assert_eq!(front, 4, "only the oldest is asked for");
            true
        };
        assert_eq!(next_duty(&catalog([4, 5, 6], [7, 8]), &BTreeSet::new(), 1, LIMITS, asked), None);
    }

    #[test]
    fn keep_all_keeps_all() {
        let all = Limits { hot: KEEP_ALL, cold: KEEP_ALL, compress: true };
        let many = catalog(0..1_000, 1_000..2_000);
        assert_eq!(plan(&many, all), None);
        assert_eq!(plan(&many, Limits { compress: false, ..all }), None);
        assert_eq!(plan(&many, Limits { hot: 3, ..all }), Some(Duty::Freeze(1_000)));
        assert_eq!(plan(&many, Limits { cold: 3, ..all }), Some(Duty::Delete(0)));
        for one in [Limits { hot: 3, compress: false, ..all }, Limits { cold: 3, compress: false, ..all }] {
            assert_eq!(plan(&many, one), None, "{one:?}");
        }
    }

    #[test]
    fn without_compression_the_sum_counts() {
        let limits = Limits { compress: false, ..LIMITS };
        assert_eq!(plan(&catalog([], 0..4), limits), None);
        assert_eq!(plan(&catalog([], 0..5), limits), Some(Duty::Delete(0)));
        assert_eq!(plan(&catalog([0, 1], 2..5), limits), Some(Duty::Delete(0)));
        assert_eq!(plan(&catalog([0], 1..4), limits), None);
    }

    #[test]
    fn both_forms_are_settled_first() {
        assert_eq!(plan(&catalog([0, 1, 2, 3], [3, 4]), LIMITS), Some(Duty::Freeze(3)));
    }

    #[test]
    fn an_unfit_one_stays_and_takes_no_place() {
        let unfit = BTreeSet::from([3]);
        let plan = |catalog: &Catalog| next_duty(catalog, &unfit, 1, LIMITS, |_| false);
        assert_eq!(plan(&catalog([], [3, 4, 5])), None);
        assert_eq!(plan(&catalog([], [3, 4, 5, 6])), Some(Duty::Freeze(4)));
        // It ends deletion, also when it is there in both forms.
        assert_eq!(plan(&catalog([4, 5, 6], [3, 7])), None);
        assert_eq!(plan(&catalog([3, 4, 5], [3, 7])), None);
        assert_eq!(plan(&catalog([2, 4, 5], [3, 7])), Some(Duty::Delete(2)));
    }

    /// From any state the duties end, within the limits, with no gap, and with the newest segments there.
    #[test]
    fn duties_lead_to_the_limits() {
        for hot_count in 0..8_u32 {
            for cold_count in 0..8_u32 {
                let mut state = catalog(10..10 + cold_count, 10 + cold_count..10 + cold_count + hot_count);
                let mut steps = 0;
                while let Some(duty) = plan(&state, LIMITS) {
                    match duty {
                        Duty::Freeze(index) => assert!(state.hot.remove(&index) && state.frozen.insert(index)),
                        Duty::Delete(index) => assert!(state.frozen.remove(&index)),
                    }
                    steps += 1;
                    assert!(steps < 40, "no end");
                }
                assert!(state.hot.len() <= 2 && state.frozen.len() <= 2, "{state:?}");
                let left: Vec<u32> = state.indices().into_iter().collect();
                assert!(left.windows(2).all(|pair| pair[1] == pair[0] + 1), "{left:?}");
                assert_eq!(
                    left.last().copied(),
                    (10 + cold_count + hot_count).checked_sub(1).filter(|&last| last >= 10)
                );
            }
        }
    }
}
