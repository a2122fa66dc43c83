//! Where the new stage goes, and the record that says so.
//!
//! The configured directory, else /dev/shm, else the log directory with a word about it. A stage that was found stays in use when it
//! is at the right place: never a second pool beside the first.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::stage_evidence::{StageEvidence, check_private};
use super::{LockedLog, OpenFlags, OpenReport, write_id};
use crate::format::{Geometry, Id128, STAGE_DIRECTORY};
use crate::recorder::config::{Config, LogLevel};
use crate::recorder::error::Error;
use crate::recorder::shared::Shared;
use crate::storage::{self, Directory, Place, Stage, StageRecord, System, remove_stage, stage_directory_name};
use crate::sync::SignalsBlocked;

pub(super) const DEFAULT_PARENT: &str = "/dev/shm";

/// Refuses a place that does not lie in memory where it must, before anything is touched. One that is not there is told when the stage
/// is made.
pub(super) fn hold_in_memory(system: &dyn System, config: &Config) -> Result<(), Error> {
    if !config.require_shm {
        return Ok(());
    }
    let parent = config.stage_dir.as_deref().unwrap_or(Path::new(DEFAULT_PARENT));
    let Ok(directory) = system.open_directory(parent, true) else { return Ok(()) };
    if !directory.attributes().at("stat", parent, "")?.in_memory {
        return Err(not_in_memory(parent));
    }
    Ok(())
}

fn not_in_memory(path: &Path) -> Error {
    Error::Refused { path: path.to_path_buf(), why: "it does not lie in memory".into() }
}

/// Builds the stage. The log gets an identity if it has none, and a new one when the old stage belongs to the log that this one
/// was copied from.
pub(super) fn build(
    log: &LockedLog,
    id: Option<Id128>,
    evidence: &StageEvidence,
    config: &Config,
    geometry: Geometry,
    report: &mut OpenReport,
) -> Result<Stage, Error> {
    let id = match id.filter(|_| !evidence.foreign && !evidence.in_the_way.as_ref().is_some_and(|other| other.foreign))
    {
        Some(id) => id,
        None => {
            let id = log.system.random_id().at("random bytes", log.directory.path(), "")?;
            write_id(&*log.directory, id)?;
            id
        }
    };
    set_aside(log, evidence, config, report)?;
    tell_of_foreign(evidence, config, report);
    let parent = config.stage_dir.as_deref().unwrap_or(Path::new(DEFAULT_PARENT));
    // One that is not there is told when the stage is made.
    if let Ok(parent) = log.system.absolute_path(parent) {
        leave_old(log, &parent.join(stage_directory_name(id)), evidence)?;
    }
    let stage = place(log, id, evidence, config, geometry, report)?;
    if !stage.is_locked_in_memory() {
        report.flags |= OpenFlags::NOT_LOCKED_IN_MEMORY;
    }
    // Nothing in the pool is of use any more: every recovered event is durable in the files.
    stage.slots().iter().for_each(storage::Slot::set_free);
    Ok(stage)
}

/// A stage that is not where the new one is to be goes before that is made: every recovered event is durable in the files. Its record
/// first, as after a clean close: the next open finds what a `closed` line names. What no line names would lie in memory until the
/// machine stops.
fn leave_old(log: &LockedLog, wanted: &Path, evidence: &StageEvidence) -> Result<(), Error> {
    match (&evidence.path, &evidence.record) {
        // Another log's stays; set aside, it has gone already.
        (Some(old), Some(record)) if old != wanted && !evidence.foreign => {
            StageRecord { open: false, ..record.clone() }.write(&*log.directory)?;
            Ok(remove_stage(&*log.system, old)?)
        }
        _ => Ok(()),
    }
}

