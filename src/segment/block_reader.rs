//! Reads a segment's file block by block, through one buffer of a fixed size.

use std::io;

use crate::format::{BLOCK_BYTES, Geometry};
use crate::storage::{File, zeroed_bytes};

/// Blocks read at once: 257 KiB, which stay in the processor's second cache.
const READ_BLOCKS: u32 = 16;

/// Gives the blocks of an open file; memory: 257 KiB.
#[derive(Debug)]
pub struct BlockReader<'file> {
    file: &'file dyn File,
    geometry: Geometry,
    buffer: Vec<u8>,
    first: u32,
    held: u32,
}

impl<'file> BlockReader<'file> {
    /// Reads `file`, a segment of `geometry`.
    #[must_use]
    pub fn new(file: &'file dyn File, geometry: Geometry) -> Self {
        Self { file, geometry, buffer: Vec::new(), first: 0, held: 0 }
    }

    /// A block's bytes.
    ///
    /// # Errors
    /// The file's; `UnexpectedEof` when it ends before the block does.
    ///
    /// # Panics
    /// When the segment has no such block.
    pub fn block(&mut self, index: u32) -> io::Result<&[u8; BLOCK_BYTES]> {
        self.blocks_from(index)?.first().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// A block and those behind it that are held; none when the file ends before the block does.
    ///
    /// # Errors
    /// As [`Self::block`].
    ///
    /// # Panics
    /// As [`Self::block`].
    pub fn blocks_from(&mut self, index: u32) -> io::Result<&[[u8; BLOCK_BYTES]]> {
        assert!(index < self.geometry.num_blocks(), "no such block");
        if index < self.first || index >= self.first + self.held {
            self.fill(index)?;
        }
        let place = (index - self.first) as usize;
        let blocks = self.buffer.as_chunks::<BLOCK_BYTES>().0;
        Ok(blocks.get(place..).unwrap_or_default())
    }

    fn fill(&mut self, first: u32) -> io::Result<()> {
        let blocks = READ_BLOCKS.min(self.geometry.num_blocks() - first);
        self.held = 0;
        let bytes = blocks as usize * BLOCK_BYTES;
        if self.buffer.capacity() < bytes {
            self.buffer = zeroed_bytes(bytes)?;
        }
        self.buffer.resize(bytes, 0);
        let read = self.file.read_up_to(&mut self.buffer, Geometry::block_offset(first) as u64)?;
        if read < BLOCK_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.truncate(read - read % BLOCK_BYTES);
        self.first = first;
        self.held = u32::try_from(read / BLOCK_BYTES).unwrap_or(blocks);
        Ok(())
    }
}
