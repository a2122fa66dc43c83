//! What a stage of an earlier opening has to say.
//!
//! `walrec.stage` is the witness: recovery looks where it points. A stage counts only when the record says `open` in this boot,
//! and its control pages carry the record's incarnation. One that belongs to another directory (the log was copied) is read and
//! never changed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{LockedLog, damaged};
use crate::format::{BLOCK_BYTES, Geometry, Id128, PAGE_BYTES, STAGE_DIRECTORY, STAGE_FILE, is_zero};
use crate::recorder::config::Config;
use crate::recorder::error::Error;
use crate::segment::HotSegment;
use crate::storage::{
    self, Access, ControlPage, Directory, File, LivePage, Place, STAGE_RECORD_BYTES, StageRecord, is_slot_name,
    read_small_file, stage_directory_name,
};

/// A Live slot found on disk.
#[derive(Debug)]
pub(super) struct SlotEvidence {
    pub(super) page: LivePage,
    pub(super) file: Box<dyn File>,
    /// Where it is, for messages.
    pub(super) directory: PathBuf,
    pub(super) name: String,
}

impl SlotEvidence {
    /// Events the page claims, held to its geometry and its file; `None` when the claim is impossible.
    pub(super) fn count(&self, geometry: Geometry) -> Result<Option<u32>, storage::Error> {
        let count = u32::try_from(self.page.published).ok().filter(|&count| count <= geometry.capacity());
        let Some(count) = count.filter(|_| self.page.num_blocks == geometry.num_blocks()) else { return Ok(None) };
        let bytes = self.file.attributes().at("stat", &self.directory, &self.name)?.bytes;
        let needed = (PAGE_BYTES + Geometry::end_offset(count)) as u64;
        Ok((bytes >= needed).then_some(count))
    }

    /// Reads part of the image.
    pub(super) fn read(&self, buffer: &mut [u8], offset: usize) -> Result<(), storage::Error> {
        let read = match self.file.read_up_to(buffer, (PAGE_BYTES + offset) as u64) {
            Ok(read) if read < buffer.len() => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other.map(drop),
        };
        read.at("read", &self.directory, &self.name)
    }
}

/// What was found of an earlier stage.
#[derive(Debug, Default)]
pub(super) struct StageEvidence {
    /// Its directory, locked, when there is one.
    pub(super) directory: Option<Arc<dyn Directory>>,
    /// Where that is.
    pub(super) path: Option<PathBuf>,
    /// The record that points there.
    pub(super) record: Option<StageRecord>,
    /// Its Live slots by segment.
    pub(super) slots: BTreeMap<u32, SlotEvidence>,
    /// The record says open in this boot, and nothing is there.
    pub(super) missing: bool,
    /// It belongs to another log directory.
    pub(super) foreign: bool,
    /// It is of another opening of this log.
    pub(super) disagrees: bool,
    /// A stage with events that the record does not name lies where the new one is to go.
    pub(super) in_the_way: Option<InTheWay>,
}

/// A stage that nothing points to.
#[derive(Debug)]
pub(super) struct InTheWay {
    pub(super) path: PathBuf,
    /// It belongs to another log directory.
    pub(super) foreign: bool,
}

impl StageEvidence {
    /// Looks where `walrec.stage` points, and where the new stage is to go.
    pub(super) fn find(log: &LockedLog, id: Option<Id128>, config: &Config) -> Result<Self, Error> {
        let mut evidence = Self::find_recorded(log, id, config)?;
        if let Some(id) = id {
            evidence.look_in_the_way(log, id, config)?;
        }
        Ok(evidence)
    }

    fn look_in_the_way(&mut self, log: &LockedLog, id: Id128, config: &Config) -> Result<(), Error> {
        let parent = config.stage_dir.as_deref().unwrap_or(std::path::Path::new(super::stage_place::DEFAULT_PARENT));
        // One that is not there is told when the stage is made.
        let Ok(parent) = log.system.absolute_path(parent) else { return Ok(()) };
        let path = parent.join(stage_directory_name(id));
        if self.path.as_ref() == Some(&path) {
            return Ok(());
        }
        let directory = match log.system.open_directory(&path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // The place itself is closed to this user: so it was to whoever made a stage as this user.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_closed(log, &parent) => return Ok(()),
            other => other.at("open", &path, "")?,
        };
        check_private(&*directory, &path)?;
        if !directory.try_lock().at("lock", &path, "")? {
            return Err(Error::Locked(path));
        }
        let nothing = StageRecord { open: false, incarnation: Id128([0; 16]), boot: log.boot, path: path.clone() };
        let mut other = Self::default();
        other.read_slots(log, &nothing, &*directory)?;
        self.in_the_way = other.disagrees.then_some(InTheWay { path, foreign: other.foreign });
        Ok(())
    }

