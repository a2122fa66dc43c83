//! The cells: what every table has, and what a recorder has beside.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::clock::{self, Moment};
use super::histogram::Histogram;
use super::mailbox::Mailbox;
use super::snapshot::Snapshot;
use super::table::{Count, Gauges, Line, Reader, Recorder, Table, Timing};
use crate::format::Reason;
use crate::sync::fetch_for_write;

/// Shortest time over which the rate is measured.
const RATE_WINDOW_NS: u64 = 900_000_000;

#[derive(Debug, Default)]
struct Rate {
    since: AtomicU64,
    events: AtomicU64,
    per_second: AtomicU64,
}

/// A table's histograms and counters. Any thread may add to them.
#[derive(Debug)]
pub struct Board<T: Table> {
    timings: Box<[Histogram]>,
    counts: Box<[CachePadded<AtomicU64>]>,
    checksum_failures: [AtomicU64; Reason::ALL.len()],
    table: PhantomData<T>,
}

/// The cells of one reader; a clone is another handle on the same ones.
pub type ReaderTelemetry = Arc<Board<Reader>>;

impl<T: Table> Default for Board<T> {
    /// All zero. Takes 200 microseconds the first time.
    fn default() -> Self {
        clock::prepare();
        let timings: Box<[Histogram]> = T::Timing::LINES.iter().map(|_| Histogram::default()).collect();
        timings.iter().for_each(Histogram::touch);
        let counts = T::Count::LINES.iter().map(|_| CachePadded::default()).collect();
        Self { timings, counts, checksum_failures: Default::default(), table: PhantomData }
    }
}

impl<T: Table> Board<T> {
    /// Adds a time.
    #[inline]
    pub fn record_ns(&self, timing: T::Timing, ns: u64) {
        if let Some(histogram) = self.timings.get(timing.place()) {
            histogram.record(ns);
        }
    }

    /// Adds the time since `begin`.
    #[inline]
    pub fn record_since(&self, timing: T::Timing, begin: Moment) {
        self.record_ns(timing, begin.elapsed_ns());
    }

    /// Fetches what [`Self::record_ns`] stores to for a time of about so long.
    pub fn fetch_time(&self, timing: T::Timing, ns: u64) {
        if let Some(histogram) = self.timings.get(timing.place()) {
            histogram.fetch(ns);
        }
    }

    /// Fetches what [`Self::count`] stores to.
    pub fn fetch_count(&self, count: T::Count) {
        if let Some(cell) = self.counts.get(count.place()) {
            fetch_for_write(&raw const *cell);
        }
    }

