//! A histogram of nanoseconds: fixed memory, no lock, any number of writers.
//!
//! Buckets are log-linear: 0 to 15 each have their own, and from there every power of two is cut into 16 of equal width. So a
//! bucket is at most 1/16 of its lower bound wide, and what is told of a value by its bucket's middle is off by 1/32 at most.
//! Values from 2^42 ns (73 minutes) on share the last bucket; the largest value itself is kept beside it.
//!
//! Threads: [`Histogram::record`] is three relaxed read-modify-writes and may run anywhere, beside any reader. A snapshot taken
//! beside writers may miss the latest values, or have one of them in its sum and not yet in a bucket; it is never torn otherwise,
//! and counts only grow. Nothing is ordered by these atomics: they have no partner. A histogram begins on lines of its own.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

use crate::sync::fetch_for_write;

/// Sub-buckets of a power of two, as a power of two.
const SUB_BITS: u32 = 4;
const SUB_BUCKETS: usize = 1 << SUB_BITS;
/// Values are below 2 to this.
const TOP_BITS: u32 = 42;
/// Buckets of a histogram.
pub const BUCKETS: usize = (TOP_BITS - SUB_BITS + 1) as usize * SUB_BUCKETS;

/// The bucket of a value.
#[inline]
#[must_use]
pub fn bucket_of(value: u64) -> usize {
    let value = value.min((1 << TOP_BITS) - 1);
    let shift = (value | (SUB_BUCKETS as u64 - 1)).ilog2().saturating_sub(SUB_BITS);
    shift as usize * SUB_BUCKETS + usize::try_from(value >> shift).unwrap_or(0)
}

/// Smallest and largest value of a bucket.
#[must_use]
pub fn bounds_of(bucket: usize) -> (u64, u64) {
    if bucket < 2 * SUB_BUCKETS {
        return (bucket as u64, bucket as u64);
    }
    let shift = bucket / SUB_BUCKETS - 1;
    let begin = ((bucket - shift * SUB_BUCKETS) as u64) << shift;
    (begin, begin + (1 << shift) - 1)
}

/// The counts that writers add to.
#[derive(Debug)]
pub struct Histogram(CachePadded<Cells>);

#[derive(Debug)]
struct Cells {
    sum: AtomicU64,
    max: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        let zeros = Cells { sum: 0.into(), max: 0.into(), buckets: [const { AtomicU64::new(0) }; BUCKETS] };
        Self(CachePadded::new(zeros))
    }
}

impl Histogram {
    /// Adds a value.
    #[inline]
    pub fn record(&self, value: u64) {
        if let Some(bucket) = self.0.buckets.get(bucket_of(value)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.0.sum.fetch_add(value, Relaxed);
        if value > self.0.max.load(Relaxed) {
            self.0.max.fetch_max(value, Relaxed);
        }
    }

    /// Fetches what [`Self::record`] stores to for a value like this.
    pub fn fetch(&self, value: u64) {
        fetch_for_write(&raw const self.0.sum);
        if let Some(bucket) = self.0.buckets.get(bucket_of(value)) {
            fetch_for_write(&raw const *bucket);
        }
    }

    /// Stores to each of its pages, so that a later first value meets no page fault. Only before there are writers.
    pub fn touch(&self) {
        for bucket in &self.0.buckets {
            bucket.store(0, Relaxed);
        }
    }

    /// The counts as they stand.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let buckets: Vec<u64> = self.0.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let count = buckets.iter().fold(0_u64, |sum, &count| sum.saturating_add(count));
        HistogramSnapshot { count, sum: self.0.sum.load(Relaxed), max: self.0.max.load(Relaxed), buckets }
    }
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    count: u64,
    sum: u64,
    max: u64,
    buckets: Vec<u64>,
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self { count: 0, sum: 0, max: 0, buckets: vec![0; BUCKETS] }
    }
}

