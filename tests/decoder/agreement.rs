//! The other direction: what FORMAT.md allows, made by the decoder's own encoder, whole, changed or torn, is read alike by
//! the decoder and by walrec.

use std::path::Path;

use super::decoder::segment::{block_offset, slot_offset};
use super::decoder::support::{Random, TempDir, check_formula, fingerprint, write_file};
use super::decoder::{History, check_closed_after, check_written_by_walrec, decode_log};
use super::encode::{self, Plan};
use super::encode_frozen;
use super::with_library::{append, keep_all, open, replay, replay_all};
use walrec::{recorder, recovery};

/// Writes the plans' segments, and reads them with both readers.
fn read_by_both(what: &str, plans: &[Plan], padded: bool) {
    let dir = TempDir::new("made");
    for plan in plans {
        let mut bytes = plan.encode();
        if padded {
            bytes.resize(bytes.len().next_multiple_of(4096), 0);
        }
        write_file(&dir.path().join(format!("FS.{:08}.wal", plan.index)), &bytes);
    }
    let first = plans[0].first_event_id;
    let last = plans.last().unwrap().next_event_id() - 1;
    let log = decode_log(dir.path()).unwrap_or_else(|why| panic!("{what}: {why}"));
    check_formula(&log.events, first, last).unwrap_or_else(|why| panic!("{what}: decoder: {why}"));
    let before = fingerprint(dir.path());
    check_formula(&replay_all(dir.path()), first, last).unwrap_or_else(|why| panic!("{what}: replay: {why}"));
    assert_eq!(fingerprint(dir.path()), before, "{what}: reading changed the directory");
    let (mut writer, manager) = open(dir.path(), &keep_all(16));
    assert_eq!(manager.report().last_event_id, last, "{what}");
    append(&mut writer, last + 1..=last + 700);
    manager.shutdown().unwrap();
    drop((writer, manager));
    check_formula(&replay_all(dir.path()), first, last + 700).unwrap_or_else(|why| panic!("{what}: continued: {why}"));
    let log = decode_log(dir.path()).unwrap_or_else(|why| panic!("{what}: continued: {why}"));
    check_formula(&log.events, first, last + 700).unwrap_or_else(|why| panic!("{what}: continued: {why}"));
}

/// Segments behind one another with these blocks each, sealed.
fn chain_of(first_index: u32, shapes: &[(usize, &[usize])], guards: bool, links: bool) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for (index, (capacity, blocks)) in (first_index..).zip(shapes) {
        let previous = plans.last();
        plans.push(Plan {
            index,
            capacity: *capacity,
            created_ts_ns: 1_000 + 10 * u64::from(index),
            closed_ts_ns: 1_005 + 10 * u64::from(index),
            blocks: blocks.to_vec(),
            open_events: 0,
            first_event_id: previous.map_or(1, Plan::next_event_id),
            guards,
            link: if links { previous.map(Plan::chained_checksum) } else { None },
        });
    }
    plans
}

#[test]
fn what_the_document_allows_is_read_and_continued() {
    let full = [256; 16];
    for (guards, links) in [(true, true), (false, false), (true, false)] {
        for padded in [false, true] {
            let at = format!("guards {guards}, links {links}, padded {padded}");
            read_by_both(
                &format!("full and partial, {at}"),
                &encode_chain(&[(16, &full), (16, &[256, 44])], guards, links),
                padded,
            );
            // FlashStrike flushes partial blocks, also in the middle.
            let uneven = [(16, &[1, 256, 3, 255, 44][..]), (16, &[7, 7, 7])];
            read_by_both(&format!("partial blocks, {at}"), &encode_chain(&uneven, guards, links), padded);
            read_by_both(
                &format!("one block a segment, {at}"),
                &encode_chain(&[(1, &[256]), (1, &[3])], guards, links),
                padded,
            );
            read_by_both(
                &format!("other geometries, {at}"),
                &encode_chain(&[(3, &[256, 256, 256]), (40, &[9])], guards, links),
                padded,
            );
        }
    }
    // Nine and ten digits, and a log that begins there.
    read_by_both("nine digits", &chain_of(99_999_999, &[(16, &full), (16, &[5])], true, true), false);
    read_by_both("ten digits", &chain_of(999_999_999, &[(16, &full), (16, &[5])], true, true), false);
    // "An empty sealed segment is legal; its chain value is 0."
    read_by_both("empty sealed segment", &chain_of(0, &[(16, &[256, 3]), (16, &[]), (16, &[5])], true, true), false);
}

