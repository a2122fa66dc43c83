//! Retirer: takes one segment's file out of the log.
//!
//! Crash story: the rename to `.del` is durable before a byte of the file goes, so that a file with a segment's name is whole or
//! not there; the removal is durable before the next file's rename. So at most one can come back after a power cut, and as the
//! oldest goes first, it borders on the log. Leftovers are removed by the next open.

use std::io;

use crate::format::{SegmentName, SegmentNameKind};
use crate::storage::{self, Access, Directory, Place};

/// A large file's blocks are given back in steps, so that no single step holds the file system's journal for long.
const TRUNCATE_STEP: u64 = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Retirer {
    /// Renamed, and not yet known to be gone.
    leaving: Option<u32>,
}

impl Retirer {
    /// Retires a file; one that is not there is retired. After an error that may be retried, [`Self::finish`] goes on.
    pub(super) fn retire(&mut self, directory: &dyn Directory, name: SegmentName) -> Result<(), storage::Error> {
        self.finish(directory)?;
        let path = directory.path();
        let (from, to) = (name.to_string(), SegmentName::new(name.index, SegmentNameKind::Retiring).to_string());
        match directory.rename_new(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.at("rename", path, &from)?,
        }
        self.leaving = Some(name.index);
        self.finish(directory)
    }

    /// Whether segment `index`'s file is renamed, and not yet known to be gone.
    pub(super) fn is_leaving(&self, index: u32) -> bool {
        self.leaving == Some(index)
    }

    /// Finishes what was begun.
    pub(super) fn finish(&mut self, directory: &dyn Directory) -> Result<(), storage::Error> {
        let Some(index) = self.leaving else { return Ok(()) };
        let path = directory.path();
        let name = SegmentName::new(index, SegmentNameKind::Retiring).to_string();
        directory.sync().at("sync directory", path, "")?;
        match directory.open_file(&name, Access::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => {
                let file = other.at("open", path, &name)?;
                let attributes = file.attributes().at("stat", path, &name)?;
                // A backup by hard link keeps its bytes.
                let mut bytes = if attributes.links > 1 { 0 } else { attributes.bytes };
                while bytes > 0 {
                    bytes = bytes.saturating_sub(TRUNCATE_STEP);
                    file.set_len(bytes).at("cut", path, &name)?;
                }
                directory.remove_file(&name).at("remove", path, &name)?;
            }
        }
        directory.sync().at("sync directory", path, "")?;
        self.leaving = None;
        Ok(())
    }
}
