//! A `.wal.lz4` file, opened to be read from its front.

use std::io;

use crate::format::{
    BLOCK_BYTES, HeaderVerdict, Reason, SEGMENT_HEADER_BYTES, Seal, SegmentHeader, SegmentName, SegmentNameKind,
    is_zero, judge_header,
};
use crate::storage::{self, Access, Directory, FrozenReader, Place};

use super::error::{Corruption, Error};

/// A frozen segment whose header holds. Blocks come one after another; memory is the decoder's, whatever the file claims.
#[derive(Debug)]
pub struct FrozenSegment {
    name: SegmentName,
    directory: std::path::PathBuf,
    reader: FrozenReader,
    header: SegmentHeader,
    seal: Seal,
    blocks_given: u32,
}

impl FrozenSegment {
    /// Opens frozen segment `index` and judges its header.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`], [`Error::Newer`].
    pub fn open(directory: &dyn Directory, index: u32) -> Result<Self, Error> {
        let name = SegmentName::new(index, SegmentNameKind::Frozen);
        let text = name.to_string();
        let file = directory.open_file(&text, Access::Read).at("open", directory.path(), &text)?;
        let mut reader = FrozenReader::new(file);
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let place = FrozenPlace { path: directory.path().to_path_buf(), name };
        let read = reader.read_up_to(&mut bytes).map_err(|error| place.decode_error(error, 0))?;
        if read < bytes.len() {
            return Err(place.corrupt(None, 0, Reason::Frozen, "it decodes to less than a header").into());
        }
        let header = match judge_header(&bytes, index) {
            HeaderVerdict::Sealed(header) => header,
            HeaderVerdict::Newer => return Err(Error::Newer { path: directory.path().join(&text), offset: 0 }),
            HeaderVerdict::Corrupt(reason) => return Err(place.corrupt(None, 0, reason, "").into()),
            HeaderVerdict::Unsealed(_) => {
                return Err(place.corrupt(None, 0, Reason::Frozen, "it is not sealed").into());
            }
            HeaderVerdict::Foreign => return Err(place.corrupt(None, 0, Reason::Magic, "").into()),
        };
        let Some(seal) = header.seal else {
            return Err(place.corrupt(None, 0, Reason::Frozen, "it is not sealed").into());
        };
        Ok(Self { name, directory: place.path, reader, header, seal, blocks_given: 0 })
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Its seal.
    #[must_use]
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// A corruption in this segment.
    #[must_use]
    pub fn corruption(&self, block: u32, reason: Reason) -> Corruption {
        let place = FrozenPlace { path: self.directory.clone(), name: self.name };
        place.corrupt(Some(block), crate::format::Geometry::block_offset(block) as u64, reason, "")
    }

    /// Decodes the next block into `block`; `false` after the last one, when the rest of the file has been judged too.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`].
    pub fn next_block(&mut self, block: &mut [u8; BLOCK_BYTES]) -> Result<bool, Error> {
        let place = FrozenPlace { path: self.directory.clone(), name: self.name };
        let offset = crate::format::Geometry::block_offset(self.blocks_given) as u64;
        let last = self.blocks_given >= self.seal.block_count;
        let read = self.reader.read_up_to(block).map_err(|error| place.decode_error(error, offset))?;
        if last {
            return self.judge_rest(block, read, &place).map(|()| false);
        }
        if read < BLOCK_BYTES {
            return Err(place
                .corrupt(Some(self.blocks_given), offset, Reason::Frozen, "it ends before its last block")
                .into());
        }
        self.blocks_given += 1;
        Ok(true)
    }

    /// A whole segment compressed as one frame goes on to the segment's full size, in zeros.
    fn judge_rest(&mut self, block: &mut [u8; BLOCK_BYTES], read: usize, place: &FrozenPlace) -> Result<(), Error> {
        let mut read = read;
        let mut blocks = self.blocks_given;
        while read > 0 {
            let offset = crate::format::Geometry::block_offset(blocks) as u64;
            let sound = read == BLOCK_BYTES && blocks < crate::format::MAX_BLOCKS_READ && is_zero(block);
            if !sound {
                return Err(place.corrupt(Some(blocks), offset, Reason::Frozen, "bytes after the last block").into());
            }
            blocks += 1;
            read = self.reader.read_up_to(block).map_err(|error| place.decode_error(error, offset))?;
        }
        Ok(())
    }
}

struct FrozenPlace {
    path: std::path::PathBuf,
    name: SegmentName,
}

impl FrozenPlace {
    fn corrupt(&self, block: Option<u32>, offset: u64, reason: Reason, detail: &str) -> Corruption {
        let path = self.path.join(self.name.to_string());
        Corruption { path, segment_index: self.name.index, block, offset, reason, detail: detail.into() }
    }

    fn decode_error(&self, error: io::Error, offset: u64) -> Error {
        if error.kind() == io::ErrorKind::InvalidData {
            return self.corrupt(None, offset, Reason::Frozen, &error.to_string()).into();
        }
        storage::Error { operation: "read", path: self.path.join(self.name.to_string()), source: error }.into()
    }
}
