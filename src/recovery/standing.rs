//! Where a recorder stands, as its stage tells any process: what is appended, what is durable, and whether it has failed.
//!
//! Read with pread from the slots' files in shared memory. Nothing is locked or written; the append thread does not notice, but for the
//! line of its published count, which a read takes a copy of. What a killed recorder left behind looks the same: whether one is running
//! is not said here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::durable_limit::{open_stage, stage_in_use};
use super::error::Error;
use super::open_log;
use crate::format::{Geometry, Id128, PAGE_BYTES, u64_at};
use crate::recovery::hold_begun;
use crate::segment::Catalog;
use crate::storage::{
    Access, ControlPage, Directory, DirectoryIdentity, LivePage, Place, RealSystem, StageRecord, is_slot_name,
};

/// What the stage of a log says.
#[derive(Clone, Debug)]
pub enum Standing {
    /// No recorder has the log open in this boot.
    Closed,
    /// One may have, and its stage cannot be seen from here.
    Unseen {
        /// Where it is said to be.
        stage: PathBuf,
        /// Why not.
        why: String,
    },
    /// One has, or was killed.
    Open(Position),
}

/// Where a recorder stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The opening of the log.
    pub incarnation: Id128,
    /// Where the stage is.
    pub stage: PathBuf,
    /// Slots of the stage.
    pub slots: u32,
    /// Those that hold events.
    pub slots_in_use: u32,
    /// Those that are ready to be written on.
    pub slots_prepared: u32,
    /// The segment with the last appended event; where no slot holds an event, the one that the next goes to.
    pub segment_index: u32,
    /// Event slots of that segment.
    pub segment_capacity: u32,
    /// Events in it.
    pub segment_events: u64,
    /// Id of the last appended event; 0 for none.
    pub appended_event_id: u64,
    /// Id of the last durable event; 0 for none.
    pub durable_event_id: u64,
    /// A write or a sync failed: the recorder refuses appends.
    pub poisoned: bool,
}

/// Reads where the recorder of the log in `path` stands.
///
/// # Errors
/// [`Error::NotFound`] when there is no log; [`Error::Io`].
pub fn standing(path: &Path) -> Result<Standing, Error> {
    let system = RealSystem;
    let log = open_log(&system, path)?;
    if Catalog::read(&*log)?.indices().is_empty() {
        hold_begun(&*log)?;
    }
    let Some(record) = stage_in_use(&system, &*log)? else { return Ok(Standing::Closed) };
    let stage = match open_stage(&system, &*log, &record) {
        Ok(stage) => stage,
        Err(error) => return Ok(Standing::Unseen { stage: record.path, why: error.to_string() }),
    };
    let own = log.attributes().at("stat", path, "")?.identity;
    Ok(read(&stage, own, &record)?.map_or(Standing::Closed, Standing::Open))
}

/// Of all slots together; `None` when they are another directory's: the log was copied.
fn read(stage: &Arc<dyn Directory>, own: DirectoryIdentity, record: &StageRecord) -> Result<Option<Position>, Error> {
    let (incarnation, path) = (record.incarnation, stage.path().to_path_buf());
    let mut position = Position { incarnation, stage: path, ..Position::default() };
    for name in stage.names().at("list", stage.path(), "")? {
        if !is_slot_name(&name) {
            continue;
        }
        let name = name.to_string_lossy();
        let Some((page, last)) = read_slot(&**stage, &name)? else { continue };
        let (identity, durable) = match &page {
            ControlPage::Blank | ControlPage::UnknownLayout(_) => continue,
            ControlPage::Free(identity, durable) => (*identity, *durable),
            ControlPage::Live(page) => (page.identity, page.durable_event_id),
        };
        if identity.incarnation != record.incarnation {
            continue;
        }
        if identity.directory != own {
            return Ok(None);
        }
        position.slots += 1;
        position.durable_event_id = position.durable_event_id.max(durable);
        if let ControlPage::Live(page) = &page {
            position.add(page, last);
        }
    }
    // Durable may have been read later than appended.
    position.appended_event_id = position.appended_event_id.max(position.durable_event_id);
    Ok(Some(position))
}

