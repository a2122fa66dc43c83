//! Every case of the verdicts, one by one: what each rule of `docs/FORMAT.md` accepts and refuses.

use super::*;
use crate::format::{Event, FLAG_GUARDS, FLAG_LINK, Seal};

const GUARDS: GuardContext = GuardContext { segment_index: 3, created_ts_ns: 1_700 };
const BEFORE: u64 = 1_000;
const CHAIN: u64 = 0xfeed;
const BLOCK: u32 = 2;

fn context() -> BlockContext {
    BlockContext { block_index: BLOCK, previous_last_id: BEFORE, previous_chain: CHAIN, guards: GUARDS }
}

fn seal() -> Seal {
    Seal {
        block_count: 2,
        event_count: 300,
        first_event_id: 1,
        last_event_id: 300,
        closed_ts_ns: 9,
        last_chained_checksum: 7,
    }
}

fn header(seal: Option<Seal>) -> [u8; SEGMENT_HEADER_BYTES] {
    SegmentHeader { segment_index: 3, created_ts_ns: 5, seal }.to_bytes()
}

/// Puts the checksum right again after a change.
fn mended(mut bytes: [u8; SEGMENT_HEADER_BYTES]) -> [u8; SEGMENT_HEADER_BYTES] {
    let checksum = checksum_of(&bytes);
    le::put(&mut bytes, 48, checksum.to_le_bytes());
    bytes
}

fn changed(mut bytes: [u8; SEGMENT_HEADER_BYTES], offset: usize, value: u8) -> [u8; SEGMENT_HEADER_BYTES] {
    bytes[offset] = value;
    bytes
}

#[test]
fn a_header_is_sealed_or_unsealed_by_its_closing_time() {
    assert!(matches!(judge_header(&header(None), 3), HeaderVerdict::Unsealed(header) if header.created_ts_ns == 5));
    assert!(
        matches!(judge_header(&header(Some(seal())), 3), HeaderVerdict::Sealed(header) if header.seal == Some(seal()))
    );
    let empty = Seal {
        closed_ts_ns: 9,
        ..Seal {
            block_count: 0,
            event_count: 0,
            first_event_id: 0,
            last_event_id: 0,
            closed_ts_ns: 0,
            last_chained_checksum: 0,
        }
    };
    assert!(
        matches!(judge_header(&header(Some(empty)), 3), HeaderVerdict::Sealed(_)),
        "an empty sealed segment is legal"
    );
}

#[test]
fn every_changed_bit_of_a_header_is_seen() {
    for good in [header(None), header(Some(seal()))] {
        for bit in 0..SEGMENT_HEADER_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            let verdict = judge_header(&bad, 3);
            assert!(matches!(verdict, HeaderVerdict::Foreign | HeaderVerdict::Corrupt(_)), "bit {bit}: {verdict:?}");
        }
    }
}

#[test]
fn a_header_is_foreign_newer_or_corrupt_for_its_own_reason() {
    let good = header(Some(seal()));
    let corrupt = HeaderVerdict::Corrupt;
    assert_eq!(judge_header(&[0; 64], 0), HeaderVerdict::Foreign, "zeros are no segment");
    assert_eq!(judge_header(&mended(changed(good, 0, b'X')), 3), HeaderVerdict::Foreign);
    assert_eq!(judge_header(&mended(changed(good, 2, 2)), 3), HeaderVerdict::Newer);
    assert_eq!(judge_header(&mended(changed(good, 2, 0)), 3), HeaderVerdict::Newer);
    assert_eq!(judge_header(&changed(good, 2, 2), 3), corrupt(Reason::HeaderChecksum));
    assert_eq!(judge_header(&mended(changed(good, 3, 63)), 3), corrupt(Reason::HeaderConstants));
    assert_eq!(judge_header(&good, 4), corrupt(Reason::SegmentIndex));
    assert_eq!(judge_header(&changed(good, 9, 1), 3), corrupt(Reason::HeaderChecksum));
}

#[test]
fn a_sealed_header_must_not_contradict_itself() {
    let refused = |seal| judge_header(&header(Some(seal)), 3) == HeaderVerdict::Corrupt(Reason::SealedCounts);
    assert!(refused(Seal { event_count: 1, ..seal() }), "fewer events than blocks");
    assert!(refused(Seal { event_count: 513, ..seal() }), "more events than slots");
    assert!(refused(Seal { first_event_id: 0, ..seal() }));
    assert!(refused(Seal { first_event_id: 301, ..seal() }), "first above last");
    assert!(refused(Seal { last_event_id: 299, ..seal() }), "fewer ids than events");
    assert!(refused(Seal { block_count: 0, event_count: 0, ..seal() }), "ids without events");
    assert!(!refused(seal()));
}