/// An unsealed segment below a sealed one without events, which is in use all the same. Complete it is read, and continued behind both;
/// with an open end it is refused by all, until salvage sets aside the one that holds nothing.
#[test]
fn an_unsealed_segment_below_an_empty_sealed_one() {
    let plans = |open_events| {
        let mut plans = chain_of(0, &[(16, &[256, 3]), (16, &[256, 256]), (16, &[])], true, true);
        plans[1].closed_ts_ns = 0;
        plans[1].open_events = open_events;
        plans[2].first_event_id = plans[1].next_event_id();
        plans[2].link = None;
        plans
    };
    read_by_both("complete, below an empty sealed one", &plans(0), false);

    let dir = TempDir::new("below-empty");
    let plans = plans(100);
    let last = plans[2].first_event_id - 1;
    for plan in &plans {
        write_file(&dir.path().join(format!("FS.{:08}.wal", plan.index)), &plan.encode());
    }
    let before = fingerprint(dir.path());
    let why = decode_log(dir.path()).unwrap_err();
    assert!(why.contains("block below a segment in use"), "{why}");
    let (events, fault) = replay(dir.path(), 0);
    check_formula(&events, 1, last).unwrap();
    assert!(fault.is_some_and(|why| why.contains("segment 1")), "the strict reader went on");
    let report = recovery::verify(dir.path()).unwrap();
    assert!(report.fault.is_some_and(|fault| fault.corruption.segment_index == 1), "verification saw nothing");
    let Err(why) = recorder::open(dir.path(), &keep_all(16)) else { panic!("opened") };
    let why = why.to_string();
    assert!(why.contains("segment 2") && why.contains("FS.00000001.wal below it is not complete"), "{why}");
    assert_eq!(fingerprint(dir.path()), before, "something was changed");

    let salvage = recorder::Config { salvage: true, ..keep_all(16) };
    let (mut writer, manager) = open(dir.path(), &salvage);
    assert_eq!(manager.report().last_event_id, last, "salvage lost an event");
    append(&mut writer, last + 1..=last + 700);
    manager.shutdown().unwrap();
    drop((writer, manager));
    check_formula(&replay_all(dir.path()), 1, last + 700).unwrap();
}

/// A byte in a segment that holds no event says that the one below was complete: all judges take an open end below it for damage, and
/// none a complete one.
#[test]
fn a_byte_above_an_open_end() {
    for (open_events, complete) in [(0, true), (100, false)] {
        for above in [2, 3] {
            let what = format!("{open_events} in the open block, a byte in segment {above}");
            let dir = TempDir::new("byte-above");
            let mut plans = chain_of(0, &[(16, &[256, 3]), (16, &[256, 256]), (16, &[]), (16, &[])], true, true);
            plans[1].open_events = open_events;
            let last = plans[1].next_event_id() - 1;
            for plan in &mut plans[1..] {
                plan.closed_ts_ns = 0;
            }
            for plan in &plans {
                let mut bytes = plan.encode();
                if plan.index == above {
                    bytes[block_offset(3) + 777] = 1;
                }
                write_file(&dir.path().join(format!("FS.{:08}.wal", plan.index)), &bytes);
            }
            // An empty one below one in use is no complete one.
            let sound = complete && above == 2;
            let before = fingerprint(dir.path());
            assert_eq!(decode_log(dir.path()).is_ok(), sound, "{what}: decoder");
            let (events, fault) = replay(dir.path(), 0);
            check_formula(&events, 1, last).unwrap();
            assert_eq!(fault.is_none(), sound, "{what}: strict reader: {fault:?}");
            let fault = recovery::verify(dir.path()).unwrap().fault;
            assert_eq!(fault.is_none(), sound, "{what}: verification: {fault:?}");
            assert_eq!(fingerprint(dir.path()), before, "{what}: reading changed the directory");
            let opened = recorder::open(dir.path(), &keep_all(16));
            assert_eq!(opened.is_ok(), sound, "{what}: opening: {:?}", opened.err());
        }
    }
}