impl Position {
    fn add(&mut self, page: &LivePage, last_event_id: u64) {
        self.poisoned |= page.poisoned;
        let none_before = self.slots_in_use == 0;
        let moves_on = if page.published == 0 {
            self.slots_prepared += 1;
            none_before && (self.slots_prepared == 1 || page.segment_index < self.segment_index)
        } else {
            self.slots_in_use += 1;
            none_before || page.segment_index > self.segment_index
        };
        if moves_on {
            self.segment_index = page.segment_index;
            self.segment_capacity = Geometry::new(page.num_blocks).map_or(0, Geometry::capacity);
            self.segment_events = page.published;
        }
        self.appended_event_id = self.appended_event_id.max(last_event_id);
    }
}

/// A slot's page, and the id of the last event in it. A slot that was used again under the look is looked at anew.
fn read_slot(stage: &dyn Directory, name: &str) -> Result<Option<(ControlPage, u64)>, Error> {
    const LOOKS: u32 = 8;
    let file = match stage.open_file(name, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.at("open", stage.path(), name)?,
    };
    for _ in 0..LOOKS {
        let page = ControlPage::read(&*file).at("read", stage.path(), name)?;
        let ControlPage::Live(live) = &page else { return Ok(Some((page, 0))) };
        let capacity = Geometry::new(live.num_blocks).map_or(0, Geometry::capacity);
        let Some(place) = u32::try_from(live.published).ok().and_then(|count| count.checked_sub(1)) else {
            return Ok(Some((page, 0)));
        };
        if place >= capacity {
            return Ok(None);
        }
        let mut id = [0; 8];
        let offset = (PAGE_BYTES + Geometry::event_offset(place)) as u64;
        file.read_up_to(&mut id, offset).at("read", stage.path(), name)?;
        let same = |now: &LivePage| {
            (now.segment_index, now.created_ts_ns) == (live.segment_index, live.created_ts_ns)
                && now.published >= live.published
        };
        match ControlPage::read(&*file).at("read", stage.path(), name)? {
            ControlPage::Live(now) if same(&now) => return Ok(Some((page, u64_at(&id, 0)))),
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::StageIdentity;

    fn page(segment_index: u32, published: u64) -> LivePage {
        let directory = DirectoryIdentity { device: 1, inode: 2 };
        LivePage {
            identity: StageIdentity { boot: Id128([1; 16]), incarnation: Id128([2; 16]), directory },
            segment_index,
            num_blocks: 16,
            created_ts_ns: 7,
            previous_last_event_id: 0,
            published,
            written: false,
            durable_event_id: 0,
            poisoned: false,
        }
    }

    /// Slots are found in any order; each order gives the same.
    #[test]
    fn the_newest_segment_with_events_counts() {
        let of = |pages: &[(u32, u64, u64)]| {
            let mut position = Position::default();
            for &(index, published, last) in pages {
                position.add(&page(index, published), last);
            }
            let Position { segment_index, segment_events, appended_event_id, .. } = position;
            (segment_index, segment_events, appended_event_id)
        };
        let slots = [(4, 4_096, 900), (5, 3, 903), (6, 0, 0), (7, 0, 0)];
        for first in 0..slots.len() {
            let turned: Vec<_> = slots.iter().cycle().skip(first).take(slots.len()).copied().collect();
            assert_eq!(of(&turned), (5, 3, 903));
            assert_eq!(of(&turned.iter().rev().copied().collect::<Vec<_>>()), (5, 3, 903));
        }
        assert_eq!(of(&[(7, 0, 0), (6, 0, 0), (8, 0, 0)]), (6, 0, 0), "where the next event goes");
        assert_eq!(of(&[]), (0, 0, 0));
    }
}
