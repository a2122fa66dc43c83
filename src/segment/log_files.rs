//! The small files of a log that both sides read: its identity and its meta state.

use crate::format::{ID_FILE, Id128, META_BYTES, META_FILE, MetaPosition};
use crate::storage::{Directory, Error, read_small_file};

/// More than `walrec.id` ever holds: a longer one is damaged.
const ID_FILE_BYTES: usize = 64;

/// What `walrec.id` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// There is no such file: nobody has opened the log yet, or another system wrote it.
    Missing,
    /// It does not hold an identity.
    Damaged,
    /// The log's identity.
    Known(Id128),
}

/// Reads `walrec.id`.
///
/// # Errors
/// The system's.
pub fn read_identity(directory: &dyn Directory) -> Result<Identity, Error> {
    let Some(bytes) = read_small_file(directory, ID_FILE, ID_FILE_BYTES)? else { return Ok(Identity::Missing) };
    let text = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n'));
    Ok(text.and_then(Id128::parse).map_or(Identity::Damaged, Identity::Known))
}

/// Reads `wal_meta.dat`; all zero, so nothing known, when it is missing or short.
///
/// # Errors
/// The system's.
pub fn read_meta(directory: &dyn Directory) -> Result<MetaPosition, Error> {
    let bytes = read_small_file(directory, META_FILE, META_BYTES)?;
    Ok(bytes.and_then(|bytes| MetaPosition::from_bytes(&bytes)).unwrap_or_default())
}
