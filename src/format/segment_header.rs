//! The 64 bytes at the front of a segment (`docs/FORMAT.md`, "Segment header").

use super::checksum::xxh64;
use super::guard::GuardContext;
use super::le;

/// Bytes of a segment header.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// Bytes 53 46 in the file.
pub const SEGMENT_MAGIC: u16 = 0x4653;
/// The one format version this library reads and writes.
pub const SEGMENT_VERSION: u8 = 1;

/// What sealing adds to a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Finalized blocks.
    pub block_count: u32,
    /// Events in them.
    pub event_count: u32,
    /// 0 when empty.
    pub first_event_id: u64,
    /// 0 when empty.
    pub last_event_id: u64,
    /// Never 0.
    pub closed_ts_ns: u64,
    /// Chained checksum of the last block; 0 when empty.
    pub last_chained_checksum: u64,
}

/// A segment header whose checksum held, or one that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The number in the file's name.
    pub segment_index: u32,
    /// Creation time, never repeated within a log.
    pub created_ts_ns: u64,
    /// Present once the segment is sealed.
    pub seal: Option<Seal>,
}

impl SegmentHeader {
    /// What binds the guards of this segment's events.
    #[must_use]
    pub fn guards(&self) -> GuardContext {
        GuardContext { segment_index: self.segment_index, created_ts_ns: self.created_ts_ns }
    }

    /// The header's bytes, checksum included. Unsealed: all counts zero.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        le::put(&mut bytes, 0, SEGMENT_MAGIC.to_le_bytes());
        le::put(&mut bytes, 2, [SEGMENT_VERSION, 64]);
        le::put(&mut bytes, 4, self.segment_index.to_le_bytes());
        le::put(&mut bytes, 32, self.created_ts_ns.to_le_bytes());
        if let Some(seal) = &self.seal {
            le::put(&mut bytes, 8, seal.block_count.to_le_bytes());
            le::put(&mut bytes, 12, seal.event_count.to_le_bytes());
            le::put(&mut bytes, 16, seal.first_event_id.to_le_bytes());
            le::put(&mut bytes, 24, seal.last_event_id.to_le_bytes());
            le::put(&mut bytes, 40, seal.closed_ts_ns.to_le_bytes());
            le::put(&mut bytes, 56, seal.last_chained_checksum.to_le_bytes());
        }
        let checksum = checksum_of(&bytes);
        le::put(&mut bytes, 48, checksum.to_le_bytes());
        bytes
    }

    /// What bytes 48..56 of a header must be.
    #[must_use]
    pub fn checksum_of(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> u64 {
        checksum_of(bytes)
    }

    /// The fields as they stand, nothing judged: the caller knows why they may be trusted.
    pub(super) fn read_fields(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Self {
        let closed_ts_ns = le::u64_at(bytes, 40);
        Self {
            segment_index: le::u32_at(bytes, 4),
            created_ts_ns: le::u64_at(bytes, 32),
            seal: (closed_ts_ns != 0).then(|| Seal {
                block_count: le::u32_at(bytes, 8),
                event_count: le::u32_at(bytes, 12),
                first_event_id: le::u64_at(bytes, 16),
                last_event_id: le::u64_at(bytes, 24),
                closed_ts_ns,
                last_chained_checksum: le::u64_at(bytes, 56),
            }),
        }
    }
}

/// `XXH64(bytes[56..64], seed = XXH64(bytes[0..48], 0))`.
pub(super) fn checksum_of(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> u64 {
    xxh64(&bytes[56..], xxh64(&bytes[..48], 0))
}
