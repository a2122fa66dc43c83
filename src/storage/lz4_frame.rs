//! Writing of LZ4 frames (`docs/FORMAT.md`, "Frozen segment").
//!
//! A frame is put together here around `lz4_flex`'s block compression: its own frame encoder takes its content size once for all
//! frames and its buffers anew for each encoder, and giving such buffers back would interrupt the append thread's core. One block a
//! frame, independent, content size and content checksum present.

use std::io;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use xxhash_rust::xxh32::xxh32;

use super::mapping::zeroed_bytes;

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// Version 1, independent blocks, content size, content checksum.
pub(super) const FLAGS: u8 = 0b0110_1100;
/// Blocks of at most 4 MiB.
const BLOCK_DESCRIPTOR: u8 = 0b0111_0000;
/// Most content of one frame: one block.
pub(super) const MOST_CONTENT: usize = 4 << 20;
/// Magic, flags, block descriptor, content size, header checksum, block size.
const BEFORE_BLOCK: usize = 4 + 2 + 8 + 1 + 4;
/// End mark and content checksum.
const AFTER_BLOCK: usize = 4 + 4;
/// In a block's size: it is stored as it is.
const STORED: u32 = 1 << 31;

/// Makes frames, one at a time, in one buffer.
pub struct FrameEncoder {
    table: CompressTable,
    frame: Vec<u8>,
}

impl std::fmt::Debug for FrameEncoder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("FrameEncoder")
    }
}

impl FrameEncoder {
    /// For contents of at most `most_bytes`, which are not more than 4 MiB.
    ///
    /// # Panics
    /// When they are more.
    ///
    /// # Errors
    /// No memory.
    pub fn new(most_bytes: usize) -> io::Result<Self> {
        assert!(most_bytes <= MOST_CONTENT, "one block a frame");
        let room = BEFORE_BLOCK + get_maximum_output_size(most_bytes) + AFTER_BLOCK;
        // The table is made where no error can be told; it has 16 KiB.
        Ok(Self { table: CompressTable::large(), frame: zeroed_bytes(room)? })
    }

    /// The frame of `content`, which is not empty.
    ///
    /// # Errors
    /// `InvalidInput` for more content than was announced, or none.
    pub fn encode(&mut self, content: &[u8]) -> io::Result<&[u8]> {
        let fits = get_maximum_output_size(content.len()) + BEFORE_BLOCK + AFTER_BLOCK <= self.frame.len();
        let length = u32::try_from(content.len()).ok().filter(|&length| length > 0 && fits);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        let frame = &mut self.frame;
        frame[..4].copy_from_slice(&MAGIC);
        frame[4..6].copy_from_slice(&[FLAGS, BLOCK_DESCRIPTOR]);
        frame[6..14].copy_from_slice(&u64::from(length).to_le_bytes());
        frame[14] = xxh32(&frame[4..14], 0).to_le_bytes()[1];
        let packed = compress_into_with_table(content, &mut frame[BEFORE_BLOCK..], &mut self.table)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        let (bytes, size) = match u32::try_from(packed) {
            Ok(size) if size < length => (packed, size),
            _ => {
                frame[BEFORE_BLOCK..BEFORE_BLOCK + content.len()].copy_from_slice(content);
                (content.len(), length | STORED)
            }
        };
        frame[15..19].copy_from_slice(&size.to_le_bytes());
        let end = BEFORE_BLOCK + bytes;
        frame[end..end + 4].fill(0);
        frame[end + 4..end + 8].copy_from_slice(&xxh32(content, 0).to_le_bytes());
        Ok(&frame[..end + AFTER_BLOCK])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn decode(frame: &[u8]) -> Vec<u8> {
        // The C library, and lz4_flex's own decoder.
        let mut theirs = Vec::new();
        lz4::Decoder::new(frame).unwrap().read_to_end(&mut theirs).unwrap();
        let mut ours = Vec::new();
        lz4_flex::frame::FrameDecoder::new(frame).read_to_end(&mut ours).unwrap();
        assert_eq!(theirs, ours);
        theirs
    }

    #[test]
    fn others_decode_what_is_encoded() {
        let mut encoder = FrameEncoder::new(1 << 20).unwrap();
        let mut word = 1_u64;
        let mut random = || {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word.to_le_bytes()[7]
        };
        for length in [1, 2, 63, 64, 65, 16_448, 1 << 20] {
            let same = vec![7; length];
            let noise: Vec<u8> = (0..length).map(|_| random()).collect();
            for content in [same, noise] {
                assert_eq!(decode(encoder.encode(&content).unwrap()), content);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut encoder = FrameEncoder::new(64).unwrap();
        assert!(encoder.encode(&[]).is_err());
        assert!(encoder.encode(&[0; 65]).is_err() || decode(encoder.encode(&[0; 65]).unwrap()) == [0; 65]);
        assert!(encoder.encode(&[0; 4096]).is_err());
    }
}
