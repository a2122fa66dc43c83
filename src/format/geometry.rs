//! Where things lie in a segment of a given number of blocks.

use super::block::{BLOCK_BYTES, BLOCK_HEADER_BYTES, EVENTS_PER_BLOCK};
use super::event::EVENT_BYTES;
use super::segment_header::SEGMENT_HEADER_BYTES;

/// The unit of writing and of mapping.
pub const PAGE_BYTES: usize = 4096;
/// Fewest blocks of a segment that is written.
pub const MIN_BLOCKS: u32 = 16;
/// Most blocks of a segment that is written: every byte offset fits 32 bits.
pub const MAX_BLOCKS_WRITTEN: u32 = 131_072;
/// Most blocks of a segment that is read.
pub const MAX_BLOCKS_READ: u32 = 524_288;

/// `bytes` rounded up to whole pages.
#[must_use]
pub const fn padded_to_page(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_BYTES) * PAGE_BYTES
}

/// The shape of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    num_blocks: u32,
}

impl Geometry {
    /// A segment of `num_blocks`; `None` outside 1..=[`MAX_BLOCKS_READ`].
    #[must_use]
    pub const fn new(num_blocks: u32) -> Option<Self> {
        if num_blocks == 0 || num_blocks > MAX_BLOCKS_READ { None } else { Some(Self { num_blocks }) }
    }

    /// The segment that fills a file of `file_bytes`: exact, padded to whole pages, or between the two, where a power cut may leave a
    /// file that was being extended.
    #[must_use]
    pub fn of_file(file_bytes: u64) -> Option<Self> {
        let file_bytes = usize::try_from(file_bytes).ok()?;
        let num_blocks = file_bytes.checked_sub(SEGMENT_HEADER_BYTES)? / BLOCK_BYTES;
        let geometry = Self::new(u32::try_from(num_blocks).ok()?)?;
        let exact = geometry.segment_bytes();
        (exact..=padded_to_page(exact)).contains(&file_bytes).then_some(geometry)
    }

    /// Blocks of the segment.
    #[must_use]
    pub const fn num_blocks(self) -> u32 {
        self.num_blocks
    }

    /// Event slots of the segment.
    #[must_use]
    pub const fn capacity(self) -> u32 {
        self.num_blocks * EVENTS_PER_BLOCK
    }

    /// Exact bytes of the segment.
    #[must_use]
    pub const fn segment_bytes(self) -> usize {
        Self::block_offset(self.num_blocks)
    }

    /// Bytes of the segment's file while it is open, and of its image in the stage.
    #[must_use]
    pub const fn padded_bytes(self) -> usize {
        padded_to_page(self.segment_bytes())
    }

    /// Byte offset of a block; of the end of the segment for `block == num_blocks`.
    #[must_use]
    pub const fn block_offset(block: u32) -> usize {
        SEGMENT_HEADER_BYTES + block as usize * BLOCK_BYTES
    }

    /// Byte offset of an event slot.
    #[must_use]
    pub const fn event_offset(slot: u32) -> usize {
        Self::block_offset(slot / EVENTS_PER_BLOCK)
            + BLOCK_HEADER_BYTES
            + (slot % EVENTS_PER_BLOCK) as usize * EVENT_BYTES
    }

    /// Byte offset after the last of `count` events; of the first block for none.
    #[must_use]
    pub const fn end_offset(count: u32) -> usize {
        if count == 0 { SEGMENT_HEADER_BYTES } else { Self::event_offset(count - 1) + EVENT_BYTES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_segment_is_the_documented_size() {
        let geometry = Geometry::new(512).unwrap();
        assert_eq!((geometry.segment_bytes(), geometry.capacity()), (8_421_440, 131_072));
    }

    #[test]
    fn sizes_from_exact_to_padded_are_read_and_no_others() {
        for num_blocks in [1, 16, 17, 512, MAX_BLOCKS_READ] {
            let geometry = Geometry::new(num_blocks).unwrap();
            for bytes in geometry.segment_bytes()..=geometry.padded_bytes() {
                assert_eq!(Geometry::of_file(bytes as u64), Some(geometry));
            }
            assert_eq!(Geometry::of_file(geometry.segment_bytes() as u64 - 1), None);
            assert_eq!(Geometry::of_file(geometry.padded_bytes() as u64 + 1), None);
        }
        assert_eq!(Geometry::of_file(0), None);
        assert_eq!(Geometry::of_file(64), None);
        assert_eq!(Geometry::of_file(u64::MAX), None);
    }

    #[test]
    fn nothing_straddles_a_sector() {
        for slot in 0..1_024 {
            let offset = Geometry::event_offset(slot);
            assert_eq!(offset / 512, (offset + EVENT_BYTES - 1) / 512);
        }
    }

    #[test]
    fn every_written_offset_fits_32_bits() {
        assert!(u32::try_from(Geometry::new(MAX_BLOCKS_WRITTEN).unwrap().padded_bytes()).is_ok());
    }
}
