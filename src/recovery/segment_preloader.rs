//! SegmentPreloader: the pieces of a frozen segment that come next, read and judged on a thread of its own while the reader is at the
//! ones before.
//!
//! The reader's [`Manager`](super::Manager) starts it once reading goes on for a while and there is a second processor to run it;
//! each [`SegmentReader`](super::segment_reader::SegmentReader) then gives it its pieces. A piece is taken by whoever comes to it
//! first: the thread, or the reader, who does not wait for the thread as long as there is another piece to be read meanwhile.
//! Invariants:
//! 1. It only ever says how many blocks after a piece's first one are full and valid, if that first one is what its header says. The
//!    first one, and all that is unusual, the reader judges itself: so every error has one source.
//! 2. It holds at most [`MOST_READY`] pieces, and the two that are being read: its memory does not depend on the segment's size.
//! 3. The thread ends when the last handle is gone, and is joined then.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::format::{BLOCK_BYTES, BlockContext, GuardContext, full_blocks, u64_at};
use crate::segment::{Piece, Pieces};
use crate::telemetry::{Moment, ReaderCount, ReaderTelemetry, ReaderTiming};

/// Pieces that wait for the reader.
const MOST_READY: usize = 4;

/// A piece that was read and judged ahead.
#[derive(Default)]
pub(super) struct Ahead {
    pub(super) piece: Piece,
    /// Full, valid blocks behind its first one.
    pub(super) full: usize,
}

/// The thread's handle.
pub(super) struct SegmentPreloader {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The process that the thread is in.
    process: u32,
}

struct Shared {
    telemetry: ReaderTelemetry,
    state: Mutex<State>,
    /// Something was taken, read, or given to be read.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ended: bool,
    work: Option<Work>,
    /// Counts the works, so that a piece of an earlier one is known as such.
    number: u64,
    spare: Vec<Ahead>,
}

/// One segment.
struct Work {
    pieces: Pieces,
    guards: GuardContext,
    /// The first block that it is about: pieces before it are the reader's.
    begin: u32,
    /// The first block of the next piece that nobody has taken.
    next: u32,
    /// The first block of the piece that the thread is at.
    under_way: Option<u32>,
    ready: Vec<Ahead>,
}

impl Work {
    /// Takes the next piece, if there is one and room for it.
    fn claim(&mut self) -> Option<Range<u32>> {
        let piece = self.pieces.piece_with(self.next).filter(|_| self.ready.len() < MOST_READY)?;
        self.next = piece.end;
        Some(piece)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole pieces here, or none.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a piece and judges it as far as it can be; `false` when the reader must see for itself.
    fn read(&self, pieces: &Pieces, guards: GuardContext, blocks: &Range<u32>, into: &mut Ahead) -> bool {
        let begin = Moment::now();
        if !matches!(pieces.read(blocks, &mut into.piece), Ok(true)) {
            return false;
        }
        self.telemetry.count(ReaderCount::Bytes, (into.piece.blocks().len() * BLOCK_BYTES) as u64);
        let Some((first, rest)) = into.piece.blocks().split_first() else { return false };
        let context = BlockContext {
            block_index: blocks.start + 1,
            previous_last_id: u64_at(first, 8),
            previous_chain: u64_at(first, 24),
            guards,
        };
        into.full = full_blocks(rest, &context).count as usize;
        self.telemetry.record_since(ReaderTiming::Preload, begin);
        true
    }

    /// Reads a piece that was claimed, with the state let go meanwhile. When it cannot be, all ends here.
    fn fulfil<'a>(&'a self, mut state: MutexGuard<'a, State>, blocks: &Range<u32>) -> MutexGuard<'a, State> {
        let number = state.number;
        let Some((pieces, guards)) = state.work.as_ref().map(|work| (work.pieces.clone(), work.guards)) else {
            return state;
        };
        let mut ahead = state.spare.pop().unwrap_or_default();
        drop(state);
        let read = catch_unwind(AssertUnwindSafe(|| self.read(&pieces, guards, blocks, &mut ahead)));
        let mut state = self.state();
        if state.number != number {
            state.spare.push(ahead);
        } else if !matches!(read, Ok(true)) {
            state.work = None;
        } else if let Some(work) = &mut state.work {
            work.ready.push(ahead);
        }
        state
    }

    /// The thread's life.
    fn run(&self) {
        let mut state = self.state();
        while !state.ended {
            let number = state.number;
            let Some(work) = &mut state.work else {
                state = self.wait(state);
                continue;
            };
            let Some(blocks) = work.claim() else {
                state = self.wait(state);
                continue;
            };
            work.under_way = Some(blocks.start);
            state = self.fulfil(state, &blocks);
            let same = number == state.number;
            if let Some(work) = state.work.as_mut().filter(|_| same) {
                work.under_way = None;
            }
            self.changed.notify_all();
        }
    }
}

impl SegmentPreloader {
    /// Starts the thread; `None` where there is no second processor for it, or none to be had.
    pub(super) fn start(telemetry: &ReaderTelemetry) -> Option<Arc<Self>> {
        if !crate::sync::has_second_processor() {
            return None;
        }
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { telemetry: telemetry.clone(), state, changed: Condvar::new() });
        let its = Arc::clone(&shared);
        let _blocked = crate::sync::SignalsBlocked::here();
        let thread = std::thread::Builder::new().name("walrec-preload".into()).spawn(move || its.run()).ok()?;
        Some(Arc::new(Self { shared, thread: Some(thread), process: std::process::id() }))
    }

