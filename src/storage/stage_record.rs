//! `walrec.stage`: the one line that says whether a recorder is using the log, and where its stage is.
//!
//! Crash story: replaced through a temporary file like the other small files. On a full disk, where that fails, it is overwritten in
//! place: it fills one sector, and the medium keeps a sector whole.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, PathBuf};

use super::Directory;
use super::atomic_file::{SECTOR_BYTES, replace_sector};
use super::error::Error;
use super::stage::stage_directory_name;
use crate::format::{Id128, STAGE_DIRECTORY, STAGE_FILE, STAGE_TEMP_FILE};

/// `walrec.stage`: whether a recorder is using the log, and where its stage is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageRecord {
    /// `open`, else `closed`.
    pub open: bool,
    /// New at each open.
    pub incarnation: Id128,
    /// The boot in which it was opened.
    pub boot: Id128,
    /// Absolute, or [`crate::format::STAGE_DIRECTORY`] for the log directory's own.
    pub path: PathBuf,
}

/// Most bytes of `walrec.stage`.
pub const STAGE_RECORD_BYTES: usize = 8192;

impl StageRecord {
    /// The file's one line.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let state = if self.open { "open" } else { "closed" };
        let mut line = format!("{state} {} {} ", self.incarnation, self.boot).into_bytes();
        line.extend_from_slice(self.path.as_os_str().as_bytes());
        // One sector where it fits, so that it can be replaced in place when the disk is full.
        line.resize(line.len().max(SECTOR_BYTES - 1), b' ');
        line.push(b'\n');
        line
    }

    /// Replaces the record, durably. On a full disk an old one of one sector is overwritten: the medium keeps a sector whole.
    ///
    /// # Errors
    /// The first failing call's.
    pub fn write(&self, directory: &dyn Directory) -> Result<(), Error> {
        replace_sector(directory, STAGE_FILE, STAGE_TEMP_FILE, &self.to_bytes())
    }

    /// Reads the line; `None` for anything else. The path is as strict as what this library writes: the log directory's own
    /// stage, or an absolute path without detours whose last name is that of the log's identity.
    #[must_use]
    pub fn parse(bytes: &[u8], log: Id128) -> Option<Self> {
        let line = bytes.strip_suffix(b"\n")?;
        let mut parts = line.splitn(4, |&byte| byte == b' ');
        let open = match parts.next()? {
            b"open" => true,
            b"closed" => false,
            _ => return None,
        };
        let mut id = || std::str::from_utf8(parts.next()?).ok().and_then(Id128::parse);
        let (incarnation, boot) = (id()?, id()?);
        let path = PathBuf::from(OsStr::from_bytes(parts.next()?.trim_ascii_end()));
        // Byte by byte: as paths, "stage/" would be the same.
        let own = path.as_os_str() == STAGE_DIRECTORY;
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
            && path.components().collect::<PathBuf>().as_os_str() == path.as_os_str();
        let named = plain && path.is_absolute() && path.file_name() == Some(OsStr::new(&stage_directory_name(log)));
        (own || named).then_some(Self { open, incarnation, boot, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_reads_what_it_writes_and_no_foreign_path() {
        let log = Id128([7; 16]);
        let path = PathBuf::from(format!("/dev/shm/{}", stage_directory_name(log)));
        let record = StageRecord { open: true, incarnation: Id128([1; 16]), boot: Id128([2; 16]), path };
        assert_eq!(StageRecord::parse(&record.to_bytes(), log), Some(record.clone()));
        assert_eq!(StageRecord::parse(&record.to_bytes(), Id128([8; 16])), None, "another log's stage");
        let name = stage_directory_name(log);
        let detours = [
            format!("/tmp/../{name}"),
            format!("/tmp/{name}/"),
            format!("/tmp/{name}/."),
            format!("/tmp//{name}"),
            name,
        ];
        let others = ["/etc", "relative/walrec-0", "stage/..", "stage/", "./stage", ""].map(String::from);
        for path in others.into_iter().chain(detours) {
            let foreign = StageRecord { path: path.clone().into(), ..record.clone() };
            assert_eq!(StageRecord::parse(&foreign.to_bytes(), log), None, "{path:?}");
        }
        let bytes = record.to_bytes();
        assert_eq!(bytes.len(), SECTOR_BYTES);
        for length in 0..bytes.len() {
            assert_eq!(StageRecord::parse(&bytes[..length], log), None, "cut at {length}");
        }
    }
}
