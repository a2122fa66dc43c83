//! One log on disk, as both sides see it: which segments there are, and what the blocks of one are worth.
//!
//! Everything here only reads. The recorder's opening and the reader both stand on it, so that they agree on every byte.

mod block_reader;
mod catalog;
mod error;
mod frozen_segment;
mod hot_segment;
mod log_files;
mod pieces;
mod scan;
mod sealed;

pub use block_reader::BlockReader;
pub use catalog::Catalog;
pub use error::{Corruption, Error};
pub use frozen_segment::{BLOCKS_PER_FRAME, Frames, FrozenSegment};
pub use hot_segment::{HotSegment, SegmentState};
pub use log_files::{Identity, read_identity, read_meta};
pub use pieces::{Piece, Pieces};
pub use scan::{EndBlock, MOST_UNSYNCED_BYTES, SegmentScan, scan_segment};
pub use sealed::{Counting, SealedWalk, counting_form, verify_frozen, verify_opened, verify_sealed};
