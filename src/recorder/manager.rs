//! Manager: one recorder as everyone but the append thread sees it; owns the workers and their end.
//!
//! Threads: any. Shutdown order: appends refused, preparer, flusher, maintainer, meta coordinator, empty segments removed, the
//! stage's record closed, the stage removed. A poisoned recorder keeps its stage and its record: the next open takes what is there.

use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::LogLevel;
use super::error::Error;
use super::opening::{OpenReport, SMALL_MEMORY, StageClosing};
use super::shared::{Shared, this_thread};
use super::worker::{MetaCoordinator, SegmentFlusher, SegmentMaintainer, SegmentPreparer, WorkerError};
use crate::format::{MetaPosition, SegmentName, SegmentNameKind};
use crate::segment::HotSegment;
use crate::storage::{Doorbell, MEMORY, Place, look_for_memory};
use crate::sync::{Bell, Worker, WorkerThread, only_processor};
use crate::telemetry::{Count, Timed, Timing};

/// How long a sync may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncTimeout {
    /// Not at all: the flusher is woken, and [`Error::TimedOut`] tells that the event is not durable yet.
    WakeOnly,
    /// So long.
    Limit(Duration),
    /// As long as it takes.
    Forever,
}

/// The workers, standing still.
#[derive(Debug)]
pub(super) struct Workers {
    pub(super) preparer: SegmentPreparer,
    pub(super) flusher: SegmentFlusher,
    pub(super) maintainer: SegmentMaintainer,
    pub(super) meta: MetaCoordinator,
}

#[derive(Debug)]
struct Threads {
    preparer: WorkerThread<Timed<SegmentPreparer>>,
    flusher: WorkerThread<Timed<SegmentFlusher>>,
    maintainer: WorkerThread<Timed<SegmentMaintainer>>,
    meta: WorkerThread<Timed<MetaCoordinator>>,
}

#[derive(Debug)]
enum Crew {
    Still(Box<Workers>),
    Running(Box<Threads>),
    Gone,
}

/// A worker, for those who step a recorder by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerKind {
    /// SegmentPreparer
    Preparer,
    /// SegmentFlusher
    Flusher,
    /// SegmentMaintainer
    Maintainer,
    /// MetaCoordinator
    Meta,
}

/// One recorder, from any thread. Dropping it shuts it down; in a forked child it only frees memory.
#[derive(Debug)]
pub struct Manager {
    shared: ManuallyDrop<Arc<Shared>>,
    crew: ManuallyDrop<Mutex<Crew>>,
    closing: StageClosing,
    report: OpenReport,
}

impl Manager {
    pub(super) fn new(shared: Arc<Shared>, workers: Workers, closing: StageClosing, report: OpenReport) -> Self {
        let crew = ManuallyDrop::new(Mutex::new(Crew::Still(Box::new(workers))));
        Self { shared: ManuallyDrop::new(shared), crew, closing, report }
    }

    fn crew(&self) -> std::sync::MutexGuard<'_, Crew> {
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives each worker its thread.
    pub(super) fn start(&mut self) -> Result<(), Error> {
        let workers = match std::mem::replace(&mut *self.crew(), Crew::Gone) {
            Crew::Still(workers) => workers,
            other => {
                *self.crew() = other;
                return Ok(());
            }
        };
        let shared = &**self.shared;
        let (config, bells) = (&shared.config, &shared.bells);
        self.warn_of_one_processor();
        let mut workers = workers;
        workers.maintainer.make_ready()?;
        let telemetry = &shared.telemetry;
        let meta = Timed::new(workers.meta, telemetry, Timing::LoopMeta, Timing::SleepMeta);
        let meta = self.spawn(meta, &bells.meta, config.cpu_meta)?;
        let maintainer = Timed::new(workers.maintainer, telemetry, Timing::LoopMaintain, Timing::SleepMaintain);
        let maintainer = self.spawn(maintainer, &bells.maintain, config.cpu_maintain)?;
        let flusher = Timed::new(workers.flusher, telemetry, Timing::LoopFlush, Timing::SleepFlush);
        let flusher = self.spawn(flusher, &bells.flush, config.cpu_flush)?;
        let preparer = Timed::new(workers.preparer, telemetry, Timing::LoopPrepare, Timing::SleepPrepare);
        let preparer = self.spawn(preparer, &bells.prepare, config.cpu_prepare)?;
        *self.crew() = Crew::Running(Box::new(Threads { preparer, flusher, maintainer, meta }));
        // The workers' names, paths and messages are made where no error can be told.
        Ok(look_for_memory(SMALL_MEMORY).at(MEMORY, self.path(), "")?)
    }

