//! MetaCoordinator: keeps `wal_meta.dat` close behind the durable position.
//!
//! It writes when a segment was finished, and otherwise at most once a second. Dirty is cleared only after success. A full disk
//! is waited out; any other failure, a sync's above all, ends the worker and poisons the recorder.
//!
//! Crash story: the file is a lower bound. It is replaced whole (`storage::replace_sector`), so a cut leaves the old or the new position.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{WorkerError, may_retry_write};
use crate::format::{META_FILE, META_TEMP_FILE};
use crate::recorder::shared::Shared;
use crate::storage::replace_sector;
use crate::sync::Worker;
use crate::telemetry::{Moment, Timing};

const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct MetaCoordinator {
    shared: Arc<Shared>,
    last_flush: Instant,
}

impl MetaCoordinator {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, last_flush: Instant::now() }
    }

    fn flush(&mut self) -> Result<usize, WorkerError> {
        let Some((position, _)) = self.shared.meta.pending() else { return Ok(0) };
        self.last_flush = Instant::now();
        let begin = Moment::now();
        match replace_sector(&*self.shared.directory, META_FILE, META_TEMP_FILE, &position.to_bytes()) {
            // A sync that finds no space has failed all the same: only what comes before it may be tried again.
            Err(error) if may_retry_write(&error) && !error.operation.starts_with("sync") => Ok(0),
            Err(error) => Err(error.into()),
            Ok(()) => {
                self.shared.meta.written(position);
                self.shared.telemetry.record_since(Timing::MetaFlush, begin);
                Ok(1)
            }
        }
    }
}

impl Worker for MetaCoordinator {
    type Error = WorkerError;
    const NAME: &'static str = "walrec-meta";

    fn do_work(&mut self) -> Result<usize, WorkerError> {
        self.shared.telemetry.measure_rate(|| self.shared.events_appended());
        match self.shared.meta.pending() {
            _ if self.shared.is_poisoned() => Ok(0),
            Some((_, wanted)) if wanted || self.last_flush.elapsed() >= INTERVAL => self.flush(),
            _ => Ok(0),
        }
    }

    fn on_close(&mut self) -> Result<(), WorkerError> {
        if !self.shared.is_poisoned() {
            self.flush()?;
        }
        Ok(())
    }

    fn idle_sleeps(&self) -> (Duration, Duration) {
        (INTERVAL, INTERVAL)
    }
}
