//! SegmentPreloader: the next segment, read and judged ahead on a thread of its own, while this one is being read.
//!
//! Started by the reader's [`Manager`](super::Manager) for a sealed segment that is not the log's last, so never at a live tail.
//! Invariants:
//! 1. What it gives has passed the same [`SegmentReader`] that the reader uses itself. Of anything unusual it says only that it
//!    failed: the reader then looks for itself, so that every error has one source.
//! 2. It holds at most [`MOST_BATCHES`] batches and one segment reader: its memory does not depend on the segment's size.
//! 3. The thread ends when its receiver is gone, and is joined then.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::segment_reader::{Before, Round, SegmentReader};
use crate::format::Event;
use crate::storage::Directory;
use crate::telemetry::{Moment, ReaderTelemetry, ReaderTiming};

/// Events of a batch, at the least (a block more at the most): 256 KiB.
const BATCH_EVENTS: usize = 4_096;
/// Batches that wait for the reader.
const MOST_BATCHES: usize = 16;

/// What the thread gives.
pub(super) enum Loaded {
    /// The next events.
    Events(Vec<Event>),
    /// The segment was read to its end and holds; here is its reader, standing there.
    End(Box<SegmentReader>),
    /// It could not be read to its end: the reader must see for itself.
    Failed,
}

/// One segment that is being read ahead.
pub(super) struct SegmentPreloader {
    pub(super) index: u32,
    pub(super) before: Before,
    loaded: Option<Receiver<Loaded>>,
    thread: Option<JoinHandle<()>>,
    /// The process that the thread is in.
    process: u32,
}

impl SegmentPreloader {
    /// Starts to read segment `index`, sealed and wholly within `limit`; `None` when there is no thread to be had.
    pub(super) fn start(
        directory: &Arc<dyn Directory>,
        telemetry: &ReaderTelemetry,
        index: u32,
        hot: bool,
        before: Before,
        limit: Option<u64>,
    ) -> Option<Self> {
        let (sender, loaded) = sync_channel(MOST_BATCHES);
        let (directory, telemetry) = (Arc::clone(directory), telemetry.clone());
        let body = move || {
            let begin = Moment::now();
            let end = SegmentReader::open(&directory, &telemetry, index, hot, before)
                .ok()
                .and_then(|segment| load(segment, limit, &sender));
            if let Some(end) = end {
                telemetry.record_since(ReaderTiming::Preload, begin);
                // The reader may be gone here, and below.
                let _ = sender.send(Loaded::End(Box::new(end)));
            } else {
                let _ = sender.send(Loaded::Failed);
            }
        };
        let _blocked = crate::sync::SignalsBlocked::here();
        let thread = std::thread::Builder::new().name("walrec-preload".into()).spawn(body).ok()?;
        Some(Self { index, before, loaded: Some(loaded), thread: Some(thread), process: std::process::id() })
    }

    /// The next thing; waits for it.
    pub(super) fn next(&mut self) -> Loaded {
        self.loaded.as_ref().and_then(|loaded| loaded.recv().ok()).unwrap_or(Loaded::Failed)
    }
}

impl Drop for SegmentPreloader {
    fn drop(&mut self) {
        // The thread's next send fails, and it ends.
        self.loaded = None;
        // In a forked child there is no such thread.
        if let Some(thread) = self.thread.take().filter(|_| self.process == std::process::id()) {
            let _ = thread.join();
        }
    }
}

/// Reads a segment to its end and gives its reader; `None` for a fault, a segment that is not sealed, or a reader that is gone.
fn load(mut segment: SegmentReader, limit: Option<u64>, sender: &SyncSender<Loaded>) -> Option<SegmentReader> {
    if !segment.is_sealed() || limit.is_some_and(|limit| segment.after_all().last_event_id > limit) {
        return None;
    }
    let mut batch = Vec::with_capacity(BATCH_EVENTS + 256);
    loop {
        let before = batch.len();
        let round = segment.read(None, &mut batch).ok()?;
        let done = round != Round::Went && batch.len() == before;
        if batch.len() >= BATCH_EVENTS || (done && !batch.is_empty()) {
            segment.count_passed();
            sender.send(Loaded::Events(std::mem::replace(&mut batch, Vec::with_capacity(BATCH_EVENTS + 256)))).ok()?;
        }
        if done {
            return Some(segment);
        }
    }
}
