//! Opening a log: lock, survey, repair, stage, and the recorder that goes on from there.
//!
//! The survey only reads and decides everything; an error from it leaves the directory as it was. The repair then carries the
//! plan out, each step safe to be cut short and done again:
//!
//! | step | cut short here, the next open finds |
//! |---|---|
//! | leftovers removed | fewer leftovers |
//! | a `.wal` that its `.wal.lz4` supersedes moved | both forms, or the `.wal.lz4` |
//! | salvaged segments moved, markers first | a marker, and the segment to be moved again |
//! | accepted events rewritten and synced | the same accepted events, more of them from the files |
//! | segments sealed | a sealed segment instead of one to be walked |
//! | an old stage at another place closed and removed | a `closed` record, and what is left of that stage, to be removed |
//! | `walrec.id`, slots set Free, `walrec.stage` replaced | the old incarnation, or the new one with nothing in its stage |
//! | slots given out | a stage that continues the files |

mod forms;
mod mender;
mod plan;
mod repair;
mod report;
mod stage_evidence;
mod stage_place;
mod survey;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::config::{Config, LogLevel};
use super::error::Error;
use super::lifecycle::{ActiveSegment, PreparedSegment, SlotNumber};
use super::manager::{Manager, Workers};
use super::segment_writer::SegmentWriter;
use super::shared::{Parts, Shared};
use super::worker::{
    FlusherRings, FreedSlot, MetaCoordinator, PreparerStart, SegmentFlusher, SegmentMaintainer, SegmentPreparer,
};
use crate::format::{Geometry, Id128};
use crate::segment::{Catalog, Identity, read_identity, read_meta};
use crate::storage::{
    Directory, DirectoryAttributes, MEMORY, Place, SlotSegment, Stage, StageIdentity, System, look_for_memory,
    replace_file,
};
use crate::sync::Worker;
use crate::telemetry::{Count, Moment, Telemetry, Timing, timed_ring};

use repair::{Repair, Repaired, Resumed};
pub use report::{OpenFlags, OpenReport};
use stage_evidence::StageEvidence;
pub(super) use stage_place::StageClosing;
use survey::survey;

/// A log directory that this process has locked.
struct LockedLog {
    system: Arc<dyn System>,
    directory: Arc<dyn Directory>,
    attributes: DirectoryAttributes,
    boot: Id128,
}

/// More than all the small things take that an opening makes where no error can be told.
pub(super) const SMALL_MEMORY: usize = 2 << 20;

/// Opens the log in `path` (created with mode 0700 if missing; its parent must be there) and starts its workers.
///
/// Blocks while it reads and repairs what is not sealed. When it returns, every recovered event is durable.
///
/// # Errors
/// [`Error`]; with [`Error::Corrupt`] and [`Error::Newer`] nothing was changed.
pub fn open(path: &Path, config: &Config) -> Result<(SegmentWriter, Manager), Error> {
    config.try_cpus()?;
    look_for_memory(SMALL_MEMORY).at(MEMORY, path, "")?;
    let (writer, mut manager) = open_stepped(Arc::new(crate::storage::RealSystem), path, config)?;
    manager.start()?;
    Ok((writer, manager))
}

/// As [`open`], on any system, with no threads: the workers stand still until they are stepped or started.
///
/// # Errors
/// As [`open`].
pub fn open_stepped(system: Arc<dyn System>, path: &Path, config: &Config) -> Result<(SegmentWriter, Manager), Error> {
    let begin = Instant::now();
    let geometry = config.validate()?;
    stage_place::hold_in_memory(&*system, config)?;
    hold_to_descriptors(&*system, config)?;
    let log = lock_log(system, path, config)?;
    let directory = &*log.directory;
    let mut catalog = Catalog::read(directory)?;
    let id = read_id(directory, config)?;
    let evidence = StageEvidence::find(&log, id, config)?;
    let meta = read_meta(directory)?;
    let forms = forms::settle(directory, &mut catalog, config)?;
    let plan = survey(directory, &catalog, forms, meta, &evidence, config, geometry)?;
    let mut report = OpenReport::new(&catalog);
    let oldest_hot = catalog.hot.difference(&plan.excluded).next().copied();
    let mut repair = Repair { log: &log, config, geometry, meta, evidence: &evidence, report: &mut report };
    let outcome = repair.run(plan, &catalog)?;

    let stage = stage_place::build(&log, id, &evidence, config, geometry, &mut report)?;
    let incarnation = log.system.random_id().at("random bytes", path, "")?;
    let durable = outcome.durable;
    let identity = StageIdentity { boot: log.boot, incarnation, directory: log.attributes.identity };
    // Before the record that leads readers there.
    take_over(&stage, &identity, durable.last_event_id);
    let closing = stage_place::record(&log, &stage, incarnation, outcome.next_index)?;
    let telemetry = Telemetry::new(stage.slots().len());
    let parts = Parts {
        system: Arc::clone(&log.system),
        directory: Arc::clone(&log.directory),
        config: config.clone(),
        geometry,
        stage,
        durable,
        meta_file: meta,
        telemetry,
    };
    report.failures.iter().for_each(|&reason| parts.telemetry.count_checksum_failure(reason));
    let shared = Arc::new(Shared::new(parts)?);
    let (writer, mut workers) = assemble(&shared, oldest_hot, outcome)?;
    workers.meta.on_close()?;
    report.finish(durable.last_event_id, begin.elapsed());
    Ok((writer, Manager::new(shared, workers, closing, report)))
}

