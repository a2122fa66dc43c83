//! A segment in pieces that are read each by itself, in any order and by several threads: windows of a `.wal`, frames of a `.wal.lz4`.
//!
//! A piece is bytes; nothing of it is judged here. Memory: one piece and, of a frozen segment, its packed form, 1 MiB each.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::format::{BLOCK_BYTES, Geometry};
use crate::storage::File;

use super::frozen_segment::{BLOCKS_PER_FRAME, Frames};
use super::hot_segment::HotSegment;

/// Blocks of a `.wal` that are read at once: they stay in the processor's second cache until they are judged and given out.
const WINDOW_BLOCKS: u32 = 16;

/// The pieces of one segment.
#[derive(Clone, Debug)]
pub struct Pieces {
    source: Source,
    blocks: u32,
}

#[derive(Clone, Debug)]
enum Source {
    Hot(Arc<dyn File>),
    Frozen(Arc<Frames>),
}

/// A piece, once it was read. Its buffers are used again.
#[derive(Debug, Default)]
pub struct Piece {
    first: u32,
    held: usize,
    bytes: Vec<u8>,
    packed: Vec<u8>,
}

impl Piece {
    /// Its first block.
    #[must_use]
    pub fn first(&self) -> u32 {
        self.first
    }

    /// The block behind its last one.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.first + u32::try_from(self.held).unwrap_or(0)
    }

    /// Its blocks.
    #[must_use]
    pub fn blocks(&self) -> &[[u8; BLOCK_BYTES]] {
        &self.bytes.as_chunks().0[..self.held]
    }

    /// Its blocks from `index` on; none when it does not hold that one.
    #[must_use]
    pub fn blocks_from(&self, index: u32) -> &[[u8; BLOCK_BYTES]] {
        let place = index.checked_sub(self.first).map_or(usize::MAX, |place| place as usize);
        self.blocks().get(place..).unwrap_or_default()
    }

    /// Holds nothing any more.
    pub fn clear(&mut self) {
        self.held = 0;
    }

    /// Gives its blocks away for another buffer.
    pub fn exchange(&mut self, buffer: &mut Vec<u8>) {
        self.held = 0;
        std::mem::swap(&mut self.bytes, buffer);
    }
}

impl Pieces {
    /// Of a `.wal`, up to `blocks`.
    #[must_use]
    pub fn of_hot(segment: &HotSegment, blocks: u32) -> Self {
        Self { source: Source::Hot(Arc::clone(&segment.file)), blocks }
    }

    /// Of a `.wal.lz4`, as far as it has frames that can be read by themselves.
    #[must_use]
    pub fn of_frozen(frames: Arc<Frames>) -> Self {
        let blocks = frames.blocks();
        Self { source: Source::Frozen(frames), blocks }
    }

    /// The blocks of the piece to read for block `index`; `None` for a block that no piece has.
    #[must_use]
    pub fn piece_with(&self, index: u32) -> Option<Range<u32>> {
        let first = match self.source {
            // Reading may begin anywhere, and goes on from there.
            Source::Hot(_) => index,
            Source::Frozen(_) => index - index % BLOCKS_PER_FRAME,
        };
        let most = match self.source {
            Source::Hot(_) => WINDOW_BLOCKS,
            Source::Frozen(_) => BLOCKS_PER_FRAME,
        };
        (index < self.blocks).then(|| first..first.saturating_add(most).min(self.blocks))
    }

    /// Reads a piece; `false` for a frame that cannot be read by itself. What the file does not have is missing from the piece.
    ///
    /// # Errors
    /// The file's.
    pub fn read(&self, blocks: &Range<u32>, piece: &mut Piece) -> io::Result<bool> {
        let length = blocks.len() * BLOCK_BYTES;
        (piece.first, piece.held) = (blocks.start, 0);
        if piece.bytes.len() < length {
            piece.bytes.resize(length, 0);
        }
        let content = &mut piece.bytes[..length];
        let read = match &self.source {
            Source::Hot(file) => file.read_up_to(content, Geometry::block_offset(blocks.start) as u64)?,
            Source::Frozen(frames) => {
                if !frames.decode(blocks.start / BLOCKS_PER_FRAME, &mut piece.packed, content)? {
                    return Ok(false);
                }
                length
            }
        };
        piece.held = read / BLOCK_BYTES;
        Ok(true)
    }
}
