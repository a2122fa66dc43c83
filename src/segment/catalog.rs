//! What lies in a log directory, by names alone: its cost does not depend on the size of the log.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use crate::format::{
    ID_FILE, ID_TEMP_FILE, META_FILE, META_TEMP_FILE, QUARANTINE_DIRECTORY, STAGE_DIRECTORY, STAGE_FILE,
    STAGE_TEMP_FILE, SegmentName, SegmentNameKind, parse_lost_marker,
};
use crate::storage::{self, Directory, Place};

/// The names of a log directory, sorted out.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Indices with a `.wal`.
    pub hot: BTreeSet<u32>,
    /// Indices with a `.wal.lz4`.
    pub frozen: BTreeSet<u32>,
    /// Files that were on their way in or out.
    pub leftovers: Vec<SegmentName>,
    /// Temporary files of small files.
    pub temporary: Vec<&'static str>,
    /// Indices that an earlier salvage recorded as lost.
    pub lost: BTreeSet<u32>,
    /// Files in the quarantine, markers aside.
    pub quarantined: u32,
    /// Names that are not ours; never touched.
    pub foreign: Vec<OsString>,
}

impl Catalog {
    /// Reads the names.
    ///
    /// # Errors
    /// The system's.
    pub fn read(directory: &dyn Directory) -> Result<Self, storage::Error> {
        let mut catalog = Self::default();
        for name in directory.names().at("list", directory.path(), "")? {
            catalog.add(name);
        }
        let quarantine = match directory.open_subdirectory(QUARANTINE_DIRECTORY) {
            // What is no directory holds no markers; setting something aside there will fail.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(catalog);
            }
            other => other.at("open", directory.path(), QUARANTINE_DIRECTORY)?,
        };
        for name in quarantine.names().at("list", quarantine.path(), "")? {
            match parse_lost_marker(name.as_bytes()) {
                Some(index) => drop(catalog.lost.insert(index)),
                None => catalog.quarantined = catalog.quarantined.saturating_add(1),
            }
        }
        Ok(catalog)
    }

    fn add(&mut self, name: OsString) {
        let temporary = [META_TEMP_FILE, ID_TEMP_FILE, STAGE_TEMP_FILE].into_iter().find(|known| name == **known);
        if let Some(temporary) = temporary {
            return self.temporary.push(temporary);
        }
        if [META_FILE, ID_FILE, STAGE_FILE, STAGE_DIRECTORY, QUARANTINE_DIRECTORY].iter().any(|known| name == **known) {
            return;
        }
        match SegmentName::parse(name.as_bytes()) {
            Some(SegmentName { index, kind: SegmentNameKind::Hot }) => drop(self.hot.insert(index)),
            Some(SegmentName { index, kind: SegmentNameKind::Frozen }) => drop(self.frozen.insert(index)),
            Some(leftover) => self.leftovers.push(leftover),
            None => self.foreign.push(name),
        }
    }

    /// All indices that have a file, in order.
    #[must_use]
    pub fn indices(&self) -> BTreeSet<u32> {
        self.hot.union(&self.frozen).copied().collect()
    }

    /// Whether the index has a file.
    #[must_use]
    pub fn has(&self, index: u32) -> bool {
        self.hot.contains(&index) || self.frozen.contains(&index)
    }

    /// Whether the next two indices have files: then the next is neither the last one nor beside a gap, and may be entered by these names.
    #[must_use]
    pub fn two_follow(&self, index: u32) -> bool {
        (1..=2).all(|above| index.checked_add(above).is_some_and(|next| self.has(next)))
    }

    /// The first index above this one that has a file; the first of all above `None`.
    #[must_use]
    pub fn next_above(&self, index: Option<u32>) -> Option<u32> {
        let begin = match index {
            Some(index) => index.checked_add(1)?,
            None => 0,
        };
        let next = |indices: &BTreeSet<u32>| indices.range(begin..).next().copied();
        next(&self.hot).into_iter().chain(next(&self.frozen)).min()
    }

    /// Whether an earlier salvage recorded all of these as lost.
    #[must_use]
    pub fn all_lost(&self, mut indices: Range<u32>) -> bool {
        indices.all(|index| self.lost.contains(&index))
    }

    /// Indices without a file between the first and the last; also before the first, above a segment whose retiring was cut
    /// short. As ranges, both ends inclusive.
    #[must_use]
    pub fn missing(&self) -> Vec<(u32, u32)> {
        let indices: Vec<u32> = self.indices().into_iter().collect();
        let between = indices.windows(2).filter(|pair| pair[1] - pair[0] > 1);
        self.missing_before_first().into_iter().chain(between.map(|pair| (pair[0] + 1, pair[1] - 1))).collect()
    }

    /// The part of [`Self::missing`] before the first index.
    #[must_use]
    pub fn missing_before_first(&self) -> Option<(u32, u32)> {
        let first = *self.hot.first().into_iter().chain(self.frozen.first()).min()?;
        // One that is retired above the front was frozen: nothing follows from it.
        let retired =
            self.leftovers.iter().filter(|name| name.kind == SegmentNameKind::Retiring).map(|name| name.index);
        let retired = retired.max().filter(|&retired| retired < first)?;
        (first - retired > 1).then(|| (retired + 1, first - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(names: &[&str]) -> Catalog {
        let mut catalog = Catalog::default();
        for name in names {
            catalog.add(name.into());
        }
        catalog
    }

    #[test]
    fn sorts_names_out() {
        let catalog = catalog(&[
            "FS.00000003.wal",
            "FS.00000002.wal.lz4",
            "FS.00000004.new",
            "wal_meta.dat",
            "walrec.id.tmp",
            "x",
        ]);
        assert_eq!(catalog.indices().into_iter().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(catalog.leftovers, [SegmentName::new(4, SegmentNameKind::New)]);
        assert_eq!((catalog.temporary.len(), catalog.foreign.len()), (1, 1));
    }

    #[test]
    fn sees_gaps_inside_and_above_a_retired_front() {
        assert_eq!(catalog(&["FS.00000005.wal", "FS.00000006.wal"]).missing(), []);
        assert_eq!(catalog(&["FS.00000001.wal", "FS.00000004.wal.lz4"]).missing(), [(2, 3)]);
        assert_eq!(catalog(&["FS.00000004.del", "FS.00000005.wal"]).missing(), []);
        assert_eq!(catalog(&["FS.00000003.del", "FS.00000005.wal"]).missing(), [(4, 4)]);
        assert_eq!(catalog(&["FS.00000005.del", "FS.00000005.wal.lz4", "FS.00000006.wal"]).missing(), []);
        let frozen = ["FS.00000001.wal.lz4", "FS.00000003.wal.lz4", "FS.00000004.del", "FS.00000004.wal.lz4"];
        assert_eq!(catalog(&frozen).missing(), [(2, 2)]);
    }
}
