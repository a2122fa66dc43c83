//! A worker whose duty cycles and sleeps are timed.

use std::cell::Cell;
use std::ops::Deref;
use std::time::Duration;

use super::cells::Telemetry;
use super::clock::Moment;
use super::table::Timing;
use crate::sync::Worker;

/// The worker within, timed. The runner asks for the sleeps right before each, so the sleep is from there to the next cycle.
#[derive(Debug)]
pub struct Timed<W> {
    worker: W,
    telemetry: Telemetry,
    timings: [Timing; 2],
    asleep_since: Cell<Option<Moment>>,
}

impl<W> Timed<W> {
    /// Times the cycles and the sleeps of `worker`.
    #[must_use]
    pub fn new(worker: W, telemetry: &Telemetry, cycles: Timing, sleeps: Timing) -> Self {
        Self { worker, telemetry: telemetry.clone(), timings: [cycles, sleeps], asleep_since: Cell::new(None) }
    }
}

impl<W> Deref for Timed<W> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.worker
    }
}

impl<W: Worker> Worker for Timed<W> {
    type Error = W::Error;
    const NAME: &'static str = W::NAME;

    fn do_work(&mut self) -> Result<usize, W::Error> {
        let [cycles, sleeps] = self.timings;
        let begin = Moment::now();
        if let Some(since) = self.asleep_since.take() {
            self.telemetry.record_ns(sleeps, since.ns_until(begin));
        }
        let done = self.worker.do_work();
        self.telemetry.record_since(cycles, begin);
        done
    }

    fn on_close(&mut self) -> Result<(), W::Error> {
        self.worker.on_close()
    }

    fn idle_sleeps(&self) -> (Duration, Duration) {
        let sleeps = self.worker.idle_sleeps();
        self.asleep_since.set(Some(Moment::now()));
        sleeps
    }
}
