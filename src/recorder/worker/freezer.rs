//! Freezer: makes the `.wal.lz4` of one closed segment, and nothing of it is believed before it was read again.
//!
//! Crash story: frames go to `.lz4.tmp`, are decoded and compared with the `.wal`, synced, renamed without replacing, the directory
//! synced. Cut short anywhere before the rename, the next open removes a leftover; after it both forms are there, and the `.wal`
//! counts. The `.wal` is retired by the caller, after this returned: not before the directory's sync did.
//!
//! The buffers are made once: giving memory back while the engine appends would interrupt its core.
//!
//! Serves `docs/FORMAT.md`, "Frozen segment".

use std::io;

use crate::format::{BLOCK_BYTES, Geometry, SEGMENT_HEADER_BYTES, SegmentName, SegmentNameKind};
use crate::segment::{self, HotSegment, SealedWalk};
use crate::storage::{self, Access, Directory, File, FrameEncoder, FrozenReader, MEMORY, Place, zeroed_bytes};

/// Blocks of one frame.
const FRAME_BLOCKS: u32 = 64;
const FRAME_BYTES: usize = FRAME_BLOCKS as usize * BLOCK_BYTES;

/// Why a segment was not frozen. Its `.wal` is as it was.
#[derive(Debug)]
pub(super) enum FreezeError {
    /// It cannot be read, or does not hold what it should: it must stay as it is.
    Unfit(String),
    /// The system failed.
    Io(storage::Error),
}

impl From<storage::Error> for FreezeError {
    fn from(error: storage::Error) -> Self {
        Self::Io(error)
    }
}

/// What was made of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrozenBytes {
    /// Bytes of its header and blocks.
    pub(super) content: u64,
    /// Bytes of the file that holds them now.
    pub(super) compressed: u64,
}

#[derive(Debug)]
pub(super) struct Freezer {
    encoder: FrameEncoder,
    content: Vec<u8>,
    decoded: Vec<u8>,
    /// Used again for all files.
    decoder: Option<FrozenReader>,
}

impl Freezer {
    /// # Errors
    /// No memory.
    pub(super) fn new() -> io::Result<Self> {
        let encoder = FrameEncoder::new(FRAME_BYTES)?;
        let (content, decoded) = (zeroed_bytes(FRAME_BYTES)?, zeroed_bytes(FRAME_BYTES)?);
        Ok(Self { encoder, content, decoded, decoder: Some(FrozenReader::in_advance()?) })
    }

    /// Makes segment `index`'s `.wal.lz4`, durable. One that is there already, beside its `.wal`, is made anew.
    pub(super) fn freeze(&mut self, directory: &dyn Directory, index: u32) -> Result<FrozenBytes, FreezeError> {
        let path = directory.path();
        let segment = HotSegment::open(directory, index).map_err(|error| match error {
            // The segment is not at fault.
            segment::Error::Io(error) if error.is_out_of_descriptors() => FreezeError::Io(error),
            error => FreezeError::Unfit(error.to_string()),
        })?;
        let temp = SegmentName::new(index, SegmentNameKind::Freezing).to_string();
        remove_if_there(directory, &temp)?;
        let file = directory.create_file(&temp, Access::Write).at("create", path, &temp)?;
        let made = self
            .write(&segment, &*file, directory, &temp)
            .and_then(|bytes| self.compare(&segment, directory, &temp).map(|()| bytes));
        let bytes = match made {
            Ok(bytes) => bytes,
            Err(error) => {
                drop(file);
                // Gives the space back; failing that, the next try removes it, or the next open.
                let _ = directory.remove_file(&temp);
                return Err(error);
            }
        };
        file.sync_data().at("sync", path, &temp)?;
        let frozen = SegmentName::new(index, SegmentNameKind::Frozen).to_string();
        // Left by a recorder that ended before it retired the `.wal`, which was verified just now.
        remove_if_there(directory, &frozen)?;
        directory.rename_new(&temp, &frozen).at("rename", path, &temp)?;
        directory.sync().at("sync directory", path, "")?;
        file.drop_cache(0..u64::MAX);
        segment.file.drop_cache(0..u64::MAX);
        Ok(bytes)
    }