#[test]
fn flashstrikes_open_headers_are_unsealed() {
    let mut open = header(None);
    le::put(&mut open, 48, [0; 8]);
    assert!(matches!(judge_header(&open, 3), HeaderVerdict::Unsealed(_)), "checksum 0");
    assert!(matches!(judge_header(&changed(open, 0, 0), 3), HeaderVerdict::Unsealed(_)), "first byte wiped");
    assert_eq!(judge_header(&changed(open, 0, 1), 3), HeaderVerdict::Foreign);
    assert_eq!(judge_header(&changed(open, 1, 0), 3), HeaderVerdict::Foreign);
    assert_eq!(judge_header(&changed(open, 3, 0), 3), HeaderVerdict::Corrupt(Reason::HeaderConstants));
    assert_eq!(judge_header(&changed(open, 2, 9), 3), HeaderVerdict::Corrupt(Reason::HeaderConstants));
    let mut sealed = header(Some(seal()));
    le::put(&mut sealed, 48, [0; 8]);
    assert_eq!(judge_header(&sealed, 3), HeaderVerdict::Corrupt(Reason::HeaderChecksum), "sealed needs its checksum");
}

/// A block of `count` guarded events; `headed` of them are in its header.
fn block(count: u32, headed: u32) -> Box<[u8; BLOCK_BYTES]> {
    let mut bytes = Box::new([0; BLOCK_BYTES]);
    for slot in 0..count {
        let event = Event { event_id: BEFORE + 1 + u64::from(slot), timestamp_ns: 77, price: -1, ..Event::default() };
        let mut event = event.to_bytes();
        let guard = GUARDS.guard(BLOCK * EVENTS_PER_BLOCK + slot, &event);
        le::put(&mut event, 60, guard.to_le_bytes());
        le::put(&mut bytes[..], offset_of(slot), event);
    }
    if headed > 0 {
        let header =
            BlockHeader::finalize(BLOCK, &bytes[BLOCK_HEADER_BYTES..offset_of(headed)], CHAIN, FLAG_GUARDS, None);
        bytes[..BLOCK_HEADER_BYTES].copy_from_slice(&header.to_bytes());
    }
    bytes
}

fn offset_of(slot: u32) -> usize {
    BLOCK_HEADER_BYTES + slot as usize * EVENT_BYTES
}

/// Changes the header's fields and puts its checksum right again.
fn with_header(count: u32, change: impl FnOnce(&mut BlockHeader)) -> Box<[u8; BLOCK_BYTES]> {
    let mut bytes = block(count, count);
    let mut header = BlockHeader::from_bytes(&le::array_at(&bytes[..], 0)).unwrap();
    change(&mut header);
    bytes[..BLOCK_HEADER_BYTES].copy_from_slice(&header.to_bytes());
    bytes
}

#[test]
fn an_empty_and_an_open_block() {
    let empty = judge_block(&block(0, 0), &context());
    assert_eq!((empty.state, empty.accepted, empty.rest_is_zero), (BlockState::Empty, 0, true));
    assert_eq!(empty.last_event_id, BEFORE);
    for count in [1, 200, 256] {
        let open = judge_block(&block(count, 0), &context());
        assert_eq!((open.state, open.accepted, open.rest_is_zero), (BlockState::Open, count, true));
        assert_eq!(open.last_event_id, BEFORE + u64::from(count));
        assert_eq!(open.all_guarded, count < 256);
    }
}

#[test]
fn a_finalized_block_whole_partial_and_written_on() {
    for (count, headed) in [(256, 256), (44, 44), (1, 1), (100, 44), (256, 44)] {
        let verdict = judge_block(&block(count, headed), &context());
        assert!(matches!(verdict.state, BlockState::Finalized(header) if u32::from(header.event_count) == headed));
        assert_eq!((verdict.accepted, verdict.rest_is_zero), (count, true), "{count} events, {headed} in the header");
        assert_eq!(verdict.last_event_id, BEFORE + u64::from(count));
    }
}

