//! How far a reader may go: what a recorder that may still be running has made durable.
//!
//! The record in `walrec.stage` says whether there may be one. Its stage tells the durable id; a stage that this process cannot see
//! (another container, another user) leaves `wal_meta.dat`, which lags by up to a second. Without a recorder everything that
//! verifies may be read: it would survive an opening.

use std::io;
use std::sync::Arc;

use crate::format::{STAGE_DIRECTORY, STAGE_FILE};
use crate::segment::{Identity, read_identity, read_meta};
use crate::storage::{
    Access, ControlPage, Directory, Error, Place, STAGE_RECORD_BYTES, StageRecord, System, is_slot_name,
    read_small_file,
};

/// The last event that may be given out; `None` when everything that verifies may.
///
/// A recorder that closes writes `wal_meta.dat`, then the record, and then removes its stage: what was read of a stage counts if the record
/// is still the same.
pub(super) fn durable_limit(system: &dyn System, log: &dyn Directory) -> Result<Option<u64>, Error> {
    const LOOKS: u32 = 8;
    let mut record = stage_in_use(system, log)?;
    for _ in 1..LOOKS {
        let limit = limit_of(record.as_ref(), system, log)?;
        let now = stage_in_use(system, log)?;
        if now == record {
            return Ok(limit);
        }
        record = now;
    }
    limit_of(record.as_ref(), system, log)
}

fn limit_of(record: Option<&StageRecord>, system: &dyn System, log: &dyn Directory) -> Result<Option<u64>, Error> {
    let Some(record) = record else { return Ok(None) };
    let meta = read_meta(log)?.last_event_id;
    match open_stage(system, log, record) {
        Ok(stage) => from_stage(&*stage, log, record, meta),
        // Gone, or not ours to look at.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Some(meta))
        }
        Err(error) => Err(error).at("open", &record.path, ""),
    }
}

/// The record of a recorder that has the log open in this boot, or was killed in it.
pub(super) fn stage_in_use(system: &dyn System, log: &dyn Directory) -> Result<Option<StageRecord>, Error> {
    let Some(bytes) = read_small_file(log, STAGE_FILE, STAGE_RECORD_BYTES)? else { return Ok(None) };
    let Identity::Known(id) = read_identity(log)? else { return Ok(None) };
    let Some(record) = StageRecord::parse(&bytes, id) else { return Ok(None) };
    let in_use = record.open && record.boot == system.boot_id().at("boot id", log.path(), "")?;
    Ok(in_use.then_some(record))
}

pub(super) fn open_stage(
    system: &dyn System,
    log: &dyn Directory,
    record: &StageRecord,
) -> io::Result<Arc<dyn Directory>> {
    if record.path == std::path::Path::new(STAGE_DIRECTORY) {
        log.open_subdirectory(STAGE_DIRECTORY)
    } else {
        system.open_directory(&record.path, false)
    }
}

fn from_stage(
    stage: &dyn Directory,
    log: &dyn Directory,
    record: &StageRecord,
    meta: u64,
) -> Result<Option<u64>, Error> {
    let own = log.attributes().at("stat", log.path(), "")?.identity;
    let mut durable = meta;
    for name in stage.names().at("list", stage.path(), "")? {
        if !is_slot_name(&name) {
            continue;
        }
        let name = name.to_string_lossy();
        let file = match stage.open_file(&name, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.at("open", stage.path(), &name)?,
        };
        let (identity, durable_event_id) = match ControlPage::read(&*file).at("read", stage.path(), &name)? {
            ControlPage::Blank | ControlPage::UnknownLayout(_) => continue,
            ControlPage::Free(identity, durable_event_id) => (identity, durable_event_id),
            ControlPage::Live(page) => (page.identity, page.durable_event_id),
        };
        if identity.incarnation != record.incarnation {
            continue;
        }
        if identity.directory != own {
            // The log was copied: nobody writes to this one.
            return Ok(None);
        }
        durable = durable.max(durable_event_id);
    }
    Ok(Some(durable))
}