fn assemble(
    shared: &Arc<Shared>,
    oldest_hot: Option<u32>,
    repaired: Repaired,
) -> Result<(SegmentWriter, Workers), Error> {
    let Repaired { resumed, next_index, newest_created_ts_ns, empty, link, .. } = repaired;
    let slots = shared.stage.slots().len();
    let telemetry = &shared.telemetry;
    let (prepared_in, prepared_out) = timed_ring(slots, telemetry, Timing::RingPrepared);
    let (activated_in, activated_out) = timed_ring(slots, telemetry, Timing::RingActivated);
    let (written_in, written_out) = timed_ring(slots, telemetry, Timing::RingWritten);
    let (freed_in, freed_out) = timed_ring(slots, telemetry, Timing::RingFreed);
    let mut writer = SegmentWriter::new(Arc::clone(shared), prepared_out, activated_in);
    let rings = FlusherRings { activated: activated_out, written: written_in, freed: freed_in };
    let path = shared.directory.path();
    let flusher = SegmentFlusher::new(Arc::clone(shared), rings, link).at(MEMORY, path, "")?;
    let image_bytes = shared.geometry.padded_bytes();
    let first_own = resumed.as_ref().map_or(next_index, |resumed| resumed.header.segment_index);
    let mut free: Vec<FreedSlot> = (0..u32::try_from(slots).unwrap_or(u32::MAX))
        .rev()
        .map(|number| FreedSlot { slot: SlotNumber(number), used_bytes: image_bytes })
        .collect();
    if let Some(resumed) = resumed {
        let slot = free.pop().map_or(SlotNumber(0), |free| free.slot);
        let events = resumed.progress.durable_slots;
        let begin = Moment::now();
        let segment = load(shared, slot, resumed)?;
        telemetry.record_since(Timing::OpenExisting, begin);
        telemetry.count(Count::SegmentsResumed, 1);
        writer.resume(segment, events).map_err(|error| Error::Failed(error.to_string()))?;
    }
    // Before the preparer begins: it asks how many segments may stand.
    let found = oldest_hot.map_or(first_own, |oldest| oldest.min(first_own))..first_own;
    let maintainer = SegmentMaintainer::new(Arc::clone(shared), written_out, found).at(MEMORY, path, "")?;
    let start = PreparerStart { next_index, newest_created_ts_ns, empty, free };
    let preparer = SegmentPreparer::new(Arc::clone(shared), prepared_in, freed_out, start);
    let mut preparer = preparer.at(MEMORY, path, "")?;
    if shared.active().is_none() {
        // The first append must find a segment. No space is no error here: append says so until there is some.
        preparer.do_work()?;
    }
    let meta = MetaCoordinator::new(Arc::clone(shared));
    Ok((writer, Workers { preparer, flusher, maintainer, meta }))
}

/// Every slot says whose it is, and what is durable at the open.
#[allow(unsafe_code, reason = "writes control pages of slots that nobody has in use yet")]
fn take_over(stage: &Stage, identity: &StageIdentity, durable_event_id: u64) {
    for slot in stage.slots().iter() {
        // SAFETY: `stage_place::build` has set all of them Free, and there is no preparer yet.
        unsafe { slot.set_owner(identity, durable_event_id) };
    }
}