/// A stage of another opening keeps what it has under another name, as long as the machine runs.
fn set_aside(log: &LockedLog, evidence: &StageEvidence, config: &Config, report: &mut OpenReport) -> Result<(), Error> {
    if report.flags & OpenFlags::STAGE_SET_ASIDE == 0 {
        return Ok(());
    }
    if let Some(other) = evidence.in_the_way.as_ref().filter(|other| !other.foreign) {
        rename_aside(log, &other.path, config)?;
    }
    // The one that the record names is not at fault when only the other is in the way.
    let Some(path) = evidence.path.as_ref().filter(|_| evidence.disagrees || evidence.in_the_way.is_none()) else {
        return Ok(());
    };
    if evidence.foreign {
        let text =
            format!("{}: the stage of another log directory does not continue this log; left as it is", path.display());
        config.log.log(LogLevel::Warning, &text);
        return Ok(());
    }
    rename_aside(log, path, config)
}

/// The stage of another directory is taken from and left. It may be this log's own: where its file system was mounted anew in this
/// boot, the device can have another number. Then nothing leads to it any more.
fn tell_of_foreign(evidence: &StageEvidence, config: &Config, report: &OpenReport) {
    if let (true, Some(path)) = (evidence.foreign && report.flags & OpenFlags::STAGE_SET_ASIDE == 0, &evidence.path) {
        let text = format!(
            "{}: this stage was made for a log directory on another device, or with another inode: a log that this one was copied from, \
             or this one before its file system was mounted anew. Its events are taken, and it is left as it is, in memory: remove \
             it when no log needs it",
            path.display()
        );
        config.log.log(LogLevel::Warning, &text);
    }
}

fn rename_aside(log: &LockedLog, path: &Path, config: &Config) -> Result<(), Error> {
    for number in 0..1_000 {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".aside-{number}"));
        let aside = PathBuf::from(name);
        match log.system.rename_directory(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => {
                other.at("rename", path, "")?;
                let text = format!("{}: a stage that does not continue the log was set aside here", aside.display());
                config.log.log(LogLevel::Warning, &text);
                return Ok(());
            }
        }
    }
    Err(Error::Refused {
        path: path.to_path_buf(),
        why: "a thousand stages have been set aside here; remove some".into(),
    })
}

fn place(
    log: &LockedLog,
    id: Id128,
    evidence: &StageEvidence,
    config: &Config,
    geometry: Geometry,
    report: &mut OpenReport,
) -> Result<Stage, Error> {
    let parent = config.stage_dir.as_deref().unwrap_or(Path::new(DEFAULT_PARENT));
    let explicit = config.stage_dir.is_some();
    let wanted = wanted_directory(log, parent, id, evidence, report);
    let built = wanted.and_then(|directory| {
        let in_memory = directory.attributes().at("stat", directory.path(), "")?.in_memory;
        if !in_memory && (config.require_shm || !explicit) {
            return Err(not_in_memory(directory.path()));
        }
        if !in_memory {
            on_disk(directory.path(), "the configured stage_dir does not lie in memory", config, report);
        }
        Ok(build_pool(directory, config, geometry)?)
    });
    match built {
        Ok(stage) => Ok(stage),
        Err(error) if explicit || config.require_shm => {
            // No half pool is left in the way of everybody; a failure to remove it is only a leftover.
            let no_space = matches!(&error, Error::Io(error) if error.is_no_space());
            if no_space && evidence.slots.is_empty() {
                let _ = remove_stage(&*log.system, &parent.join(stage_directory_name(id)));
            }
            Err(error)
        }
        Err(Error::Io(error)) if is_unusable(&error) => {
            // What was made of it goes away again; a failure to do so is only a leftover.
            let _ = remove_stage(&*log.system, &parent.join(stage_directory_name(id)));
            fall_back(log, &error.to_string(), config, geometry, report)
        }
        Err(Error::Refused { path, why }) if why.contains("in memory") => {
            let _ = remove_stage(&*log.system, &path);
            fall_back(log, &format!("{}: {why}", path.display()), config, geometry, report)
        }
        Err(error) => Err(error),
    }
}

/// Whether the default place cannot hold the pool: no space, nothing there, or nothing may be made there. What is there and may not be
/// opened is somebody else's, and is an error.
fn is_unusable(error: &storage::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    match error.source.kind() {
        NotFound | ReadOnlyFilesystem => true,
        PermissionDenied => error.operation.starts_with("create"),
        _ => error.is_no_space(),
    }
}

