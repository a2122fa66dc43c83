//! A `.wal.lz4` file, read from its front, or from any of its frames.
//!
//! The file that walrec makes is cut into frames of 64 blocks, so a reader may enter it at any of them. What `lz4` or FlashStrike
//! makes of a whole segment is one frame, and is only ever streamed.

use std::io;
use std::sync::Arc;

use crate::format::{
    BLOCK_BYTES, HeaderVerdict, Reason, SEGMENT_HEADER_BYTES, Seal, SegmentHeader, SegmentName, SegmentNameKind,
    is_zero, judge_header,
};
use crate::storage::{
    self, Access, Directory, File, FrozenReader, Place, SizedFrame, read_frame, read_small_frame, sized_frame,
};

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
    /// The header stands in a frame of its own, which is whole.
    header_framed: bool,
    /// The frames of blocks, once they were looked for; none for a file that is not of that form.
    frames: Option<Arc<Frames>>,
}

/// Blocks in each frame but the last.
pub const BLOCKS_PER_FRAME: u32 = 64;

impl FrozenSegment {
    /// Opens frozen segment `index` and judges its header.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`], [`Error::Newer`].
    pub fn open(directory: &dyn Directory, index: u32) -> Result<Self, Error> {
        let name = SegmentName::new(index, SegmentNameKind::Frozen);
        let text = name.to_string();
        let place = FrozenPlace { path: directory.path().to_path_buf(), name };
        let file = place.open(directory)?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        // The header's own frame needs no decoder, whose buffers are large: many are opened for their header alone.
        let after = read_small_frame(&*file, &mut bytes).map_err(|error| place.decode_error(error, 0))?;
        let mut reader = FrozenReader::new(file);
        if let Some(after) = after {
            reader.enter_frame(after);
        } else if reader.read_up_to(&mut bytes).map_err(|error| place.decode_error(error, 0))? < bytes.len() {
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
        let header_framed = after.is_some();
        Ok(Self { name, directory: place.path, reader, header, seal, blocks_given: 0, header_framed, frames: None })
    }

    /// Opens a frozen segment whose header cannot be read, by the sizes of its frames; its header and seal then hold nothing but
    /// the number of blocks. `None` for a file whose frames cannot be told.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open_without_header(directory: &dyn Directory, index: u32) -> Result<Option<Self>, Error> {
        let name = SegmentName::new(index, SegmentNameKind::Frozen);
        let place = FrozenPlace { path: directory.path().to_path_buf(), name };
        let mut reader = FrozenReader::new(place.open(directory)?);
        let found = frames_of(&reader, None).map_err(|error| place.decode_error(error, 0))?;
        let (Some((first, _)), block_count) = (found.places.first().copied(), found.blocks) else { return Ok(None) };
        reader.enter_frame(first);
        let seal = Seal {
            block_count,
            event_count: 0,
            first_event_id: 0,
            last_event_id: 0,
            closed_ts_ns: 0,
            last_chained_checksum: 0,
        };
        let header = SegmentHeader { segment_index: index, created_ts_ns: 0, seal: Some(seal) };
        let frames = Some(Arc::new(found));
        let header_framed = false;
        Ok(Some(Self { name, directory: place.path, reader, header, seal, blocks_given: 0, header_framed, frames }))
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

    /// Whether reading may take one frame after another. Else it must go through the bytes behind the header, to see what is wrong there.
    #[must_use]
    pub fn is_framed(&self) -> bool {
        self.header_framed
    }

    /// The frames of blocks, as far as the file has the form that walrec writes; none for a file of one frame. Nothing is decoded.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn frames(&mut self) -> Result<Arc<Frames>, Error> {
        if let Some(frames) = &self.frames {
            return Ok(Arc::clone(frames));
        }
        let place = FrozenPlace { path: self.directory.clone(), name: self.name };
        let found = frames_of(&self.reader, Some(self.seal.block_count));
        let found = Arc::new(found.map_err(|error| place.decode_error(error, 0))?);
        self.frames = Some(Arc::clone(&found));
        Ok(found)
    }

