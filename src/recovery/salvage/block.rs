//! What a damaged block still gives: a pure function from its bytes to events and ranges.
//!
//! Invariants:
//! 1. An event is given only when a finalized block proves it in its place (header, checksum and chain, or where the chain before
//!    is lost, guards besides), or its own guard does. Ids strictly increase over all of it.
//! 2. Every byte that should hold something and proves nothing lies in a range.

use std::ops::{Range, RangeInclusive};

use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockContext, BlockHeader, BlockState, EVENT_BYTES, EVENTS_PER_BLOCK, Event,
    FLAG_GUARDS, FLAG_LINK, FLAGS_KNOWN, GuardContext, Reason, array_at, is_zero, judge_block, judge_unchained_block,
    u64_at, xxh64,
};

/// What surrounds the block.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) block_index: u32,
    /// Ids must exceed this one.
    pub(super) last_event_id: u64,
    /// Chain value before the block, where it is known.
    pub(super) chain: Option<u64>,
    /// `None` where the segment's header is lost.
    pub(super) guards: Option<GuardContext>,
    /// Whether the segment is known to be the one that its name says: then its chain proves a block.
    pub(super) in_place: bool,
    /// Chain value of the segment before, where it is known: a block 0 that links to it is in its place.
    pub(super) link: Option<u64>,
    /// Every block of the segment has a header.
    pub(super) sealed: bool,
    /// A seal says that nothing stands above the events that a sound block's header tells of.
    pub(super) sealed_counts: bool,
    /// What a sealed header says of the segment's ids.
    pub(super) ids: RangeInclusive<u64>,
}

/// One thing in the block, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Event(Event),
    /// Bytes of the block that prove nothing. Not `sure`: all zero, so perhaps never used.
    Range {
        bytes: Range<usize>,
        sure: bool,
        reason: Reason,
    },
}

/// What a block gives.
#[derive(Clone, Debug)]
pub(super) struct Salvaged {
    pub(super) pieces: Vec<Piece>,
    /// Chain value after the block, where it is known.
    pub(super) chain: Option<u64>,
    /// The segment is known to be in its place.
    pub(super) in_place: bool,
    /// The chain value of the segment before, as a sound block 0 tells it.
    pub(super) told_link: Option<u64>,
}

/// Takes what holds out of a block.
pub(super) fn salvage_block(bytes: &[u8; BLOCK_BYTES], around: &Surroundings) -> Salvaged {
    let guards = around.guards.unwrap_or(GuardContext { segment_index: u32::MAX, created_ts_ns: 0 });
    let context = BlockContext {
        block_index: around.block_index,
        previous_last_id: around.last_event_id,
        previous_chain: around.chain.unwrap_or(0),
        guards,
    };
    let verdict =
        if around.chain.is_some() { judge_block(bytes, &context) } else { judge_unchained_block(bytes, &context) };
    let header = header_of(bytes, around.block_index);
    let has_guard = |slot: u32, event: &[u8; EVENT_BYTES]| {
        around.guards.is_some_and(|guards| guards.holds(around.block_index * EVENTS_PER_BLOCK + slot, event))
    };
    let events = bytes[BLOCK_HEADER_BYTES..].as_chunks::<EVENT_BYTES>().0;
    let guarded = (0..).zip(events).any(|(slot, event)| has_guard(slot, event));
    let linked = header.is_some_and(|header| {
        around.block_index == 0 && header.flags & FLAG_LINK != 0 && around.link == Some(header.link)
    });
    let in_place = around.in_place || guarded || linked;
    let proven = match verdict.state {
        BlockState::Finalized(header) => {
            let whole =
                (0..).zip(&events[..usize::from(header.event_count)]).all(|(slot, event)| has_guard(slot, event));
            // Where the chain is lost, a block could have come from elsewhere: then its events' guards decide, if it has any.
            let certain = if around.chain.is_some() { in_place } else { header.flags & FLAG_GUARDS == 0 && in_place };
            let fits = around.ids.contains(&header.first_event_id) && around.ids.contains(&header.last_event_id);
            if whole || (certain && fits) { u32::from(header.event_count) } else { 0 }
        }
        _ => 0,
    };
    let reason = reason_of(verdict.state);
    let mut pieces = Vec::new();
    let no_header = is_zero(&bytes[..BLOCK_HEADER_BYTES]);
    if proven == 0 && (header.is_none() || reason == Reason::ChainedChecksum) && (around.sealed || !no_header) {
        add(&mut pieces, 0..BLOCK_HEADER_BYTES, !no_header, reason);
    }
    let told = header.map(|header| u32::from(header.event_count));
    let mut last = around.last_event_id;
    for (slot, event) in (0..).zip(events) {
        let event_id = u64_at(event, 0);
        let above = proven > 0 && around.sealed_counts && slot >= proven;
        let follows = event_id > last && around.ids.contains(&event_id) && !above;
        if slot < proven || (follows && has_guard(slot, event)) {
            last = event_id;
            pieces.push(Piece::Event(Event::from_bytes(event)));
            continue;
        }
        let begin = BLOCK_HEADER_BYTES + slot as usize * EVENT_BYTES;
        let zero = is_zero(event);
        // Above what a sound header proves there need be nothing.
        if told.is_some_and(|told| slot >= told) && (zero || proven > 0) {
            continue;
        }
        add(&mut pieces, begin..begin + EVENT_BYTES, !zero || told.is_some(), reason);
    }
    let chain = match header {
        Some(header) if proven > 0 || guarded => Some(header.chained_checksum),
        _ => {
            let whole = pieces.iter().filter(|piece| matches!(piece, Piece::Event(_))).count() == events.len();
            around.chain.filter(|_| whole).map(|chain| xxh64(&bytes[BLOCK_HEADER_BYTES..], chain))
        }
    };
    let told_link = header.filter(|header| proven > 0 && around.block_index == 0 && header.flags & FLAG_LINK != 0);
    Salvaged { pieces, chain, in_place, told_link: told_link.map(|header| header.link) }
}

/// The block's header, when it holds in itself and belongs here.
fn header_of(bytes: &[u8; BLOCK_BYTES], block_index: u32) -> Option<BlockHeader> {
    BlockHeader::from_bytes(&array_at(bytes, 0)).filter(|header| {
        let count = u32::from(header.event_count);
        header.block_index == block_index && (1..=EVENTS_PER_BLOCK).contains(&count) && header.flags & !FLAGS_KNOWN == 0
    })
}

fn add(pieces: &mut Vec<Piece>, bytes: Range<usize>, sure: bool, reason: Reason) {
    if let Some(Piece::Range { bytes: before, sure: was_sure, .. }) = pieces.last_mut()
        && before.end == bytes.start
    {
        before.end = bytes.end;
        *was_sure |= sure;
        return;
    }
    pieces.push(Piece::Range { bytes, sure, reason });
}

fn reason_of(state: BlockState) -> Reason {
    match state {
        BlockState::Torn(reason) => reason,
        BlockState::Finalized(_) | BlockState::Open => Reason::Guard,
        BlockState::Empty => Reason::Hole,
        BlockState::Newer => Reason::Version,
    }
}