#[test]
fn each_rule_of_a_finalized_block_has_its_reason() {
    type Change = fn(&mut BlockHeader);
    let rules: [(Reason, Change); 8] = [
        (Reason::BlockIndex, |header| header.block_index += 1),
        (Reason::EventCount, |header| header.event_count = 0),
        (Reason::EventCount, |header| header.event_count = 257),
        (Reason::FirstLastId, |header| header.first_event_id += 1),
        (Reason::FirstLastId, |header| header.last_event_id += 1),
        (Reason::BlockChecksum, |header| header.block_checksum ^= 1),
        (Reason::ChainedChecksum, |header| header.chained_checksum ^= 1),
        (Reason::FirstLastId, |header| header.event_count -= 1),
    ];
    for (reason, change) in rules {
        let verdict = judge_block(&with_header(256, change), &context());
        assert_eq!(verdict.state, BlockState::Torn(reason));
        assert_eq!(verdict.accepted, 256, "the guards prove what the header does not");
        assert!(!verdict.rest_is_zero);
    }
    let newer = judge_block(&with_header(9, |header| header.flags |= 4), &context());
    assert_eq!((newer.state, newer.accepted), (BlockState::Newer, 0));
    let linked = judge_block(&with_header(9, |header| header.flags |= FLAG_LINK), &context());
    assert!(matches!(linked.state, BlockState::Finalized(_)), "the link is judged by who knows the segment before");
}

#[test]
fn ids_must_increase_from_block_to_block_and_within() {
    let later = BlockContext { previous_last_id: BEFORE + 1, ..context() };
    assert_eq!(judge_block(&block(5, 5), &later).state, BlockState::Torn(Reason::IdOrder));
    assert_eq!(judge_block(&block(5, 0), &later).accepted, 0, "an open block's first event must exceed the one before");
    let mut swapped = block(5, 0);
    let (one, two) = (le::array_at::<64>(&swapped[..], offset_of(1)), le::array_at::<64>(&swapped[..], offset_of(2)));
    le::put(&mut swapped[..], offset_of(1), two);
    le::put(&mut swapped[..], offset_of(2), one);
    let header = BlockHeader::finalize(BLOCK, &swapped[BLOCK_HEADER_BYTES..offset_of(5)], CHAIN, FLAG_GUARDS, None);
    swapped[..BLOCK_HEADER_BYTES].copy_from_slice(&header.to_bytes());
    let verdict = judge_block(&swapped, &context());
    assert_eq!((verdict.state, verdict.accepted), (BlockState::Torn(Reason::IdOrder), 1));
}

#[test]
fn every_changed_bit_of_a_block_header_is_seen_and_costs_no_guarded_event() {
    let good = block(200, 200);
    for bit in 0..BLOCK_HEADER_BYTES * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let verdict = judge_block(&bad, &context());
        assert_eq!(verdict.state, BlockState::Torn(Reason::BlockHeaderChecksum), "bit {bit}");
        assert_eq!(verdict.accepted, 200, "bit {bit}");
    }
}

#[test]
fn a_damaged_event_ends_what_guards_accept_and_the_rest_shows() {
    for (damaged, headed) in [(0, 0), (7, 0), (255, 0), (7, 256)] {
        let mut bytes = block(256, headed);
        bytes[offset_of(damaged) + 20] ^= 1;
        let verdict = judge_block(&bytes, &context());
        let state = if headed == 0 { BlockState::Open } else { BlockState::Torn(Reason::BlockChecksum) };
        assert_eq!((verdict.state, verdict.accepted, verdict.rest_is_zero), (state, damaged, false));
    }
}

#[test]
fn unguarded_events_count_only_under_their_header() {
    let mut bytes = block(44, 0);
    for slot in 0..44 {
        le::put(&mut bytes[..], offset_of(slot) + 60, [0; 4]);
    }
    assert_eq!(judge_block(&bytes, &context()).accepted, 0);
    let header = BlockHeader::finalize(BLOCK, &bytes[BLOCK_HEADER_BYTES..offset_of(44)], CHAIN, 0, None);
    bytes[..BLOCK_HEADER_BYTES].copy_from_slice(&header.to_bytes());
    let verdict = judge_block(&bytes, &context());
    assert_eq!((verdict.accepted, verdict.all_guarded, verdict.rest_is_zero), (44, false, true));
}

#[test]
fn stale_bytes_above_the_end_show() {
    let mut bytes = block(44, 44);
    bytes[BLOCK_BYTES - 1] = 1;
    let verdict = judge_block(&bytes, &context());
    assert_eq!((verdict.accepted, verdict.rest_is_zero), (44, false));
}
