//! The same names without the feature `telemetry`: empty types, calls that do nothing, and the plain ring.

use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use super::table::{Reader, Recorder, Table, Timing};
use crate::format::Reason;
use crate::sync::{self, Worker};

pub use crate::sync::{Consumer, Producer};

/// No time.
#[derive(Clone, Copy, Debug)]
pub struct Moment;

impl Moment {
    /// Nothing.
    #[inline(always)]
    #[must_use]
    pub fn now() -> Self {
        Self
    }
}

/// No cells.
#[derive(Clone, Debug)]
pub struct Board<T>(PhantomData<T>);

/// A reader's.
pub type ReaderTelemetry = Board<Reader>;

impl<T> Default for Board<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

#[allow(clippy::unused_self, reason = "the calls of the other Board")]
impl<T: Table> Board<T> {
    /// Nothing.
    #[inline(always)]
    pub fn record_since(&self, _: T::Timing, _: Moment) {}

    /// Nothing.
    #[inline(always)]
    pub fn fetch_time(&self, _: T::Timing, _: u64) {}

    /// Nothing.
    #[inline(always)]
    pub fn fetch_count(&self, _: T::Count) {}

    /// Nothing.
    #[inline(always)]
    pub fn count(&self, _: T::Count, _: u64) {}

    /// Nothing.
    #[inline(always)]
    pub fn count_checksum_failure(&self, _: Reason) {}
}

/// A recorder's.
#[derive(Debug, Default)]
pub struct Telemetry(Board<Recorder>);

impl Deref for Telemetry {
    type Target = Board<Recorder>;

    #[inline(always)]
    fn deref(&self) -> &Board<Recorder> {
        &self.0
    }
}

#[allow(clippy::unused_self, reason = "the calls of the other Telemetry")]
impl Telemetry {
    /// Nothing.
    #[inline(always)]
    #[must_use]
    pub fn new(_: usize) -> Self {
        Self::default()
    }

    /// Nothing.
    #[inline(always)]
    pub fn fetch_events_before(&self, _: u32) {}

    /// Nothing.
    #[inline(always)]
    pub fn set_events_before(&self, _: u32, _: impl FnOnce() -> u64) {}

    /// 0.
    #[inline(always)]
    #[must_use]
    pub fn events_before(&self, _: u32) -> u64 {
        0
    }

    /// Nothing.
    #[inline(always)]
    pub fn measure_rate(&self, _: impl FnOnce() -> u64) {}

    /// Nothing.
    #[inline(always)]
    pub fn take_durable(&self, _: u64) {}

    /// Nothing.
    #[inline(always)]
    pub fn note_stage_unlinked(&self) {}
}

/// Times no append: stores stop at the block's end.
#[derive(Debug)]
pub struct Sampler;

#[allow(clippy::unused_self, reason = "the calls of the other Sampler")]
impl Sampler {
    /// Nothing.
    #[must_use]
    pub fn new(_: u32) -> Self {
        Self
    }

    /// Nothing.
    #[inline(always)]
    pub fn enter(&mut self, _: usize, _: usize) {}

    /// The block's end.
    #[inline(always)]
    #[must_use]
    pub fn stop(&self, _: usize, block_end: usize) -> usize {
        block_end
    }
}

/// A plain ring.
#[must_use]
pub fn timed_ring<T: Send>(capacity: usize, _: &Telemetry, _: Timing) -> (Producer<T>, Consumer<T>) {
    sync::spsc_ring(capacity)
}

/// The worker within.
#[derive(Debug)]
pub struct Timed<W>(W);

impl<W> Timed<W> {
    /// `worker` as it is.
    #[must_use]
    pub fn new(worker: W, _: &Telemetry, _: Timing, _: Timing) -> Self {
        Self(worker)
    }
}

impl<W> Deref for Timed<W> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.0
    }
}

impl<W: Worker> Worker for Timed<W> {
    type Error = W::Error;
    const NAME: &'static str = W::NAME;

    #[inline(always)]
    fn do_work(&mut self) -> Result<usize, W::Error> {
        self.0.do_work()
    }

    #[inline(always)]
    fn on_close(&mut self) -> Result<(), W::Error> {
        self.0.on_close()
    }

    #[inline(always)]
    fn idle_sleeps(&self) -> (Duration, Duration) {
        self.0.idle_sleeps()
    }
}