    /// In a forked child there is no such thread, and its state may stand half way.
    fn is_here(&self) -> bool {
        self.process == std::process::id()
    }

    /// Reads these pieces from now on, from the one that begins with block `next`.
    pub(super) fn begin(&self, pieces: Pieces, guards: GuardContext, next: u32) {
        if self.is_here() {
            self.set_work(Some(Work { pieces, guards, begin: next, next, under_way: None, ready: Vec::new() }));
        }
    }

    /// Leaves the pieces.
    pub(super) fn leave(&self) {
        if self.is_here() {
            self.set_work(None);
        }
    }

    fn set_work(&self, work: Option<Work>) {
        let mut state = self.shared.state();
        state.number += 1;
        if let Some(left) = std::mem::replace(&mut state.work, work) {
            state.spare.extend(left.ready);
            state.spare.truncate(MOST_READY);
        }
        self.shared.changed.notify_all();
    }

    /// Takes the piece that begins with block `first`, against the one in `into`; `false` when the reader is to read it itself.
    pub(super) fn take(&self, first: u32, into: &mut Ahead) -> bool {
        if !self.is_here() {
            return false;
        }
        let mut state = self.shared.state();
        loop {
            let Some(work) = &mut state.work else { return false };
            if first < work.begin {
                return false;
            }
            if let Some(place) = work.ready.iter().position(|ahead| ahead.piece.first() == first) {
                let taken = std::mem::replace(into, work.ready.swap_remove(place));
                state.spare.push(taken);
                self.shared.changed.notify_all();
                return true;
            }
            if work.under_way == Some(first) {
                state = match work.claim() {
                    Some(blocks) => self.shared.fulfil(state, &blocks),
                    None => {
                        let begin = Moment::now();
                        let state = self.shared.wait(state);
                        self.shared.telemetry.record_since(ReaderTiming::PreloadWait, begin);
                        state
                    }
                };
                continue;
            }
            if work.next == first {
                // Nobody has it: the reader takes it, and the thread goes on behind it.
                work.next = work.pieces.piece_with(first).map_or(u32::MAX, |piece| piece.end);
                return false;
            }
            // Reading has gone another way.
            state.work = None;
            return false;
        }
    }
}

impl Drop for SegmentPreloader {
    fn drop(&mut self) {
        if !self.is_here() {
            return;
        }
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