    /// Verifies the segment, block by block, and writes its frames.
    fn write(
        &mut self,
        segment: &HotSegment,
        file: &dyn File,
        directory: &dyn Directory,
        temp: &str,
    ) -> Result<FrozenBytes, FreezeError> {
        let unfit = |block: u32, reason| {
            let offset = Geometry::block_offset(block) as u64;
            FreezeError::Unfit(segment.corruption(directory, Some(block), offset, reason).to_string())
        };
        let mut walk = SealedWalk::new(&segment.header)
            .ok_or_else(|| FreezeError::Unfit(format!("{}: it is not sealed", segment.name)))?;
        let mut bytes = FrozenBytes::default();
        for part in Parts::of(walk.block_count()) {
            let content = read_part(segment, &mut self.content, part)?;
            if part.begin > 0 {
                for block in content.as_chunks::<BLOCK_BYTES>().0 {
                    give_way();
                    let number = walk.next_block();
                    walk.pass(block).map_err(|reason| unfit(number, reason))?;
                }
            }
            give_way();
            let frame = self.encoder.encode(content).at("compress", directory.path(), temp)?;
            give_way();
            file.write_all_at(frame, bytes.compressed).at("write", directory.path(), temp)?;
            bytes.content += content.len() as u64;
            bytes.compressed += frame.len() as u64;
        }
        walk.finish().map(|()| bytes).map_err(|reason| unfit(walk.next_block(), reason))
    }

    /// Decodes what was written, and reads the segment again beside it.
    fn compare(&mut self, segment: &HotSegment, directory: &dyn Directory, temp: &str) -> Result<(), FreezeError> {
        let file = directory.open_file(temp, Access::Read).at("open", directory.path(), temp)?;
        let mut decoder = match self.decoder.take().filter(FrozenReader::is_between_frames) {
            Some(decoder) => decoder,
            None => FrozenReader::in_advance().at(MEMORY, directory.path(), temp)?,
        };
        decoder.restart(file);
        let differs = |what: &str| FreezeError::Unfit(format!("{}: after compression {what}", segment.name));
        let unread = |error: io::Error| FreezeError::Unfit(format!("{temp}: read: {error}"));
        let Some(seal) = segment.header.seal else { return Err(differs("it is not sealed")) };
        for part in Parts::of(seal.block_count) {
            let content = read_part(segment, &mut self.content, part)?;
            let decoded = &mut self.decoded[..part.bytes];
            give_way();
            let read = decoder.read_up_to(decoded).map_err(unread)?;
            give_way();
            if read != part.bytes || decoded != content {
                return Err(differs("it decodes to other bytes"));
            }
        }
        let rest = decoder.read_up_to(&mut self.decoded[..1]).map_err(unread)?;
        if rest > 0 {
            return Err(differs("it decodes to more bytes"));
        }
        // An open descriptor would keep a deleted file's space.
        decoder.release();
        self.decoder = Some(decoder);
        Ok(())
    }
}

/// Lets the flusher have a CPU that both share: by itself it would wait for the end of the freezer's slice.
fn give_way() {
    std::thread::yield_now();
}

/// What one frame holds: the segment header, or up to 64 blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    begin: usize,
    bytes: usize,
}

struct Parts {
    next: Option<u32>,
    blocks: u32,
}

impl Parts {
    fn of(blocks: u32) -> Self {
        Self { next: None, blocks }
    }
}

impl Iterator for Parts {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let Some(first) = self.next else {
            self.next = Some(0);
            return Some(Part { begin: 0, bytes: SEGMENT_HEADER_BYTES });
        };
        let last = first.saturating_add(FRAME_BLOCKS).min(self.blocks);
        self.next = Some(last);
        let begin = Geometry::block_offset(first);
        (first < last).then(|| Part { begin, bytes: Geometry::block_offset(last) - begin })
    }
}

/// Reads a part of the segment into the front of `buffer`.
fn read_part<'a>(segment: &HotSegment, buffer: &'a mut [u8], part: Part) -> Result<&'a [u8], FreezeError> {
    let content = &mut buffer[..part.bytes];
    let read = segment.file.read_up_to(content, part.begin as u64);
    match read {
        Ok(read) if read == part.bytes => Ok(content),
        Ok(_) => Err(FreezeError::Unfit(format!("{}: the file ends inside its last block", segment.name))),
        Err(error) => Err(FreezeError::Unfit(format!("{}: read: {error}", segment.name))),
    }
}

fn remove_if_there(directory: &dyn Directory, name: &str) -> Result<(), storage::Error> {
    match directory.remove_file(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", directory.path(), name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_and_then_64_blocks_each() {
        let parts = |blocks| Parts::of(blocks).map(|part| part.bytes).collect::<Vec<_>>();
        assert_eq!(parts(0), [64]);
        assert_eq!(parts(1), [64, BLOCK_BYTES]);
        assert_eq!(parts(64), [64, FRAME_BYTES]);
        assert_eq!(parts(130), [64, FRAME_BYTES, FRAME_BYTES, 2 * BLOCK_BYTES]);
        assert_eq!(Parts::of(65).last(), Some(Part { begin: 64 + FRAME_BYTES, bytes: BLOCK_BYTES }));
    }
}