    /// Adds to a counter.
    #[inline]
    pub fn count(&self, count: T::Count, more: u64) {
        if let Some(cell) = self.counts.get(count.place()) {
            cell.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Counts bytes that did not verify.
    pub fn count_checksum_failure(&self, reason: Reason) {
        if let Some(cell) = self.checksum_failures.get(reason.as_u32() as usize) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Everything as it stands, but for what the cells do not have: the caller fills that in.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<T> {
        // Later steps first: a segment on its way between two reads is then counted at the earlier step, never at a later one alone.
        let mut counts: Vec<u64> = self.counts.iter().rev().map(|cell| cell.load(Ordering::Acquire)).collect();
        counts.reverse();
        let timings = self.timings.iter().map(Histogram::snapshot).collect();
        let checksum_failures = self.checksum_failures.iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
        Snapshot { counts, gauges: T::Gauges::default(), timings, checksum_failures }
    }
}

#[derive(Debug)]
struct Cells {
    board: Board<Recorder>,
    mailbox: CachePadded<Mailbox>,
    rate: CachePadded<Rate>,
    stage_unlinked: AtomicBool,
    /// For each slot of the stage, the events that the recorder had appended before the slot's segment became active.
    events_before: Box<[AtomicU64]>,
}

/// The counters and histograms of one recorder; cloning it gives another handle on the same ones.
///
/// Threads: any; see the invariants of the module.
#[derive(Clone, Debug)]
pub struct Telemetry(Arc<Cells>);

impl Default for Telemetry {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Deref for Telemetry {
    type Target = Board<Recorder>;

    fn deref(&self) -> &Board<Recorder> {
        &self.0.board
    }
}

impl Telemetry {
    /// All zero, for a stage with so many slots. Takes 200 microseconds the first time.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let cells = Cells {
            board: Board::default(),
            mailbox: CachePadded::default(),
            rate: CachePadded::default(),
            stage_unlinked: AtomicBool::new(false),
            events_before: (0..slots).map(|_| AtomicU64::new(0)).collect(),
        };
        cells.rate.since.store(Moment::now().to_bits(), Ordering::Relaxed);
        Self(Arc::new(cells))
    }

    /// The append thread's sample for the lag: dropped while the one before is still under way.
    #[inline]
    pub fn post_appended(&self, event_id: u64, at: Moment) {
        self.0.mailbox.post(event_id, at.to_bits());
    }

    /// The flusher's word that everything up to `event_id` is durable.
    pub fn take_durable(&self, event_id: u64) {
        if let Some(moment) = self.0.mailbox.take(event_id) {
            self.record_since(Timing::DurableLag, Moment::from_bits(moment));
        }
    }

    /// A slot of the stage was removed from outside.
    pub fn note_stage_unlinked(&self) {
        self.0.stage_unlinked.store(true, Ordering::Relaxed);
    }

    /// The append thread's word, before the segment in `slot` becomes active: so many events came before it.
    pub fn set_events_before(&self, slot: u32, events: impl FnOnce() -> u64) {
        if let Some(cell) = self.0.events_before.get(slot as usize) {
            // Relaxed: published with the active segment, and behind the fence that comes before a slot's reuse.
            cell.store(events(), Ordering::Relaxed);
        }
    }

    /// Fetches what [`Self::set_events_before`] stores to.
    pub fn fetch_events_before(&self, slot: u32) {
        if let Some(cell) = self.0.events_before.get(slot as usize) {
            fetch_for_write(&raw const *cell);
        }
    }

    /// Events appended before the segment in `slot`.
    #[must_use]
    pub fn events_before(&self, slot: u32) -> u64 {
        self.0.events_before.get(slot as usize).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// Told now and then, by one thread, how many events there are; takes the rate when enough time has passed.
    pub fn measure_rate(&self, events_appended: impl FnOnce() -> u64) {
        let rate = &self.0.rate;
        let (since, now) = (Moment::from_bits(rate.since.load(Ordering::Relaxed)), Moment::now());
        let ns = since.ns_until(now);
        if ns < RATE_WINDOW_NS {
            return;
        }
        let events_now = events_appended();
        let events = events_now.saturating_sub(rate.events.swap(events_now, Ordering::Relaxed));
        let per_second = u128::from(events) * 1_000_000_000 / u128::from(ns);
        rate.per_second.store(u64::try_from(per_second).unwrap_or(u64::MAX), Ordering::Relaxed);
        rate.since.store(now.to_bits(), Ordering::Relaxed);
    }

    /// Everything as it stands, but for what the cells do not have: the caller fills in the rest of the gauges and the appended
    /// events.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let cells = &*self.0;
        let mut snapshot = cells.board.snapshot();
        let of = |count: Count| snapshot.count(count);
        let activated = of(Count::SegmentsActivated) + of(Count::SegmentsResumed);
        snapshot.gauges = Gauges {
            prepared_now: of(Count::SegmentsPrepared).saturating_sub(of(Count::SegmentsActivated)),
            active_now: activated.saturating_sub(of(Count::SegmentsWritten)),
            written_now: of(Count::SegmentsWritten).saturating_sub(of(Count::SegmentsSealed)),
            sealed_now: of(Count::SegmentsSealed),
            append_rate: cells.rate.per_second.load(Ordering::Relaxed),
            stage_unlinked: cells.stage_unlinked.load(Ordering::Relaxed).into(),
            ..Gauges::default()
        };
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_cell_moves_alone<T: Table>(board: &Board<T>) {
        for &timing in T::Timing::LINES {
            let before = board.snapshot();
            board.record_ns(timing, 100);
            let after = board.snapshot();
            for &other in T::Timing::LINES {
                let moved = after.timing(other).count() - before.timing(other).count();
                assert_eq!(
                    moved,
                    u64::from(other.place() == timing.place()),
                    "{:?} and {:?}",
                    timing.line(),
                    other.line()
                );
            }
            assert_eq!(after.counts, before.counts);
        }
        for &count in T::Count::LINES {
            let before = board.snapshot();
            board.count(count, 3);
            let after = board.snapshot();
            for &other in T::Count::LINES {
                let moved = after.count(other) - before.count(other);
                let expected = if other.place() == count.place() { 3 } else { 0 };
                assert_eq!(moved, expected, "{:?} and {:?}", count.line(), other.line());
            }
        }
        for &reason in Reason::ALL {
            board.count_checksum_failure(reason);
            assert_eq!(board.snapshot().checksum_failures[reason.as_u32() as usize], 1);
        }
    }

    #[test]
    fn each_cell_of_a_recorder_and_of_a_reader_moves_alone() {
        let telemetry = Telemetry::default();
        each_cell_moves_alone(&telemetry.clone());
        assert_eq!(telemetry.snapshot().count(Count::ALL[0]), 3, "a clone counts in the same cells");
        each_cell_moves_alone(&*ReaderTelemetry::default());
    }

    #[test]
    fn the_mailbox_keeps_the_first_until_it_is_durable() {
        let telemetry = Telemetry::default();
        let lag = || telemetry.snapshot().timing(Timing::DurableLag).count();
        telemetry.take_durable(5);
        assert_eq!(lag(), 0);
        telemetry.post_appended(7, Moment::now());
        telemetry.post_appended(6, Moment::now());
        telemetry.take_durable(6);
        assert_eq!(lag(), 0);
        telemetry.take_durable(7);
        telemetry.take_durable(8);
        assert_eq!(lag(), 1);
        telemetry.post_appended(9, Moment::now());
        telemetry.take_durable(20);
        assert_eq!(lag(), 2);
    }

    #[test]
    fn the_rate_is_taken_over_a_second() {
        let telemetry = Telemetry::default();
        telemetry.measure_rate(|| 1_000);
        assert_eq!(telemetry.snapshot().gauges.append_rate, 0);
        std::thread::sleep(std::time::Duration::from_secs(1));
        telemetry.measure_rate(|| 1_000);
        let rate = telemetry.snapshot().gauges.append_rate;
        assert!((1..=1_000).contains(&rate), "{rate}");
    }
}
