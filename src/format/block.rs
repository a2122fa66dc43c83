//! A block: 64-byte header and 256 event slots (`docs/FORMAT.md`, "Block header").

use super::block_sums::sums_of;
use super::checksum::xxh64;
use super::event::EVENT_BYTES;
use super::le;

/// Event slots of a block.
pub const EVENTS_PER_BLOCK: u32 = 256;
/// Bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 64;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = BLOCK_HEADER_BYTES + EVENTS_PER_BLOCK as usize * EVENT_BYTES;
/// The block's events carry guards.
pub const FLAG_GUARDS: u16 = 1;
/// Bytes 48..56 hold the chain value of the segment before.
pub const FLAG_LINK: u16 = 2;
/// Any other bit belongs to a newer format.
pub const FLAGS_KNOWN: u16 = FLAG_GUARDS | FLAG_LINK;

const _: () = assert!(BLOCK_BYTES == 16_448);

/// The header of a finalized block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Id of the first event.
    pub first_event_id: u64,
    /// Id of the last event.
    pub last_event_id: u64,
    /// `XXH64(events, 0)`.
    pub block_checksum: u64,
    /// `XXH64(events, chained checksum of the block before)`.
    pub chained_checksum: u64,
    /// The block's place in its segment.
    pub block_index: u32,
    /// 1..=256.
    pub event_count: u16,
    /// [`FLAG_GUARDS`], [`FLAG_LINK`].
    pub flags: u16,
    /// With [`FLAG_LINK`]: the last chained checksum of the segment before.
    pub link: u64,
}

impl BlockHeader {
    /// The header that finalizes `events` (whole events, at least one) as block `block_index`.
    ///
    /// `link` is given for block 0 of a segment that has one before it.
    #[must_use]
    pub fn finalize(block_index: u32, events: &[u8], previous_chain: u64, flags: u16, link: Option<u64>) -> Self {
        debug_assert!(!events.is_empty() && events.len().is_multiple_of(EVENT_BYTES) && events.len() <= BLOCK_BYTES);
        let sums = sums_of(events, previous_chain);
        Self {
            first_event_id: le::u64_at(events, 0),
            last_event_id: le::u64_at(events, events.len() - EVENT_BYTES),
            block_checksum: sums.block,
            chained_checksum: sums.chained,
            block_index,
            event_count: u16::try_from(events.len() / EVENT_BYTES).unwrap_or(0),
            flags: flags | if link.is_some() { FLAG_LINK } else { 0 },
            link: link.unwrap_or(0),
        }
    }

    /// The header's bytes, checksum included.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        le::put(&mut bytes, 0, self.first_event_id.to_le_bytes());
        le::put(&mut bytes, 8, self.last_event_id.to_le_bytes());
        le::put(&mut bytes, 16, self.block_checksum.to_le_bytes());
        le::put(&mut bytes, 24, self.chained_checksum.to_le_bytes());
        le::put(&mut bytes, 40, self.block_index.to_le_bytes());
        le::put(&mut bytes, 44, self.event_count.to_le_bytes());
        le::put(&mut bytes, 46, self.flags.to_le_bytes());
        le::put(&mut bytes, 48, self.link.to_le_bytes());
        let checksum = Self::checksum_of(&bytes);
        le::put(&mut bytes, 32, checksum.to_le_bytes());
        bytes
    }

    /// The header, when its own checksum holds. Says nothing of the events.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; BLOCK_HEADER_BYTES]) -> Option<Self> {
        (le::u64_at(bytes, 32) == Self::checksum_of(bytes)).then(|| Self {
            first_event_id: le::u64_at(bytes, 0),
            last_event_id: le::u64_at(bytes, 8),
            block_checksum: le::u64_at(bytes, 16),
            chained_checksum: le::u64_at(bytes, 24),
            block_index: le::u32_at(bytes, 40),
            event_count: le::u16_at(bytes, 44),
            flags: le::u16_at(bytes, 46),
            link: le::u64_at(bytes, 48),
        })
    }

    /// `XXH64(bytes[40..64], seed = XXH64(bytes[0..32], 0))`: what bytes 32..40 of a header must be.
    #[must_use]
    pub fn checksum_of(bytes: &[u8; BLOCK_HEADER_BYTES]) -> u64 {
        xxh64(&bytes[40..], xxh64(&bytes[..32], 0))
    }
}