/// The stage's directory below `parent`, private and locked.
fn wanted_directory(
    log: &LockedLog,
    parent: &Path,
    id: Id128,
    evidence: &StageEvidence,
    report: &OpenReport,
) -> Result<Arc<dyn Directory>, Error> {
    let parent = log.system.absolute_path(parent).at("open", parent, "")?;
    let path = parent.join(stage_directory_name(id));
    let reusable = !evidence.foreign && report.flags & OpenFlags::STAGE_SET_ASIDE == 0;
    if let (true, Some(directory)) = (reusable && evidence.path.as_ref() == Some(&path), &evidence.directory) {
        return Ok(Arc::clone(directory));
    }
    log.system.create_directory(&path).at("create directory", &path, "")?;
    let directory = log.system.open_directory(&path, false).at("open", &path, "")?;
    check_private(&*directory, &path)?;
    if directory.try_lock().at("lock", &path, "")? { Ok(directory) } else { Err(Error::Locked(path)) }
}

/// No signal reaches this thread meanwhile. Some kernels undo what a tmpfs has allocated at each signal and say EINTR: an interval timer
/// would have it begin anew for ever. And a limit on file sizes is an error here, with its place, and does not end the process.
fn build_pool(directory: Arc<dyn Directory>, config: &Config, geometry: Geometry) -> Result<Stage, storage::Error> {
    let blocked = SignalsBlocked::here();
    let built = Stage::build(directory, config.stage_slots, geometry);
    if built.is_err() {
        blocked.take_file_size_signal();
    }
    built
}

fn fall_back(
    log: &LockedLog,
    why: &str,
    config: &Config,
    geometry: Geometry,
    report: &mut OpenReport,
) -> Result<Stage, Error> {
    let path = log.directory.path();
    log.directory.create_subdirectory(STAGE_DIRECTORY).at("create directory", path, STAGE_DIRECTORY)?;
    log.directory.sync().at("sync directory", path, "")?;
    let directory = log.directory.open_subdirectory(STAGE_DIRECTORY).at("open", path, STAGE_DIRECTORY)?;
    check_private(&*directory, directory.path())?;
    on_disk(directory.path(), why, config, report);
    let place = directory.path().to_path_buf();
    build_pool(directory, config, geometry).map_err(|error| {
        // Nothing of it is of use to anybody; a failure to remove it is only a leftover.
        if error.is_no_space() {
            let _ = remove_stage(&*log.system, &place);
        }
        error.into()
    })
}

fn on_disk(place: &Path, why: &str, config: &Config, report: &mut OpenReport) {
    report.flags |= OpenFlags::STAGE_ON_DISK;
    let text = format!(
        "the stage is in {}, on disk ({why}): an append may wait for a page fault, and a full disk may raise SIGBUS",
        place.display()
    );
    config.log.log(LogLevel::Warning, &text);
}

/// Where the stage is, for the end of the recorder.
#[derive(Debug)]
pub(in crate::recorder) struct StageClosing {
    record: StageRecord,
    /// The first segment index that this opening gave out, for a recorder without any append.
    pub(in crate::recorder) first_empty_index: u32,
}

impl StageClosing {
    /// Makes the close durable, then takes the stage away.
    pub(in crate::recorder) fn close(&self, shared: &Shared) -> Result<(), Error> {
        StageRecord { open: false, ..self.record.clone() }.write(&*shared.directory)?;
        Ok(remove_stage(&*shared.system, shared.stage.directory().path())?)
    }
}

/// Makes the new opening durable.
pub(super) fn record(
    log: &LockedLog,
    stage: &Stage,
    incarnation: Id128,
    first_empty_index: u32,
) -> Result<StageClosing, storage::Error> {
    let path = stage.directory().path();
    let own = path == log.directory.path().join(STAGE_DIRECTORY);
    let recorded = if own { STAGE_DIRECTORY.into() } else { path.to_path_buf() };
    let record = StageRecord { open: true, incarnation, boot: log.boot, path: recorded };
    record.write(&*log.directory)?;
    Ok(StageClosing { record, first_empty_index })
}
