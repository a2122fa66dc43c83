//! Upkeep: the maintainer's second duty, one segment at a time: freezes and deletes as [`next_duty`] says.
//!
//! Invariants:
//! 1. Nothing is frozen or deleted before the first append after the open.
//! 2. Only closed segments are touched: sealed before this recorder began, or by it.
//! 3. What cannot be read, or does not verify, stays as it is until the next open, with a loud word; the engine goes on. A failed
//!    sync, or a write that fails for anything but space, ends the recorder as everywhere.
//!
//! The preparer may stand at most so many `.wal` files above the oldest one that is still to be frozen: see `Shared::has_room_for`.
//! A log that was found with more than that keeps what it has, and grows no further until it is worked off.
//!
//! Serves `docs/FORMAT.md`, "Frozen segment".

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::freezer::{FreezeError, Freezer};
use super::retirer::Retirer;
use super::{WorkerError, may_retry_write};
use crate::format::{SegmentName, SegmentNameKind};
use crate::recorder::config::LogLevel;
use crate::recorder::retention::{Duty, Limits, next_duty};
use crate::recorder::shared::{NO_SPACE_MAINTAINER, Shared};
use crate::segment::{self, Catalog, FrozenSegment, HotSegment};
use crate::storage::{self, MEMORY, Place};
use crate::telemetry::{Count, Moment, Timing};

#[derive(Debug)]
pub(super) struct Upkeep {
    shared: Arc<Shared>,
    limits: Limits,
    /// The closed segments; `None` before the first append.
    catalog: Option<Catalog>,
    /// Closed by this recorder before the catalog was read.
    first_own: u32,
    /// One above the newest closed segment.
    next_closed: u32,
    /// Id of the last event when the log was opened.
    opened_at: u64,
    /// Id of the last event in closed segments.
    closed_up_to: u64,
    unfit: BTreeSet<u32>,
    /// Ids of the last events, as far as they were needed or came by.
    last_event_ids: BTreeMap<u32, u64>,
    freezer: Option<Freezer>,
    retirer: Retirer,
    warned: bool,
}

impl Upkeep {
    /// `found` begins at the oldest `.wal` that was there, and ends at the first segment that this recorder writes to. What was there
    /// counts from now on: the preparer may be far ahead before the names are read.
    pub(super) fn new(shared: Arc<Shared>, found: Range<u32>) -> Self {
        let limits = Limits::of(&shared.config);
        let first_own = found.end;
        let upkeep = Self {
            limits,
            catalog: None,
            first_own,
            next_closed: first_own,
            opened_at: shared.last_event_id(),
            closed_up_to: shared.last_event_id(),
            unfit: BTreeSet::new(),
            last_event_ids: BTreeMap::new(),
            freezer: None,
            retirer: Retirer::default(),
            warned: false,
            shared,
        };
        let found_files = (found.end - found.start).saturating_add(upkeep.shared.config.stage_slots);
        upkeep.shared.set_hot_span(found.start, upkeep.most_hot_files().max(found_files));
        upkeep
    }

    pub(super) fn make_ready(&mut self) -> Result<(), storage::Error> {
        let config = &self.shared.config;
        if !config.no_compress && config.max_segments != u32::MAX {
            self.freezer()?;
        }
        Ok(())
    }

    fn freezer(&mut self) -> Result<&mut Freezer, storage::Error> {
        let freezer = match self.freezer.take() {
            Some(freezer) => freezer,
            None => Freezer::new().at(MEMORY, self.shared.directory.path(), "")?,
        };
        Ok(self.freezer.insert(freezer))
    }

    fn most_hot_files(&self) -> u32 {
        self.limits.most_hot_files(self.shared.config.stage_slots)
    }

    /// A segment was sealed by this recorder.
    pub(super) fn closed(&mut self, index: u32, last_event_id: u64) {
        self.next_closed = index.saturating_add(1);
        self.closed_up_to = last_event_id;
        self.last_event_ids.insert(index, last_event_id);
        if let Some(catalog) = &mut self.catalog {
            catalog.hot.insert(index);
            self.publish_span();
        }
    }

    /// Segments with durable events that are not closed yet, at most one. What is not durable keeps no place: after a power cut there
    /// would be less than the limits say.
    fn in_use(&self) -> u32 {
        u32::from(self.shared.durable_event_id() > self.closed_up_to)
    }

    /// Does one duty; 0 when there is nothing to do, or no space to do it.
    pub(super) fn do_one(&mut self) -> Result<usize, WorkerError> {
        match self.read_catalog().and_then(|there| if there { self.try_one() } else { Ok(false) }) {
            Err(error) if may_retry_write(&error) && !error.operation.starts_with("sync") => {
                self.shared.set_no_space(NO_SPACE_MAINTAINER, Some(&error.to_string()));
                Ok(0)
            }
            Err(error) => Err(error.into()),
            Ok(done) => {
                self.shared.set_no_space(NO_SPACE_MAINTAINER, None);
                Ok(usize::from(done))
            }
        }
    }

    /// Reads the names once, after the first append; `false` before it.
    fn read_catalog(&mut self) -> Result<bool, storage::Error> {
        if self.catalog.is_some() {
            return Ok(true);
        }
        if self.shared.last_event_id() == self.opened_at {
            return Ok(false);
        }
        let mut catalog = Catalog::read(&*self.shared.directory)?;
        // Above are prepared segments, and those that are not sealed yet.
        drop(catalog.hot.split_off(&self.first_own));
        catalog.hot.extend(self.last_event_ids.range(self.first_own..).map(|(&index, _)| index));
        self.catalog = Some(catalog);
        self.publish_span();
        Ok(true)
    }

