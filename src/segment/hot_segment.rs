//! A `.wal` file, opened to be read.

use std::io;
use std::sync::Arc;

use crate::format::{
    Geometry, HeaderVerdict, Reason, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentName, SegmentNameKind, judge_header,
};
use crate::storage::{Access, Directory, File, Place};

use super::error::{Corruption, Error};

/// Whether a segment is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// Its header tells all about it.
    Sealed,
    /// Its blocks must be walked.
    Unsealed,
}

/// A `.wal` whose header holds.
#[derive(Debug)]
pub struct HotSegment {
    /// The file's name.
    pub name: SegmentName,
    /// The file.
    pub file: Arc<dyn File>,
    /// Its shape, by the file's size.
    pub geometry: Geometry,
    /// Its header.
    pub header: SegmentHeader,
}

impl HotSegment {
    /// Opens segment `index` for reading and judges its header.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`], [`Error::Newer`]; [`Error::Refused`] for an unsealed file with more than one link.
    pub fn open(directory: &dyn Directory, index: u32) -> Result<Self, Error> {
        let name = SegmentName::new(index, SegmentNameKind::Hot);
        let text = name.to_string();
        let path = || directory.path().join(&text);
        let corrupt =
            |reason, detail| Corruption { path: path(), segment_index: index, block: None, offset: 0, reason, detail };
        let file = match directory.open_file(&text, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(corrupt(Reason::FileKind, String::new()).into());
            }
            other => other.at("open", directory.path(), &text)?,
        };
        let attributes = file.attributes().at("stat", directory.path(), &text)?;
        let mut header = [0; SEGMENT_HEADER_BYTES];
        let read = file.read_up_to(&mut header, 0).at("read", directory.path(), &text)?;
        if read < header.len() {
            return Err(corrupt(Reason::FileSize, format!("{} bytes", attributes.bytes)).into());
        }
        let header = match judge_header(&header, index) {
            HeaderVerdict::Sealed(header) => header,
            HeaderVerdict::Unsealed(_) if attributes.links > 1 => {
                return Err(Error::Refused { path: path(), why: "an unsealed segment with more than one link" });
            }
            HeaderVerdict::Unsealed(header) => header,
            HeaderVerdict::Foreign => return Err(corrupt(Reason::Magic, String::new()).into()),
            HeaderVerdict::Newer => return Err(Error::Newer { path: path(), offset: 0 }),
            HeaderVerdict::Corrupt(reason) => return Err(corrupt(reason, String::new()).into()),
        };
        let Some(geometry) = Geometry::of_file(attributes.bytes) else {
            return Err(corrupt(Reason::FileSize, format!("{} bytes", attributes.bytes)).into());
        };
        if header.seal.is_some_and(|seal| seal.block_count > geometry.num_blocks()) {
            return Err(corrupt(Reason::SealedCounts, "more blocks than the file holds".into()).into());
        }
        Ok(Self { name, file: file.into(), geometry, header })
    }

    /// Whether it is sealed.
    #[must_use]
    pub fn state(&self) -> SegmentState {
        if self.header.seal.is_some() { SegmentState::Sealed } else { SegmentState::Unsealed }
    }

    /// A corruption in this segment.
    #[must_use]
    pub fn corruption(&self, directory: &dyn Directory, block: Option<u32>, offset: u64, reason: Reason) -> Corruption {
        let path = directory.path().join(self.name.to_string());
        Corruption { path, segment_index: self.name.index, block, offset, reason, detail: String::new() }
    }
}
