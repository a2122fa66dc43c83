//! The walk over a sealed segment's blocks: whether it holds exactly what its header says, and which of its two forms does.

use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockContext, BlockState, FLAG_LINK, GuardContext, Reason, Seal, SegmentHeader,
    judge_block, u64_at,
};
use crate::storage::{Directory, Place};

use super::block_reader::BlockReader;
use super::error::Error;
use super::frozen_segment::FrozenSegment;
use super::hot_segment::HotSegment;

/// Takes one block after another, and then compares the sums with the seal.
#[derive(Debug)]
pub struct SealedWalk {
    seal: Seal,
    guards: GuardContext,
    block: u32,
    events: u32,
    first_event_id: u64,
    last_event_id: u64,
    chain: u64,
    link: Option<u64>,
}

impl SealedWalk {
    /// Of a segment with this header; `None` when it is not sealed.
    #[must_use]
    pub fn new(header: &SegmentHeader) -> Option<Self> {
        let guards = header.guards();
        let seal = header.seal?;
        Some(Self { seal, guards, block: 0, events: 0, first_event_id: 0, last_event_id: 0, chain: 0, link: None })
    }

    /// Blocks that the seal tells of.
    #[must_use]
    pub fn block_count(&self) -> u32 {
        self.seal.block_count
    }

    /// The block that comes next.
    #[must_use]
    pub fn next_block(&self) -> u32 {
        self.block
    }

    /// Judges the next block.
    ///
    /// # Errors
    /// Why it is not valid in its place.
    pub fn pass(&mut self, bytes: &[u8; BLOCK_BYTES]) -> Result<(), Reason> {
        let context = BlockContext {
            block_index: self.block,
            previous_last_id: self.last_event_id,
            previous_chain: self.chain,
            guards: self.guards,
        };
        let verdict = judge_block(bytes, &context);
        let header = match verdict.state {
            BlockState::Finalized(header) if verdict.accepted == u32::from(header.event_count) => header,
            // Guards prove more events than the header tells of.
            BlockState::Finalized(_) => return Err(Reason::EventCount),
            BlockState::Torn(reason) => return Err(reason),
            BlockState::Empty | BlockState::Open => return Err(Reason::Hole),
            BlockState::Newer => return Err(Reason::Version),
        };
        if self.block == 0 {
            self.first_event_id = u64_at(bytes, BLOCK_HEADER_BYTES);
            self.link = (header.flags & FLAG_LINK != 0).then_some(header.link);
        }
        self.block += 1;
        self.events += verdict.accepted;
        self.last_event_id = header.last_event_id;
        self.chain = header.chained_checksum;
        Ok(())
    }

    /// Compares what was passed with the seal.
    ///
    /// # Errors
    /// [`Reason::SealedCounts`].
    pub fn finish(&self) -> Result<(), Reason> {
        let found = (self.block, self.events, self.first_event_id, self.last_event_id, self.chain);
        let seal = &self.seal;
        let told =
            (seal.block_count, seal.event_count, seal.first_event_id, seal.last_event_id, seal.last_chained_checksum);
        if found == told { Ok(()) } else { Err(Reason::SealedCounts) }
    }
}

/// Reads a `.wal` that must be sealed, wholly; gives the chain value of the segment before, if its first block tells it.
///
/// # Errors
/// [`Error`]: what does not hold.
pub fn verify_sealed(directory: &dyn Directory, segment: &HotSegment) -> Result<Option<u64>, Error> {
    let name = segment.name.to_string();
    let corrupt = |block: u32, reason| {
        let offset = crate::format::Geometry::block_offset(block) as u64;
        Error::from(segment.corruption(directory, Some(block), offset, reason))
    };
    let mut walk = SealedWalk::new(&segment.header).ok_or_else(|| corrupt(0, Reason::SealedCounts))?;
    let mut blocks = BlockReader::new(&*segment.file, segment.geometry);
    while walk.next_block() < walk.block_count() {
        let number = walk.next_block();
        let block = blocks.block(number).at("read", directory.path(), &name)?;
        walk.pass(block).map_err(|reason| corrupt(number, reason))?;
    }
    walk.finish().map_err(|reason| corrupt(walk.next_block(), reason))?;
    Ok(walk.link)
}

/// Decodes a `.wal.lz4` that was just opened, wholly; gives what [`verify_sealed`] does.
///
/// # Errors
/// [`Error`]: what does not hold.
pub fn verify_opened(segment: &mut FrozenSegment) -> Result<Option<u64>, Error> {
    let header = *segment.header();
    let mut walk = SealedWalk::new(&header).ok_or_else(|| segment.corruption(0, Reason::SealedCounts))?;
    let mut block = Box::new([0; BLOCK_BYTES]);
    while segment.next_block(&mut block)? {
        let number = walk.next_block();
        walk.pass(&block).map_err(|reason| segment.corruption(number, reason))?;
    }
    walk.finish().map_err(|reason| segment.corruption(walk.next_block(), reason))?;
    Ok(walk.link)
}

/// Decodes a `.wal.lz4`, wholly.
///
/// # Errors
/// [`Error`]: what does not hold.
pub fn verify_frozen(directory: &dyn Directory, index: u32) -> Result<(), Error> {
    verify_opened(&mut FrozenSegment::open(directory, index)?).map(drop)
}

/// Which form of a segment counts where both are there, and what is wrong with one that does not.
#[derive(Debug)]
pub enum Counting {
    /// The `.wal`: it verifies whole.
    Hot,
    /// The `.wal.lz4`: the `.wal` does not verify, and this one does.
    Frozen {
        /// What is wrong with the `.wal`.
        hot: Error,
    },
    /// Neither verifies.
    Neither {
        /// What is wrong with the `.wal`.
        hot: Error,
        /// What is wrong with the `.wal.lz4`.
        frozen: Error,
    },
}

/// Finds out which form of a segment counts. That costs reading it, but only where a recorder ended, or stands, between freezing and
/// retiring. Errors of the system are given as what is wrong with a form: callers differ in what they do about them.
#[must_use]
pub fn counting_form(directory: &dyn Directory, index: u32) -> Counting {
    let verified = HotSegment::open(directory, index).and_then(|segment| verify_sealed(directory, &segment));
    let Err(hot) = verified else { return Counting::Hot };
    match verify_frozen(directory, index) {
        Ok(()) => Counting::Frozen { hot },
        Err(frozen) => Counting::Neither { hot, frozen },
    }
}