impl HistogramSnapshot {
    /// Values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum; it wraps after 584 years of nanoseconds.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest, exact.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that `millionths` of all values do not exceed, 0 without values. Its error is at most 1/32 of the value.
    #[must_use]
    pub fn quantile(&self, millionths: u32) -> u64 {
        let rank = u128::from(self.count) * u128::from(millionths.min(1_000_000));
        let rank = u64::try_from(rank.div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1);
        let mut seen = 0_u64;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            seen = seen.saturating_add(count);
            if seen >= rank {
                let (first, last) = bounds_of(bucket);
                return if bucket == BUCKETS - 1 { self.max } else { (first + (last - first) / 2).min(self.max) };
            }
        }
        0
    }

    /// How many values are below `2^bits`, exactly.
    #[must_use]
    pub fn count_below_power(&self, bits: u32) -> u64 {
        let end = if bits >= TOP_BITS { BUCKETS } else { bucket_of(1 << bits) };
        self.buckets[..end].iter().sum()
    }

    /// Adds another's values.
    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.wrapping_add(other.sum);
        self.max = self.max.max(other.max);
        for (to, from) in self.buckets.iter_mut().zip(&other.buckets) {
            *to = to.saturating_add(*from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splitmix(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    #[test]
    fn buckets_cover_every_value_once_without_gaps() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            let (first, last) = bounds_of(bucket);
            assert_eq!(first, next, "bucket {bucket}");
            assert!(last - first <= first / 16, "bucket {bucket}: {first}..={last}");
            assert_eq!((bucket_of(first), bucket_of(last)), (bucket, bucket));
            next = last + 1;
        }
        assert_eq!(next, 1 << TOP_BITS);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_within_a_thirty_second() {
        let mut seed = 7;
        let (histogram, mut values) = (Histogram::default(), Vec::new());
        for _ in 0..20_000 {
            let value = splitmix(&mut seed) >> (24 + splitmix(&mut seed) % 40);
            histogram.record(value);
            values.push(value);
        }
        values.sort_unstable();
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count(), snapshot.max()), (20_000, values[19_999]));
        assert_eq!(snapshot.sum(), values.iter().sum::<u64>());
        for millionths in [0, 1, 1_000, 500_000, 900_000, 990_000, 999_000, 999_900, 1_000_000] {
            let rank = (20_000_u64 * u64::from(millionths)).div_ceil(1_000_000).max(1);
            let exact = values[usize::try_from(rank).unwrap() - 1];
            let told = snapshot.quantile(millionths);
            assert!(told.abs_diff(exact) <= exact / 32 + 1, "{millionths}: {told} for {exact}");
        }
        for bits in [0, 1, 4, 5, 17, 40, 42, 63] {
            let exact = values.iter().filter(|&&value| value < 1 << bits).count();
            assert_eq!(snapshot.count_below_power(bits), exact as u64, "below 2^{bits}");
        }
    }

    #[test]
    fn empty_tells_zero_and_the_last_bucket_tells_the_largest() {
        let histogram = Histogram::default();
        let empty = histogram.snapshot();
        assert_eq!(empty, HistogramSnapshot::default());
        assert_eq!((empty.count(), empty.sum(), empty.max(), empty.quantile(500_000)), (0, 0, 0, 0));
        histogram.record(u64::MAX);
        assert_eq!(histogram.snapshot().quantile(500_000), u64::MAX);
    }

    #[test]
    fn nothing_is_lost_between_writers() {
        const VALUES: u64 = if cfg!(miri) { 200 } else { 100_000 };
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let histogram = &histogram;
                scope.spawn(move || (0..VALUES).for_each(|value| histogram.record(value + writer)));
            }
            let mut last = 0;
            while last < VALUES {
                let count = histogram.snapshot().count();
                assert!(count >= last && count <= 4 * VALUES);
                last = count;
            }
        });
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count(), snapshot.max()), (4 * VALUES, VALUES + 2));
        assert_eq!(snapshot.sum(), 4 * (VALUES * (VALUES - 1) / 2) + 6 * VALUES);
    }

    #[test]
    fn merged_is_as_if_recorded_in_one() {
        let (one, other, both) = (Histogram::default(), Histogram::default(), Histogram::default());
        let mut seed = 11;
        for turn in 0..1_000 {
            let value = splitmix(&mut seed) >> 30;
            if turn % 3 == 0 { &one } else { &other }.record(value);
            both.record(value);
        }
        let mut merged = one.snapshot();
        assert_ne!(merged, both.snapshot());
        merged.merge(&other.snapshot());
        assert_eq!(merged, both.snapshot());
        merged.merge(&HistogramSnapshot::default());
        assert_eq!(merged, both.snapshot());
    }
}