/// Loads a segment that is written on in place into `slot`.
#[allow(unsafe_code, reason = "fills a slot that nobody has in use yet")]
fn load(shared: &Shared, number: SlotNumber, resumed: Resumed) -> Result<ActiveSegment, Error> {
    let slot = shared.slot(number);
    // SAFETY: the slot is Free and there are no threads yet.
    let image = unsafe { slot.bytes_mut(0, slot.image_bytes()) };
    let name = resumed.name();
    let read = resumed.file.read_up_to(image, 0).at("read", shared.directory.path(), &name)?;
    // Above the accepted events the file holds nothing but zeros; what a short read left of an earlier use must go.
    let end = Geometry::end_offset(resumed.progress.durable_slots);
    image[end.min(read)..].fill(0);
    let segment = SlotSegment {
        segment_index: resumed.header.segment_index,
        created_ts_ns: resumed.header.created_ts_ns,
        geometry: shared.geometry,
    };
    // SAFETY: as above.
    unsafe {
        let previous = resumed.previous_last_event_id;
        slot.set_live(&segment, resumed.progress.durable_slots, previous);
    }
    let prepared =
        PreparedSegment { file: resumed.file, header: resumed.header, geometry: shared.geometry, slot: number };
    Ok(ActiveSegment { segment: prepared, progress: resumed.progress })
}

/// Descriptors beside the slots' own: the log's directory and its small files, and what the process has of its own at the least.
const OTHER_DESCRIPTORS: u64 = 32;

/// A limit that the pool alone would use up is not met in the middle of the day. It is the caller's, and is not raised in silence.
fn hold_to_descriptors(system: &dyn System, config: &Config) -> Result<(), Error> {
    let limit = system.descriptor_limit();
    // The slot's file, and its segment's.
    let needed = 2 * u64::from(config.stage_slots) + OTHER_DESCRIPTORS;
    if limit < needed {
        let slots = config.stage_slots;
        return Err(Error::Invalid(format!(
            "stage_slots is {slots}, which needs {needed} file descriptors, and this process may have {limit} (RLIMIT_NOFILE)"
        )));
    }
    Ok(())
}

fn lock_log(system: Arc<dyn System>, path: &Path, config: &Config) -> Result<LockedLog, Error> {
    match system.open_directory(path, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            system.create_directory(path).at("create directory", path, "")?;
        }
        other => drop(other.at("open", path, "")?),
    }
    // Absolute from here on: the process may change its directory while the log is open.
    let path = &*system.absolute_path(path).at("open", path, "")?;
    let directory = system.open_directory(path, true).at("open", path, "")?;
    let attributes = directory.attributes().at("stat", path, "")?;
    if attributes.mode & 0o002 != 0 {
        let why = format!("the log directory is writable by everyone (mode {:04o})", attributes.mode);
        return Err(Error::Refused { path: path.to_path_buf(), why });
    }
    if attributes.mode & 0o020 != 0 {
        config.log.log(LogLevel::Warning, &format!("{}: the log directory is writable by its group", path.display()));
    }
    if attributes.foreign {
        config.log.log(LogLevel::Warning, &format!("{}: the log directory belongs to another user", path.display()));
    }
    if !directory.try_lock().at("lock", path, "")? {
        return Err(Error::Locked(path.to_path_buf()));
    }
    let boot = system.boot_id().at("boot id", path, "")?;
    Ok(LockedLog { system, directory, attributes, boot })
}

/// The log's identity; without it the stage could not be found, so a damaged one is an error.
fn read_id(directory: &dyn Directory, config: &Config) -> Result<Option<Id128>, Error> {
    match read_identity(directory)? {
        Identity::Missing => Ok(None),
        Identity::Known(id) => Ok(Some(id)),
        Identity::Damaged => {
            damaged(directory, crate::format::ID_FILE, "it does not hold the log's identity", config).map(|()| None)
        }
    }
}

/// A small file that does not parse: an error, unless this is a salvage.
fn damaged(directory: &dyn Directory, name: &str, what: &'static str, config: &Config) -> Result<(), Error> {
    let path = directory.path().join(name);
    if !config.salvage {
        return Err(Error::Damaged { path, what });
    }
    config.log.log(LogLevel::Error, &format!("salvage: {}: {what}: ignored", path.display()));
    Ok(())
}

fn write_id(directory: &dyn Directory, id: Id128) -> Result<(), Error> {
    let line = format!("{id}\n");
    Ok(replace_file(directory, crate::format::ID_FILE, crate::format::ID_TEMP_FILE, line.as_bytes())?)
}