    /// Tells the preparer from where on `.wal` files count, and whether a log that was found with too many has been worked off.
    fn publish_span(&self) {
        let Some(catalog) = &self.catalog else { return };
        let mut fit = catalog.hot.difference(&self.unfit);
        let oldest = fit.next().copied().unwrap_or(self.next_closed);
        let worked_off = u32::try_from(fit.count()).unwrap_or(u32::MAX) < self.limits.hot;
        let most = if worked_off { self.most_hot_files() } else { self.shared.most_hot_files() };
        self.shared.set_hot_span(oldest, most);
        self.shared.bells.prepare.ring();
    }

    fn try_one(&mut self) -> Result<bool, storage::Error> {
        let shared = Arc::clone(&self.shared);
        self.retirer.finish(&*shared.directory)?;
        let Some(catalog) = self.catalog.take() else { return Ok(false) };
        let in_use = self.in_use();
        let duty = {
            let unfit = self.unfit.clone();
            next_duty(&catalog, &unfit, in_use, self.limits, |front| self.is_held(&catalog, front))
        };
        self.catalog = Some(catalog);
        match duty {
            None => return Ok(false),
            Some(Duty::Freeze(index)) => self.freeze(index)?,
            Some(Duty::Delete(index)) => self.delete(index)?,
        }
        self.publish_span();
        Ok(true)
    }

    fn freeze(&mut self, index: u32) -> Result<(), storage::Error> {
        let directory = Arc::clone(&self.shared.directory);
        let freezer = self.freezer()?;
        let begin = Moment::now();
        let bytes = match freezer.freeze(&*directory, index) {
            Err(FreezeError::Unfit(why)) => {
                self.set_unfit(index, &why);
                return Ok(());
            }
            Err(FreezeError::Io(error)) => return Err(error),
            Ok(bytes) => bytes,
        };
        let telemetry = &self.shared.telemetry;
        telemetry.record_since(Timing::Freeze, begin);
        telemetry.count(Count::SegmentsFrozen, 1);
        telemetry.count(Count::FreezeBytesIn, bytes.content);
        telemetry.count(Count::FreezeBytesOut, bytes.compressed);
        if let Some(catalog) = &mut self.catalog {
            catalog.frozen.insert(index);
        }
        self.retire(SegmentName::new(index, SegmentNameKind::Hot))
    }

    fn delete(&mut self, index: u32) -> Result<(), storage::Error> {
        // Ordering: one word on its own.
        if !self.warned && self.shared.retention_floor.load(Ordering::Relaxed) == 0 {
            self.warned = true;
            let Limits { hot, cold, .. } = self.limits;
            let text = format!(
                "the oldest segment, {index}, is deleted: max_segments {hot} and max_compressed_segments {cold} are reached, and \
                 no retention floor is set. More deletions follow without a word"
            );
            self.shared.config.log.log(LogLevel::Warning, &text);
        }
        let hot = self.catalog.as_ref().is_some_and(|catalog| catalog.hot.contains(&index));
        let begin = Moment::now();
        let result =
            self.retire(SegmentName::new(index, if hot { SegmentNameKind::Hot } else { SegmentNameKind::Frozen }));
        if result.is_ok() || self.retirer.is_leaving(index) {
            // Out of the log, even if the rest of its way is to be tried again.
            self.last_event_ids.remove(&index);
            self.shared.telemetry.record_since(Timing::Deletion, begin);
            self.shared.telemetry.count(Count::SegmentsDeleted, 1);
        }
        result
    }

    /// The catalog loses the file first: once its rename is tried, nothing else may be done with it but to finish.
    fn retire(&mut self, name: SegmentName) -> Result<(), storage::Error> {
        let result = self.retirer.retire(&*Arc::clone(&self.shared.directory), name);
        if (result.is_ok() || self.retirer.is_leaving(name.index))
            && let Some(catalog) = &mut self.catalog
        {
            let set = if name.kind == SegmentNameKind::Hot { &mut catalog.hot } else { &mut catalog.frozen };
            set.remove(&name.index);
        }
        result
    }

    fn set_unfit(&mut self, index: u32, why: &str) {
        self.unfit.insert(index);
        let text = format!(
            "segment {index} stays as it is, neither compressed nor deleted: {why}. Nothing from it on is deleted any more, and the log \
             grows, until the next open can read it, or an open with WALREC_FLAG_SALVAGE sets it aside"
        );
        self.shared.config.log.log(LogLevel::Error, &text);
    }

    /// Whether the floor forbids to delete the segment.
    fn is_held(&mut self, catalog: &Catalog, index: u32) -> bool {
        // Ordering: one word on its own.
        let floor = self.shared.retention_floor.load(Ordering::Relaxed);
        if floor == 0 {
            return false;
        }
        if let Some(&last_event_id) = self.last_event_ids.get(&index) {
            return last_event_id >= floor;
        }
        let directory = &*self.shared.directory;
        let header = if catalog.hot.contains(&index) {
            HotSegment::open(directory, index).map(|segment| segment.header)
        } else {
            FrozenSegment::open(directory, index).map(|segment| *segment.header())
        };
        match header.map(|header| header.seal.map(|seal| seal.last_event_id)) {
            Ok(Some(last_event_id)) => {
                self.last_event_ids.insert(index, last_event_id);
                last_event_id >= floor
            }
            // Held for now: the segment is not at fault.
            Err(segment::Error::Io(error)) if error.is_out_of_descriptors() => true,
            unknown => {
                let why = unknown.err().as_ref().map_or("it is not sealed".into(), segment::Error::to_string);
                self.set_unfit(index, &why);
                true
            }
        }
    }
}