fn encode_chain(shapes: &[(usize, &[usize])], guards: bool, links: bool) -> Vec<Plan> {
    chain_of(0, shapes, guards, links)
}

/// An unsealed tail: finalized blocks, then an open one that its guards decide.
#[test]
fn an_unsealed_tail_is_read_and_continued() {
    for open_events in [0, 1, 100, 256] {
        let mut plans = chain_of(0, &[(16, &[256; 16]), (16, &[256, 256])], true, true);
        plans[1].closed_ts_ns = 0;
        plans[1].open_events = open_events;
        read_by_both(&format!("{open_events} in the open block"), &plans, true);
    }
}

/// A frozen segment in every form, with a hot one behind it: read from anywhere, and continued.
#[test]
fn frozen_segments_are_read_in_every_form() {
    let first = encode_frozen::plan();
    let second = Plan {
        index: 1,
        created_ts_ns: 100,
        closed_ts_ns: 101,
        blocks: vec![256, 44],
        first_event_id: first.next_event_id(),
        link: Some(first.chained_checksum()),
        ..first.clone()
    };
    let last = second.next_event_id() - 1;
    for (form, frozen) in encode_frozen::right_forms() {
        let dir = TempDir::new("frozen-made");
        write_file(&dir.path().join("FS.00000000.wal.lz4"), &frozen);
        write_file(&dir.path().join("FS.00000001.wal"), &second.encode());
        for from in [1, 2, 256, 257, 16_384, 16_385, 16_386, 32_768, 32_769, 33_279, 33_280, 33_281, last] {
            let (events, fault) = replay(dir.path(), from);
            assert_eq!(fault, None, "{form:?} from {from}");
            check_formula(&events, from, last).unwrap_or_else(|why| panic!("{form:?} from {from}: {why}"));
        }
        let (mut writer, manager) = open(dir.path(), &keep_all(16));
        append(&mut writer, last + 1..=last + 300);
        manager.shutdown().unwrap();
        drop((writer, manager));
        check_formula(&replay_all(dir.path()), 1, last + 300).unwrap_or_else(|why| panic!("{form:?}: {why}"));
        check_formula(&decode_log(dir.path()).unwrap().events, 1, last + 300).unwrap();
    }
}

