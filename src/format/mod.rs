//! The bytes of a walrec log: pure functions and plain types, no I/O.
//!
//! Owns every structure of `docs/FORMAT.md`, its checksums and its file names. Called by every layer above; calls
//! nothing. Invariants:
//! 1. Sizes and offsets are asserted at compile time; all integers are little-endian.
//! 2. Nothing here panics on any input: decoding bytes gives a value or a [`Reason`].
//! 3. A structure read from bytes is trusted only after the check named in its documentation.

mod block;
mod block_sums;
mod checksum;
mod event;
mod file_name;
mod full_blocks;
mod geometry;
mod guard;
mod id;
mod le;
mod meta;
mod reason;
mod segment_header;
mod verdict;

pub use block::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, EVENTS_PER_BLOCK, FLAG_GUARDS, FLAG_LINK, FLAGS_KNOWN};
pub use checksum::{crc32c, xxh64};
pub use event::{EVENT_BYTES, Event};
pub use file_name::{
    ID_FILE, ID_TEMP_FILE, META_FILE, META_TEMP_FILE, QUARANTINE_DIRECTORY, STAGE_DIRECTORY, STAGE_FILE,
    STAGE_TEMP_FILE, SegmentName, SegmentNameKind, lost_marker_name, parse_lost_marker,
};
pub use full_blocks::{FullBlocks, full_blocks};
pub use geometry::{Geometry, MAX_BLOCKS_READ, MAX_BLOCKS_WRITTEN, MIN_BLOCKS, PAGE_BYTES, padded_to_page};
pub use guard::GuardContext;
pub use id::Id128;
pub(crate) use le::{array_at, u16_at, u32_at, u64_at};
pub use meta::{META_BYTES, MetaPosition};
pub use reason::Reason;
pub use segment_header::{SEGMENT_HEADER_BYTES, SEGMENT_MAGIC, SEGMENT_VERSION, Seal, SegmentHeader};
pub use verdict::{
    BlockContext, BlockState, BlockVerdict, HeaderVerdict, is_zero, judge_block, judge_header, judge_unchained_block,
};
