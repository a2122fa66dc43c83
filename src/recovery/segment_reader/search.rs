//! The way to an event inside a segment, without reading what lies before it.
//!
//! Binary search over the blocks of a `.wal` by 128 bytes of each, over the frames of a frozen segment by each one's first block. A
//! block that does not look right counts as lying above every event: so the search ends below it, and reading on from
//! there meets it and says what is wrong. What the search finds is never trusted: reading judges it again.
//!
//! Where reading begins inside a segment, the chain value before its first block comes from the header before it, when that holds
//! (`.wal`), or is not known (frozen): then that one block is judged by its other rules.

use super::{Error, SegmentReader, Source};
use crate::format::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, EVENT_BYTES, Event, Geometry, array_at};
use crate::segment::{FrozenSegment, HotSegment};
use crate::storage::{Directory, Place};

/// What is looked for: the first event at or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::recovery) enum Target {
    Id(u64),
    Time(u64),
}

impl Target {
    /// Whether the log may be read from this event on without missing the target.
    pub(in crate::recovery) fn may_begin_with(self, event: &Event) -> bool {
        match self {
            Self::Id(event_id) => event.event_id <= event_id,
            // Equal timestamps may stand before this event too.
            Self::Time(timestamp_ns) => event.timestamp_ns < timestamp_ns,
        }
    }

    /// Whether this event is at or after the target.
    pub(in crate::recovery) fn is_reached_by(self, event: &Event) -> bool {
        match self {
            Self::Id(event_id) => event.event_id >= event_id,
            Self::Time(timestamp_ns) => event.timestamp_ns >= timestamp_ns,
        }
    }
}

impl SegmentReader {
    /// Goes from the segment's first block to one that begins at or before the target. Only on a fresh reader.
    pub(in crate::recovery) fn go_near(&mut self, target: Target) -> Result<(), Error> {
        match &mut self.source {
            Source::Hot(segment) => {
                let blocks = segment.header.seal.map_or(segment.geometry.num_blocks(), |seal| seal.block_count);
                let above = partition(blocks, |block| {
                    Ok(head_of_hot(&*self.directory, segment, block)?
                        .is_some_and(|(_, first)| target.may_begin_with(&first)))
                })?;
                if above < 2 {
                    return Ok(());
                }
                let before = head_of_hot(&*self.directory, segment, above - 2)?;
                self.block = above - 1;
                self.chain = before.map(|(header, _)| header.chained_checksum);
                self.last_event_id = before.map_or(0, |(header, _)| header.last_event_id);
            }
            Source::Frozen(segment) => {
                let frames = segment.frame_count()?;
                if frames < 2 {
                    return Ok(());
                }
                let above = partition(frames, |frame| {
                    Ok(head_of_frame(segment, frame)?.is_some_and(|(_, first)| target.may_begin_with(&first)))
                })?;
                let Some(block) = segment.enter_frame(above.saturating_sub(1))? else { return Ok(()) };
                if block == 0 {
                    return Ok(());
                }
                self.block = block;
                self.chain = None;
                self.last_event_id = 0;
            }
        }
        self.from_start = false;
        self.last_given_id = self.last_event_id;
        Ok(())
    }

    /// Whether reading for the target may begin with this segment; `None` when it has no event.
    pub(in crate::recovery) fn may_begin(&mut self, target: Target) -> Result<Option<bool>, Error> {
        match target {
            Target::Id(event_id) => Ok(self.first_event_id()?.map(|first| first <= event_id)),
            Target::Time(_) => Ok(self.first_event()?.map(|first| target.may_begin_with(&first))),
        }
    }

    /// The segment's first event that can be accepted now; leaves a frozen segment after its first block.
    pub(in crate::recovery) fn first_event(&mut self) -> Result<Option<Event>, Error> {
        if let Source::Frozen(segment) = &mut self.source {
            let mut block = [0; BLOCK_BYTES];
            if !segment.next_block(&mut block)? {
                return Ok(None);
            }
            return match head_in(&block[..BLOCK_HEADER_BYTES + EVENT_BYTES], 0) {
                Some((_, first)) => Ok(Some(first)),
                None => Err(self.corrupt(crate::format::Reason::BlockHeaderChecksum, String::new())),
            };
        }
        if self.seal().is_some_and(|seal| seal.block_count == 0) {
            return Ok(None);
        }
        if let Source::Hot(segment) = &self.source
            && let Some((_, first)) = head_of_hot(&*self.directory, segment, 0)?
        {
            return Ok(Some(first));
        }
        if self.is_sealed() {
            return Err(self.corrupt(crate::format::Reason::BlockHeaderChecksum, String::new()));
        }
        let accepted = self.first_event_id()?;
        let block = self.hot_block(0)?;
        let first = Event::from_bytes(&array_at(&*block, BLOCK_HEADER_BYTES));
        Ok(accepted.map(|_| first))
    }
}

/// The number of places below the first one that does not hold; stops at the first error.
fn partition(places: u32, mut holds: impl FnMut(u32) -> Result<bool, Error>) -> Result<u32, Error> {
    let (mut low, mut high) = (0, places);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// A finalized block's header and first event, as they look in its first 128 bytes.
fn head_in(bytes: &[u8], index: u32) -> Option<(BlockHeader, Event)> {
    let header = BlockHeader::from_bytes(&array_at(bytes, 0))?;
    let first = Event::from_bytes(&array_at(bytes, BLOCK_HEADER_BYTES));
    (header.block_index == index && header.first_event_id == first.event_id).then_some((header, first))
}

fn head_of_hot(
    directory: &dyn Directory,
    segment: &HotSegment,
    index: u32,
) -> Result<Option<(BlockHeader, Event)>, Error> {
    let mut bytes = [0; BLOCK_HEADER_BYTES + EVENT_BYTES];
    let read = segment.file.read_up_to(&mut bytes, Geometry::block_offset(index) as u64);
    let read = read.at("read", directory.path(), &segment.name.to_string())?;
    Ok(if read == bytes.len() { head_in(&bytes, index) } else { None })
}

/// What does not decode gives `None`: reading meets it again.
fn head_of_frame(segment: &mut FrozenSegment, frame: u32) -> Result<Option<(BlockHeader, Event)>, Error> {
    let Some(index) = segment.enter_frame(frame)? else { return Ok(None) };
    let mut block = [0; BLOCK_BYTES];
    match segment.next_block(&mut block) {
        Ok(more) => Ok(if more { head_in(&block, index) } else { None }),
        Err(crate::segment::Error::Io(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}
