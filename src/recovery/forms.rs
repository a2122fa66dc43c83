//! A segment that is there in both forms: its recorder ended between the rename of the `.wal.lz4` and the retiring of the `.wal`, or
//! somebody brought one back.
//!
//! The `.wal` counts if it verifies whole, else the `.wal.lz4` if that does; else the segment is corrupt. The recorder's opening
//! settles it by the same rule. A strict reader does not read the `.wal` twice for that: it begins with it, and where it meets
//! damage goes over to the `.wal.lz4`, from its start, for all events up to the last one given are passed over anyway.
//!
//! A `.wal` that is retired under a reader is cut while it is read, which looks like damage; then it has no name any more.

use std::io;
use std::sync::Arc;

use super::error::Error;
use super::segment_reader::{Before, SegmentReader};
use crate::format::{SegmentName, SegmentNameKind};
use crate::segment::{self, Catalog, Corruption, Counting, counting_form, verify_frozen};
use crate::storage::{Access, Directory, Place};
use crate::telemetry::{ReaderCount, ReaderTelemetry};

/// Opens the `.wal.lz4` of a segment whose `.wal` is damaged as `hot` says.
///
/// # Errors
/// `hot` when there is no `.wal.lz4`; [`BothForms`](crate::format::Reason::BothForms) when that does not verify either;
/// [`Error::NotFound`] when neither file is there any more; the system's.
pub(super) fn open_frozen_instead(
    directory: &Arc<dyn Directory>,
    telemetry: &ReaderTelemetry,
    index: u32,
    before: Before,
    hot: Box<Corruption>,
) -> Result<SegmentReader, Error> {
    let retired = !has(&**directory, SegmentName::new(index, SegmentNameKind::Hot))?;
    match verify_frozen(&**directory, index) {
        Ok(()) => {}
        Err(segment::Error::Io(error)) if error.source.kind() == io::ErrorKind::NotFound => {
            return Err(if retired { retired_before(index) } else { Error::Corrupt(hot) });
        }
        Err(segment::Error::Corrupt(frozen)) if !retired => return Err(hot.in_both_forms(&frozen).into()),
        Err(error) => return Err(unless_retired(&**directory, index, error.into())),
    }
    if !retired {
        telemetry.count_checksum_failure(hot.reason);
        telemetry.count(ReaderCount::FormSwitches, 1);
    }
    SegmentReader::open(directory, telemetry, index, false, before)
}

/// What is wrong with a `.wal` in whose place the `.wal.lz4` is to be salvaged. Errors of the system are met again where a form is read.
pub(super) fn superseded(directory: &dyn Directory, catalog: &Catalog, index: u32) -> Option<segment::Error> {
    let both = catalog.hot.contains(&index) && catalog.frozen.contains(&index);
    match both.then(|| counting_form(directory, index)) {
        Some(Counting::Frozen { hot }) => Some(hot),
        _ => None,
    }
}

/// What is wrong with a `.wal.lz4`: that it was retired while it was read, and so cut, if it has no name any more.
pub(super) fn unless_retired(directory: &dyn Directory, index: u32, error: Error) -> Error {
    let Error::Corrupt(_) = error else { return error };
    match has(directory, SegmentName::new(index, SegmentNameKind::Frozen)) {
        Ok(false) => retired_before(index),
        _ => error,
    }
}

/// A segment that is not there any more.
pub(super) fn retired_before(index: u32) -> Error {
    Error::NotFound(format!("segment {index} was retired before it was read"))
}

fn has(directory: &dyn Directory, name: SegmentName) -> Result<bool, Error> {
    let name = name.to_string();
    match directory.open_file(&name, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => Ok(other.at("open", directory.path(), &name).map(|_| true)?),
    }
}
