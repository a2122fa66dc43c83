//! Small files that are replaced whole or not at all.
//!
//! Crash story: the new bytes are written to a temporary file and synced before the rename, so that the name never leads
//! to an empty or half file (on xfs it otherwise does); the directory is synced after it. A leftover temporary file is
//! normal and is overwritten by the next replacement. A failed sync is an error of the whole replacement: the caller
//! must not try again and call it durable.
//!
//! On a full disk there is no room for a second file. One that fits a sector can be overwritten where it is instead: the medium
//! keeps a sector whole.

use std::io;

use super::error::{Error, Place};
use super::{Access, Directory};

/// Replaces `name` by `bytes`, durably, through the temporary file `temp_name`.
///
/// # Errors
/// The first failing call's; `name` then still leads to the old bytes, or to the new ones not yet known durable.
pub fn replace_file(directory: &dyn Directory, name: &str, temp_name: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = directory.path();
    match directory.remove_file(temp_name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at("remove", path, temp_name),
        _ => {}
    }
    let file = directory.create_file(temp_name, Access::Write).at("create", path, temp_name)?;
    file.keep_in_place(bytes.len() as u64);
    file.write_all_at(bytes, 0).at("write", path, temp_name)?;
    file.sync_data().at("sync", path, temp_name)?;
    directory.rename(temp_name, name).at("rename", path, temp_name)?;
    directory.sync().at("sync directory", path, "")
}

/// The medium writes so many bytes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// As [`replace_file`]; where that finds no space, an old file of the same size, of one sector at most, is overwritten in place. Not one
/// with a second name: that is somebody's backup.
///
/// # Errors
/// The first failing call's; after one of them `name` leads to the old bytes, or to the new ones not yet known durable.
pub fn replace_sector(directory: &dyn Directory, name: &str, temp_name: &str, bytes: &[u8]) -> Result<(), Error> {
    let full = match replace_file(directory, name, temp_name, bytes) {
        Err(error) if error.is_no_space() && !error.operation.starts_with("sync") => error,
        other => return other,
    };
    let path = directory.path();
    let Ok(file) = directory.open_file(name, Access::Write) else { return Err(full) };
    let old = file.attributes().at("stat", path, name)?;
    if bytes.len() > SECTOR_BYTES || old.bytes != bytes.len() as u64 || old.links > 1 {
        return Err(full);
    }
    // What the failed replacement left; it may be what fills the disk.
    let _ = directory.remove_file(temp_name);
    file.write_all_at(bytes, 0).at("write", path, name)?;
    file.sync_data().at("sync", path, name)
}

/// The first `limit` bytes of a file; `None` when it is not there. What is no regular file holds nothing.
///
/// # Errors
/// Any other failing call's.
pub fn read_small_file(directory: &dyn Directory, name: &str, limit: usize) -> Result<Option<Vec<u8>>, Error> {
    let path = directory.path();
    let file = match directory.open_file(name, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(Some(Vec::new())),
        Err(error) => return Err(error).at("open", path, name),
    };
    let mut bytes = vec![0; limit];
    let read = file.read_up_to(&mut bytes, 0).at("read", path, name)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}