    /// Frames that can be entered: frame n begins with block n * 64.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn frame_count(&mut self) -> Result<u32, Error> {
        Ok(u32::try_from(self.frames()?.places.len()).unwrap_or(0))
    }

    /// Goes to the first block of `frame`, forwards or back; gives that block's index. `None`: no such frame.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn enter_frame(&mut self, frame: u32) -> Result<Option<u32>, Error> {
        let frames = self.frames()?;
        let Some((offset, _)) = frames.places.get(frame as usize) else { return Ok(None) };
        self.reader.enter_frame(*offset);
        self.blocks_given = frame * BLOCKS_PER_FRAME;
        Ok(Some(self.blocks_given))
    }

    /// Goes to what follows the frames of blocks, where that begins.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn enter_rest(&mut self) -> Result<(), Error> {
        let frames = self.frames()?;
        if let Some((_, last)) = frames.places.last() {
            self.reader.enter_frame(last.end);
            self.blocks_given = frames.blocks;
        }
        Ok(())
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

/// The frames of blocks of one file: 64 blocks each, the last fewer.
#[derive(Debug)]
pub struct Frames {
    file: Option<Arc<dyn File>>,
    file_bytes: u64,
    /// Each with its offset.
    places: Vec<(u64, SizedFrame)>,
    blocks: u32,
}

impl Frames {
    /// Blocks in all of them.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Whether the file ends with the last of them.
    #[must_use]
    pub fn end_the_file(&self) -> bool {
        self.places.last().is_some_and(|(_, last)| last.end == self.file_bytes)
    }

    /// Decodes `frame` into `content`, which has the length of its blocks; `packed` holds the file's bytes meanwhile. `false` when that
    /// frame is not just as walrec writes it: reading on from there, block by block, says why.
    ///
    /// # Errors
    /// The file's.
    pub fn decode(&self, frame: u32, packed: &mut Vec<u8>, content: &mut [u8]) -> io::Result<bool> {
        match (&self.file, self.places.get(frame as usize)) {
            (Some(file), Some(&(offset, sized))) => read_frame(&**file, offset, sized, packed, content),
            _ => Ok(false),
        }
    }
}

/// Where the frames of blocks begin, as far as the file has the form that walrec writes. Without a block count the first shorter
/// frame is the last.
fn frames_of(reader: &FrozenReader, block_count: Option<u32>) -> io::Result<Frames> {
    let mut found = Frames { file: reader.file().cloned(), file_bytes: 0, places: Vec::new(), blocks: 0 };
    let Some(file) = reader.file() else { return Ok(found) };
    found.file_bytes = file.attributes()?.bytes;
    let Some(header) = sized_frame(&**file, found.file_bytes, 0)? else { return Ok(found) };
    if header.content_bytes != SEGMENT_HEADER_BYTES as u64 {
        return Ok(found);
    }
    let mut offset = header.end;
    let most = block_count.unwrap_or(crate::format::MAX_BLOCKS_READ);
    while found.blocks < most {
        let Some(frame) = sized_frame(&**file, found.file_bytes, offset)? else { break };
        let blocks = u32::try_from(frame.content_bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
        let whole = frame.content_bytes.is_multiple_of(BLOCK_BYTES as u64);
        let expected = BLOCKS_PER_FRAME.min(most - found.blocks);
        if !whole || blocks == 0 || blocks > expected || (block_count.is_some() && blocks != expected) {
            break;
        }
        found.places.push((offset, frame));
        found.blocks += blocks;
        offset = frame.end;
        if blocks < BLOCKS_PER_FRAME {
            break;
        }
    }
    Ok(found)
}

struct FrozenPlace {
    path: std::path::PathBuf,
    name: SegmentName,
}

impl FrozenPlace {
    fn open(&self, directory: &dyn Directory) -> Result<Box<dyn File>, Error> {
        let text = self.name.to_string();
        match directory.open_file(&text, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Err(self.corrupt(None, 0, Reason::FileKind, "").into())
            }
            other => Ok(other.at("open", directory.path(), &text)?),
        }
    }

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