    fn find_recorded(log: &LockedLog, id: Option<Id128>, config: &Config) -> Result<Self, Error> {
        let Some(bytes) = read_small_file(&*log.directory, STAGE_FILE, STAGE_RECORD_BYTES)? else {
            return Ok(Self::default());
        };
        if log.directory.is_open_to_others(STAGE_FILE).at("stat", log.directory.path(), STAGE_FILE)? {
            let why = "it belongs to another user, or others may write to it".into();
            return Err(Error::Refused { path: log.directory.path().join(STAGE_FILE), why });
        }
        let Some(record) = id.and_then(|id| StageRecord::parse(&bytes, id)) else {
            damaged(&*log.directory, STAGE_FILE, "it does not parse, or names another log's stage", config)?;
            return Ok(Self::default());
        };
        let mut evidence = Self::default();
        let Some((path, directory)) = open_recorded(log, &record)? else {
            evidence.missing = record.open && record.boot == log.boot;
            return Ok(evidence);
        };
        if !directory.try_lock().at("lock", &path, "")? {
            return Err(Error::Locked(path));
        }
        evidence.read_slots(log, &record, &*directory)?;
        evidence.directory = Some(directory);
        evidence.path = Some(path);
        evidence.record = Some(record);
        Ok(evidence)
    }

    fn read_slots(&mut self, log: &LockedLog, record: &StageRecord, directory: &dyn Directory) -> Result<(), Error> {
        let path = directory.path();
        let mut any = false;
        let current = record.open && record.boot == log.boot;
        for name in directory.names().at("list", path, "")? {
            if !is_slot_name(&name) {
                continue;
            }
            any = true;
            let name = name.to_string_lossy().into_owned();
            let file = directory.open_file(&name, Access::Read).at("open", path, &name)?;
            let page = match ControlPage::read(&*file).at("read", path, &name)? {
                ControlPage::Blank | ControlPage::Free(..) => continue,
                ControlPage::UnknownLayout(layout) => {
                    return Err(Error::Newer {
                        path: path.join(&name),
                        what: format!("stage layout {layout} is not known"),
                    });
                }
                ControlPage::Live(page) => page,
            };
            if page.identity.boot != log.boot {
                // Left on a disk by an earlier boot: it survived nothing that the files did not.
                continue;
            }
            let foreign = page.identity.directory != log.attributes.identity;
            if page.identity.incarnation != record.incarnation {
                // Of another opening than the record's: the log was put back, or is a copy.
                self.disagrees |= page.published > 0;
                self.foreign |= foreign && page.published > 0;
                continue;
            }
            if !current {
                continue;
            }
            self.foreign |= foreign;
            // Two slots for one segment cannot be; neither is believed then.
            let slot = SlotEvidence { page, file, directory: path.to_path_buf(), name };
            self.disagrees |= self.slots.insert(slot.page.segment_index, slot).is_some();
        }
        if self.disagrees {
            self.slots.clear();
        }
        self.missing = current && !any;
        Ok(())
    }

    /// Whether a segment was prepared and never written to: its recorder was killed in this boot, and left its slot without an event.
    /// Then all of it need not be read. The flusher writes nothing that was not published, and from the first block on; and that
    /// recorder began with a file of zeros, which it made, or took over by this very rule. The first block is read all the same: a
    /// count that a wild store has reset must not hide what is in the file.
    pub(super) fn proves_empty(&self, directory: &dyn Directory, segment: &HotSegment) -> Result<bool, Error> {
        let slot = self.slots.get(&segment.name.index).filter(|_| !self.foreign);
        let unused = slot.is_some_and(|slot| {
            slot.page.published == 0
                && slot.page.created_ts_ns == segment.header.created_ts_ns
                && slot.page.num_blocks == segment.geometry.num_blocks()
        });
        if !unused {
            return Ok(false);
        }
        let mut block = vec![0; BLOCK_BYTES];
        let name = segment.name.to_string();
        let read = segment.file.read_up_to(&mut block, Geometry::block_offset(0) as u64);
        let read = read.at("read", directory.path(), &name)?;
        Ok(read == BLOCK_BYTES && is_zero(&block))
    }

    /// The largest id that the stage of this very log says was durable; 0 when it says nothing.
    pub(super) fn durable_event_id(&self) -> u64 {
        if self.foreign {
            return 0;
        }
        self.slots.values().map(|slot| slot.page.durable_event_id).max().unwrap_or(0)
    }
}

fn is_closed(log: &LockedLog, directory: &std::path::Path) -> bool {
    log.system.open_directory(directory, false).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

type Found = (PathBuf, Arc<dyn Directory>);

fn open_recorded(log: &LockedLog, record: &StageRecord) -> Result<Option<Found>, Error> {
    let own = record.path == std::path::Path::new(STAGE_DIRECTORY);
    let opened = if own {
        log.directory.open_subdirectory(STAGE_DIRECTORY)
    } else {
        log.system.open_directory(&record.path, false)
    };
    let path = if own { log.directory.path().join(STAGE_DIRECTORY) } else { record.path.clone() };
    let directory = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.at("open", &path, "")?,
    };
    check_private(&*directory, &path)?;
    Ok(Some((path, directory)))
}

/// A stage directory must be ours alone: what lies in it becomes part of the log.
pub(super) fn check_private(directory: &dyn Directory, path: &std::path::Path) -> Result<(), Error> {
    let attributes = directory.attributes().at("stat", path, "")?;
    if attributes.owned && attributes.mode & 0o777 == 0o700 {
        return Ok(());
    }
    let why = format!("a stage directory must belong to this user with mode 0700, not {:04o}", attributes.mode);
    Err(Error::Refused { path: path.to_path_buf(), why })
}