    /// A worker that is not pinned runs where its maker may.
    fn warn_of_one_processor(&self) {
        let config = &self.shared.config;
        let cpus = [config.cpu_prepare, config.cpu_flush, config.cpu_maintain, config.cpu_meta];
        if let (true, Some(cpu)) = (cpus.contains(&None), only_processor()) {
            let text = format!(
                "the thread that opens the log is kept to CPU {cpu}, and so are the library's threads without a cpu_* of their own: an \
                 engine that spins there keeps them from their work"
            );
            config.log.log(LogLevel::Warning, &text);
        }
    }

    fn spawn<W>(&self, worker: W, bell: &Arc<Bell>, cpu: Option<u32>) -> Result<WorkerThread<W>, Error>
    where
        W: Worker<Error = WorkerError> + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let on_failure = move |error: crate::sync::RunnerError| {
            shared.telemetry.count(Count::WorkerErrors, 1);
            shared.poison(format!("{}: {error}", W::NAME));
        };
        WorkerThread::spawn(worker, Arc::clone(bell), cpu, on_failure)
            .map_err(|error| Error::NoMemory(format!("thread {}: {error}", W::NAME)))
    }

    /// What opening found.
    #[must_use]
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Whether this process was forked from the recorder's.
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.shared.is_forked()
    }

    /// Where the append thread stands, for code that is compiled into the engine. It lives as long as this object.
    pub(crate) fn cursor(&self) -> *mut core::ffi::c_void {
        self.shared.cursor().as_ptr().cast()
    }

    /// The words of `walrec_watermarks_t`, 192 bytes that live as long as this object; zeros in a forked child.
    pub(crate) fn watermarks(&self) -> *const std::sync::atomic::AtomicU64 {
        self.shared.watermarks()
    }

    /// Id of the last appended event; 0 for none. One atomic load.
    #[must_use]
    pub fn last_event_id(&self) -> u64 {
        self.shared.last_event_id()
    }

    /// Id of the last durable event; 0 for none. One atomic load.
    #[must_use]
    pub fn durable_event_id(&self) -> u64 {
        self.shared.durable_event_id()
    }

    /// The appended position, never torn.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn meta_state(&self) -> Result<MetaPosition, Error> {
        if self.is_forked() { Err(Error::Forked) } else { Ok(self.shared.appended_position()) }
    }

    /// Blocks until every event up to `event_id` (0: all that are appended now) is durable.
    ///
    /// # Errors
    /// [`Error::TimedOut`]; [`Error::Failed`] when poisoned; [`Error::Closed`]; [`Error::Forked`]; [`Error::Invalid`] for an id
    /// above the last one from the append thread, which would wait for itself.
    pub fn sync(&self, event_id: u64, timeout: SyncTimeout) -> Result<(), Error> {
        let shared = &**self.shared;
        if shared.is_forked() {
            return Err(Error::Forked);
        }
        let last = shared.last_event_id();
        let target = if event_id == 0 { last } else { event_id };
        let verdict = || {
            if shared.durable_event_id() >= target {
                Some(Ok(()))
            } else if shared.is_poisoned() {
                Some(Err(shared.failure()))
            } else if shared.is_closing() {
                Some(Err(Error::Closed))
            } else {
                None
            }
        };
        if let Some(verdict) = verdict() {
            return verdict;
        }
        let own = shared.append_thread.load(std::sync::atomic::Ordering::Acquire) == this_thread();
        if own && target > last {
            return Err(Error::Invalid(format!(
                "the append thread cannot wait for event {target}: the last one is {last}"
            )));
        }
        let until = match timeout {
            SyncTimeout::WakeOnly => {
                shared.want_durable(target.min(last));
                return Err(Error::TimedOut);
            }
            SyncTimeout::Limit(limit) => Instant::now().checked_add(limit),
            SyncTimeout::Forever => None,
        };
        // For what is not appended yet the wish lasts as long as the wait: one that was given up would have all later events flushed at once.
        let _ahead = (target > last).then(|| shared.wait_ahead());
        shared.want_durable(target.min(last));
        shared.wait_durable(until, || verdict().is_some());
        verdict().unwrap_or(Err(Error::TimedOut))
    }

    /// Rings `bell` once, when everything up to `event_id` is durable, 0 for all that is appended now, or when that cannot become so any
    /// more because the recorder is poisoned or shut down.
    ///
    /// # Errors
    /// [`Error::Forked`]; the bell is not rung.
    pub fn notify_durable(&self, event_id: u64, bell: Doorbell) -> Result<(), Error> {
        let shared = &**self.shared;
        if shared.is_forked() {
            return Err(Error::Forked);
        }
        shared.notify_durable(if event_id == 0 { shared.last_event_id() } else { event_id }, bell);
        Ok(())
    }

    /// Nothing that holds `event_id` or a later event is deleted from now on; 0 for no floor. A deletion that has begun is finished.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::Forked`].
    pub fn set_retention_floor(&self, event_id: u64) -> Result<(), Error> {
        let shared = &**self.shared;
        if shared.is_forked() {
            return Err(Error::Forked);
        }
        if shared.is_closing() {
            return Err(Error::Closed);
        }
        // Ordering: one word on its own.
        shared.retention_floor.store(event_id, std::sync::atomic::Ordering::Relaxed);
        shared.bells.maintain.ring();
        Ok(())
    }

    /// Poisons the recorder: the panic fence's way to say that its state is not to be trusted.
    pub fn poison(&self, cause: String) {
        if !self.is_forked() {
            self.shared.poison(cause);
        }
    }

    /// The error that poisoned it. No lock.
    pub(crate) fn cause(&self) -> &str {
        self.shared.cause()
    }

    /// What the recorder has measured about itself since it was opened. One call of the system, for the free space.
    ///
    /// # Errors
    /// [`Error::Forked`].
    #[cfg(feature = "telemetry")]
    pub fn telemetry(&self) -> Result<crate::telemetry::Snapshot, Error> {
        if self.is_forked() { Err(Error::Forked) } else { Ok(self.shared.telemetry_snapshot(self.report.flags)) }
    }

    /// Runs one duty cycle of a worker that has no thread; the count of things done. An error has poisoned the recorder.
    ///
    /// # Errors
    /// [`Error::Failed`]; [`Error::Closed`] when the workers have threads or are gone.
    pub fn step(&self, worker: WorkerKind) -> Result<usize, Error> {
        let mut crew = self.crew();
        let Crew::Still(workers) = &mut *crew else { return Err(Error::Closed) };
        let done = match worker {
            WorkerKind::Preparer => workers.preparer.do_work(),
            WorkerKind::Flusher => workers.flusher.do_work(),
            WorkerKind::Maintainer => workers.maintainer.do_work(),
            WorkerKind::Meta => workers.meta.do_work(),
        };
        done.map_err(|error| {
            self.shared.telemetry.count(Count::WorkerErrors, 1);
            self.shared.poison(error.to_string());
            self.shared.failure()
        })
    }

    /// Ends the recorder: everything durable, segments sealed, meta written, the stage removed. Blocks on the disk.
    ///
    /// Appends must have stopped. Waiting syncs end.
    ///
    /// # Errors
    /// [`Error::Closed`] the second time; [`Error::Forked`]; else the first error of the recorder's life: what is not durable then
    /// stays in the stage, for the next open.
    pub fn shutdown(&self) -> Result<(), Error> {
        let shared = &**self.shared;
        if shared.is_forked() {
            return Err(Error::Forked);
        }
        if !shared.begin_closing() {
            return Err(Error::Closed);
        }
        let crew = std::mem::replace(&mut *self.crew(), Crew::Gone);
        let next_index = self.end_workers(crew);
        shared.release_waiting();
        if shared.is_poisoned() {
            return Err(shared.failure());
        }
        let closed = self.remove_empty(next_index).and_then(|()| self.closing.close(shared));
        if let Err(error) = &closed {
            shared.poison(error.to_string());
        }
        closed
    }

    /// Lets the flusher finish the active segment. Only when the preparer has ended: it would take the finished slot, and the count in it
    /// still tells whether the segment is empty.
    fn end_active(&self) {
        if let Some((_, slot)) = self.shared.active() {
            // Release: partner of the flusher's acquire; appends have stopped, so the count is final.
            self.shared.slot(slot).written().store(1, std::sync::atomic::Ordering::Release);
        }
    }

    /// Ends the workers in order; gives the index above the last prepared segment.
    fn end_workers(&self, crew: Crew) -> u32 {
        let gone = || self.shared.poison("a worker's thread could not be joined".into());
        match crew {
            Crew::Gone => 0,
            Crew::Running(threads) => {
                let preparer = threads.preparer.stop_and_join();
                self.end_active();
                let ends = [
                    threads.flusher.stop_and_join().is_some(),
                    threads.maintainer.stop_and_join().is_some(),
                    threads.meta.stop_and_join().is_some(),
                ];
                if preparer.is_none() || ends.contains(&false) {
                    gone();
                }
                preparer.map_or(0, |preparer| preparer.next_index())
            }
            Crew::Still(mut workers) => {
                if let Err(error) = self.end_still(&mut workers) {
                    self.shared.poison(error.to_string());
                }
                workers.preparer.next_index()
            }
        }
    }

    /// The same order without threads: the maintainer makes room in its ring between the flusher's rounds.
    fn end_still(&self, workers: &mut Workers) -> Result<(), WorkerError> {
        let ended = workers.preparer.on_close();
        self.end_active();
        ended?;
        while !self.shared.is_poisoned() && workers.flusher.round(true)? + workers.maintainer.do_work()? > 0 {}
        workers.flusher.on_close()?;
        workers.maintainer.on_close()?;
        workers.meta.on_close()
    }

    /// After a clean close no empty segment is left. From the highest down, each removal durable before the next: a power cut
    /// must not leave a gap.
    fn remove_empty(&self, next_index: u32) -> Result<(), Error> {
        let shared = &**self.shared;
        let directory = &*shared.directory;
        let first_empty = match shared.active() {
            Some((index, slot)) if shared.slot(slot).published().load(std::sync::atomic::Ordering::Acquire) == 0 => {
                index
            }
            Some((index, _)) => index + 1,
            None => self.closing.first_empty_index,
        };
        let catalog = crate::segment::Catalog::read(directory)?;
        let last = next_index.max(catalog.hot.last().map_or(0, |&last| last.saturating_add(1)));
        for &index in catalog.hot.range(first_empty..last.max(first_empty)).rev() {
            let name = SegmentName::new(index, SegmentNameKind::Hot).to_string();
            // Whatever the counts say: a sealed segment holds events.
            if HotSegment::open(directory, index)?.header.seal.is_some() {
                return Err(Error::Failed(format!("{name} was to be removed as empty, and is sealed")));
            }
            directory.remove_file(&name).at("remove", directory.path(), &name)?;
            directory.sync().at("sync directory", directory.path(), "")?;
        }
        Ok(())
    }

    /// The log directory, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.shared.directory.path()
    }
}

impl Drop for Manager {
    #[allow(unsafe_code, reason = "decides whether the parts are dropped at all")]
    fn drop(&mut self) {
        if self.is_forked() {
            // The threads are the parent's, and locks may be held for ever: whatever they own is left alone.
            return;
        }
        let _ = self.shutdown();
        // SAFETY: dropped once, here; nothing uses them afterwards.
        unsafe {
            ManuallyDrop::drop(&mut self.crew);
            ManuallyDrop::drop(&mut self.shared);
        }
    }
}