#[test]
fn wrong_frozen_segments_are_refused() {
    let dir = TempDir::new("frozen-wrong");
    for (name, frozen, _) in encode_frozen::wrong_forms() {
        write_file(&dir.path().join("FS.00000000.wal.lz4"), &frozen);
        let (events, fault) = replay(dir.path(), 0);
        let fault = fault.unwrap_or_else(|| panic!("{name}: read to an end, with {} events", events.len()));
        assert!(fault.contains("FS.00000000.wal.lz4"), "{name}: {fault}");
        error_stays(dir.path(), &fault).unwrap_or_else(|why| panic!("{name}: {why}"));
        check_formula(&events, 1, events.len() as u64).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

/// Asked again, a reader that met an error gives the same one, and never an event or an end behind it.
fn error_stays(dir: &Path, fault: &str) -> Result<(), String> {
    let Ok(mut reader) = walrec::recovery::Manager::open(dir, 0) else { return Ok(()) };
    let mut errors = 0;
    while errors < 4 {
        match reader.next() {
            Ok(Some(_)) if errors == 0 => {}
            Ok(next) => return Err(format!("behind the error ({fault}): {next:?}")),
            Err(again) if again.to_string() == fault => errors += 1,
            Err(other) => return Err(format!("error {errors}: expected {fault}, actual {other}")),
        }
    }
    Ok(())
}

/// Bits changed and ends cut in the many-frame form: whatever walrec delivers to an end, the decoder reads too.
#[test]
fn changed_frozen_segments_never_deliver_a_wrong_event() {
    let mut random = Random::new("changed_frozen_segments_never_deliver_a_wrong_event");
    let good = encode_frozen::right_forms().remove(0).1;
    let dir = TempDir::new("frozen-changed");
    let path = dir.path().join("FS.00000000.wal.lz4");
    let len = good.len() as u64;
    let mut refused = 0;
    for round in 0..150 {
        let place = usize::try_from(random.below(len)).unwrap();
        let mut bytes = good.clone();
        if round % 3 == 0 {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 1 << random.below(8);
        }
        write_file(&path, &bytes);
        let (events, fault) = replay(dir.path(), 0);
        check_formula(&events, 1, events.len() as u64).unwrap_or_else(|why| panic!("byte {place}: {why}"));
        if let Some(fault) = fault {
            refused += 1;
            error_stays(dir.path(), &fault).unwrap_or_else(|why| panic!("byte {place}: {why}"));
        } else {
            let log = decode_log(dir.path()).unwrap_or_else(|why| panic!("byte {place}: walrec reads it: {why}"));
            assert!(events == log.events, "byte {place}: other events");
        }
    }
    eprintln!("{refused} of 150 changed or cut frozen segments were refused");
    assert!(refused >= 140);
}

/// One byte changed anywhere in sealed segments: both readers deliver the same events, and both object or neither does.
#[test]
fn both_readers_agree_on_changed_bytes() {
    let mut random = Random::new("both_readers_agree_on_changed_bytes");
    let plans = chain_of(0, &[(2, &[256, 256]), (3, &[256, 256, 44]), (2, &[256, 9])], true, true);
    let dir = TempDir::new("agree");
    let good: Vec<(String, Vec<u8>)> =
        plans.iter().map(|plan| (format!("FS.{:08}.wal", plan.index), plan.encode())).collect();
    let mut objected = 0;
    for _ in 0..2_000 {
        let chosen = usize::try_from(random.below(3)).unwrap();
        let mut bytes = good[chosen].1.clone();
        for (name, bytes) in &good {
            write_file(&dir.path().join(name), bytes);
        }
        let block = usize::try_from(random.below(plans[chosen].blocks.len() as u64)).unwrap();
        let in_header = random.below(3) > 0;
        let place = match random.below(3) {
            0 => random.below(64),
            1 => block_offset(block) as u64 + random.below(64),
            _ => random.below(bytes.len() as u64),
        };
        let place = usize::try_from(place).unwrap();
        bytes[place] ^= 1 << random.below(8);
        // Repaired checksums leave only the rules behind them to object.
        let repaired = in_header && random.below(2) == 0;
        if repaired {
            encode::repair_block_header(&mut bytes, block);
            encode::repair_segment_header(&mut bytes);
        }
        write_file(&dir.path().join(&good[chosen].0), &bytes);
        let what = format!("segment {chosen}, byte {place}, block {block}, repaired {repaired}");
        let (events, fault) = replay(dir.path(), 0);
        match decode_log(dir.path()) {
            Ok(log) => {
                assert_eq!(fault, None, "{what}: the decoder reads it");
                assert!(events == log.events, "{what}: other events");
            }
            Err(why) => {
                assert!(fault.is_some(), "{what}: the decoder objects, walrec does not: {why}");
                objected += 1;
            }
        }
        // In any case only true events are delivered, as far as content is told by a checksum.
        if !repaired {
            check_formula(&events, 1, events.len() as u64).unwrap_or_else(|why| panic!("{what}: {why}"));
        }
    }
    eprintln!("both readers objected to {objected} of 2,000 changes");
    assert!(objected > 500);
}

/// A state of the segment: so many headers, and so many events.
fn state_of(plan: &Plan, finalized: usize, events: usize) -> Vec<u8> {
    Plan { blocks: vec![256; finalized], open_events: 0, ..plan.clone() }.encode_with_open(events)
}

/// A power cut under a segment that was being written: each sector holds what was synced before or what was being
/// written, and some hold nothing. Both readers and recovery accept the same prefix, and what recovery
/// makes of it, continued and closed, is a log by the document.
#[test]
fn both_readers_and_recovery_agree_on_torn_tails() {
    let mut random = Random::new("both_readers_and_recovery_agree_on_torn_tails");
    let mut cut = 0;
    for round in 0..200 {
        let below = 1 + usize::try_from(random.below(300)).unwrap();
        let mut plans = chain_of(0, &[(16, &[256, 44]), (16, &[])], true, true);
        plans[1].closed_ts_ns = 0;
        // Slots synced and slots written; headers follow a block or two behind, or at once.
        let synced = usize::try_from(random.below(3000)).unwrap();
        let written = (synced + below + usize::try_from(random.below(900)).unwrap()).min(4096);
        let behind = usize::try_from(random.below(3)).unwrap();
        let before = state_of(&plans[1], (synced / 256).saturating_sub(behind), synced);
        let after = state_of(&plans[1], (written / 256).saturating_sub(behind), written);
        let mut bytes = after.clone();
        let lost = random.below(4);
        for (sector, place) in (0..bytes.len()).step_by(512).enumerate() {
            let end = (place + 512).min(bytes.len());
            match random.below(8) {
                choice if choice < lost => bytes[place..end].copy_from_slice(&before[place..end]),
                // Only above what was synced: a sector at rest does not vanish.
                7 if sector > 0 && place > slot_offset(synced) && lost > 0 => bytes[place..end].fill(0),
                _ => {}
            }
        }
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        let dir = TempDir::new("torn");
        write_file(&dir.path().join("FS.00000000.wal"), &plans[0].encode());
        write_file(&dir.path().join("FS.00000001.wal"), &bytes);
        let what = format!("round {round}: synced {synced}, written {written}, headers {behind} behind, lost {lost}/8");
        let log = decode_log(dir.path()).unwrap_or_else(|why| panic!("{what}: decoder: {why}"));
        let last = log.last_event_id();
        check_formula(&log.events, 1, last).unwrap_or_else(|why| panic!("{what}: decoder: {why}"));
        assert!(last >= 300 + synced as u64, "{what}: the decoder accepts {last}");
        assert!(last <= 300 + written as u64, "{what}: the decoder accepts {last}");
        let (events, fault) = replay(dir.path(), 0);
        assert_eq!(fault, None, "{what}: replay");
        check_formula(&events, 1, last).unwrap_or_else(|why| panic!("{what}: replay: {why}"));

        let (mut writer, manager) = open(dir.path(), &keep_all(16));
        let report = manager.report();
        assert_eq!((report.last_event_id, report.events_from_stage), (last, 0), "{what}");
        append(&mut writer, last + 1..=last + below as u64);
        manager.shutdown().unwrap();
        drop((writer, manager));
        let mut check = || {
            let log = decode_log(dir.path())?;
            check_formula(&log.events, 1, last + below as u64)?;
            check_written_by_walrec(&log)?;
            check_closed_after(&log, History { cut: &[1], killed: false })?;
            cut += usize::from(log.segments.iter().any(|segment| segment.first_dirty_byte.is_some()));
            check_formula(&replay_all(dir.path()), 1, last + below as u64)
        };
        check().unwrap_or_else(|why| panic!("{what}: recovered {last}, then {below} more: {why}"));
    }
    eprintln!("{cut} of 200 torn segments were cut with bytes behind their last event");
}
