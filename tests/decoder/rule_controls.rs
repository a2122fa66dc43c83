//! Controls over made logs: one rule broken at a time, every checksum repaired.

use std::fs;
use std::path::Path;

use super::decoder::fields::{block_header, event, segment_header};
use super::decoder::segment::{BLOCK_BYTES, BLOCK_HEADER_BYTES, block_offset, slot_offset};
use super::decoder::support::{TempDir, check_formula, golden_event, write_file};
use super::decoder::{History, Log, check_closed, check_closed_after, check_written_by_walrec, decode_log};
use super::encode::{
    self, Plan, put_event, repair_block_header, repair_blocks, repair_counts, repair_segment_header, three_segments,
    write_log,
};
use super::expect_fault;

/// The alternatives of a control: the name of the fault, what makes it, and words of the message it must give.
type Control<T> = (&'static str, fn(&mut T), &'static str);

#[test]
fn a_log_written_by_the_document_passes_every_rule() {
    let dir = TempDir::new("right");
    write_log(dir.path(), &three_segments());
    let log = decode_log(dir.path()).unwrap();
    check_formula(&log.events, 1, 2 * 4096 + 556).unwrap();
    check_written_by_walrec(&log).unwrap();
    check_closed(&log).unwrap();
}

/// Faults in the middle segment's bytes, with every checksum repaired.
#[test]
fn each_rule_of_a_segment_rejects_what_breaks_only_it() {
    let controls: &[Control<Vec<u8>>] = &[
        ("magic", |b| b[1] = 0x47, "magic"),
        ("version", |b| b[2] = 2, "version"),
        ("header size", |b| b[3] = 128, "header_size"),
        ("another segment's index", |b| b[4] = 7, "segment_index"),
        ("block count over the file", |b| segment_header::BLOCK_COUNT.put(b, 17), "block_count beyond"),
        ("block count short", |b| segment_header::BLOCK_COUNT.put(b, 15), "event_count"),
        ("event count", |b| segment_header::EVENT_COUNT.put(b, 4095), "event_count"),
        ("first id", |b| segment_header::FIRST_EVENT_ID.put(b, 1), "first_event_id"),
        ("last id", |b| segment_header::LAST_EVENT_ID.put(b, 1), "last_event_id"),
        ("last chained", |b| segment_header::LAST_CHAINED_CHECKSUM.put(b, 1), "last_chained_checksum"),
        (
            "unwritten block",
            |b| b[block_offset(4)..block_offset(4) + 64].fill(0),
            "block 4, offset 65856: block header of a sealed segment",
        ),
    ];
    for (name, change, words) in controls {
        let dir = TempDir::new("segment-rule");
        let plans = three_segments();
        write_log(dir.path(), &plans);
        let mut bytes = plans[1].encode();
        change(&mut bytes);
        repair_segment_header(&mut bytes);
        write_file(&dir.path().join("FS.00000001.wal"), &bytes);
        expect_fault(name, words, decode_log(dir.path()));
    }
}

/// Faults in block 5 (block 0 for the link) of the middle segment, with every checksum repaired.
#[test]
fn each_rule_of_a_block_rejects_what_breaks_only_it() {
    fn header(bytes: &mut [u8], block: usize) -> &mut [u8] {
        &mut bytes[block_offset(block)..][..BLOCK_HEADER_BYTES]
    }
    // Before the checksums over events and headers are made anew.
    let in_content: &[Control<Vec<u8>>] = &[
        ("index", |b| block_header::BLOCK_INDEX.put(header(b, 5), 6), "block 5, offset 82344: block_index"),
        ("no event", |b| block_header::EVENT_COUNT.put(header(b, 5), 0), "event_count: expected 1..=256, actual 0"),
        ("count", |b| block_header::EVENT_COUNT.put(header(b, 5), 257), "event_count: expected 1..=256, actual 257"),
        ("newer flag", |b| block_header::FLAGS.put(header(b, 5), 5), "newer format"),
        ("high flag", |b| block_header::FLAGS.put(header(b, 5), 0x8001), "newer format"),
        ("wrong link", |b| block_header::LINK.put(header(b, 0), 1), "block 0, offset 112: link to the previous"),
        ("id 0", |b| event::EVENT_ID.put(&mut b[slot_offset(5 * 256 + 9)..], 0), "event_id: expected above"),
        (
            "id repeated",
            |b| {
                let id = event::EVENT_ID.of(&b[slot_offset(5 * 256 + 8)..]);
                event::EVENT_ID.put(&mut b[slot_offset(5 * 256 + 9)..], id);
            },
            "event_id: expected above",
        ),
        (
            "first id of the block not above the block before",
            |b| event::EVENT_ID.put(&mut b[slot_offset(5 * 256)..], 3),
            "event_id: expected above",
        ),
    ];
    // Before only the headers' checksums are.
    let in_header: &[Control<Vec<u8>>] = &[
        ("first id", |b| block_header::FIRST_EVENT_ID.put(header(b, 5), 9), "first_event_id"),
        ("last id", |b| block_header::LAST_EVENT_ID.put(header(b, 5), 9), "last_event_id"),
        ("block checksum", |b| block_header::BLOCK_CHECKSUM.put(header(b, 5), 9), "block_checksum"),
        ("chain", |b| block_header::CHAINED_CHECKSUM.put(header(b, 5), 9), "chained_checksum"),
        ("an event changed", |b| b[slot_offset(5 * 256 + 3) + 20] ^= 1, "block_checksum"),
    ];
    for (repair_content, controls) in [(true, in_content), (false, in_header)] {
        for (name, change, words) in controls {
            let dir = TempDir::new("block-rule");
            let plans = three_segments();
            write_log(dir.path(), &plans);
            let mut bytes = plans[1].encode();
            change(&mut bytes);
            if repair_content {
                repair_blocks(&mut bytes, 16);
                repair_counts(&mut bytes, 16);
            } else {
                repair_block_header(&mut bytes, 5);
            }
            repair_segment_header(&mut bytes);
            write_file(&dir.path().join("FS.00000001.wal"), &bytes);
            expect_fault(name, words, decode_log(dir.path()));
        }
    }
}

/// Whole files and blocks in the wrong place.
#[test]
fn each_rule_of_a_log_rejects_what_breaks_only_it() {
    type Make = fn(&Path, &mut Vec<Plan>);
    let controls: &[(&str, Make, &str)] = &[
        ("gap", |dir, _| fs::remove_file(dir.join("FS.00000001.wal")).unwrap(), "a segment is missing"),
        (
            "swapped blocks",
            |dir, plans| {
                let mut bytes = plans[1].encode();
                let (head, tail) = bytes.split_at_mut(block_offset(4));
                head[block_offset(3)..].swap_with_slice(&mut tail[..BLOCK_BYTES]);
                write_file(&dir.join("FS.00000001.wal"), &bytes);
            },
            "block 3, offset 49448: block_index",
        ),
        (
            "segment swapped for one of the same ids",
            |dir, plans| {
                // Other content below the same ids: only the next segment's link can tell.
                let mut bytes = plans[1].encode();
                bytes[slot_offset(100) + 43] ^= 1;
                repair_blocks(&mut bytes, 16);
                repair_counts(&mut bytes, 16);
                repair_segment_header(&mut bytes);
                write_file(&dir.join("FS.00000001.wal"), &bytes);
            },
            "FS.00000002.wal: block 0, offset 112: link to the previous segment",
        ),
        (
            "ids start again",
            |dir, plans| {
                plans[2].first_event_id = 4097;
                write_file(&dir.join("FS.00000002.wal"), &plans[2].encode());
            },
            "FS.00000002.wal: block 0, offset 128: event_id: expected above 8192",
        ),
        (
            "durable data gone",
            |dir, _| fs::remove_file(dir.join("FS.00000002.wal")).unwrap(),
            "wal_meta.dat: offset 8: last_event_id: expected at most the log's last 8192",
        ),
        (
            "size",
            |dir, plans| write_file(&dir.join("FS.00000002.wal"), &plans[2].encode()[..block_offset(16) - 1]),
            "file size",
        ),
        (
            "open block below a later segment",
            |dir, plans| {
                plans[1].closed_ts_ns = 0;
                plans[1].blocks = vec![256; 15];
                plans[1].open_events = 256;
                write_file(&dir.join("FS.00000001.wal"), &plans[1].encode());
            },
            "FS.00000001.wal: block 15, offset 246784: block below a segment in use",
        ),
    ];
    for (name, change, words) in controls {
        let dir = TempDir::new("log-rule");
        let mut plans = three_segments();
        write_log(dir.path(), &plans);
        change(dir.path(), &mut plans);
        expect_fault(name, words, decode_log(dir.path()));
    }
}

/// The tail of an unsealed segment: headers first, then guards.
#[test]
fn the_open_block_is_decided_by_guards() {
    let plan = Plan {
        index: 0,
        capacity: 16,
        created_ts_ns: 77,
        closed_ts_ns: 0,
        blocks: vec![256; 3],
        open_events: 100,
        first_event_id: 1,
        guards: true,
        link: None,
    };
    let decode = |bytes: &[u8]| -> Result<Log, String> {
        let dir = TempDir::new("open");
        write_file(&dir.path().join("FS.00000000.wal"), bytes);
        decode_log(dir.path())
    };
    let bytes = plan.encode();
    let log = decode(&bytes).unwrap();
    check_formula(&log.events, 1, 868).unwrap();
    assert_eq!(log.segments[0].first_dirty_byte, None);
    // A torn event ends the block there; what stands behind it is not taken.
    let mut torn = bytes.clone();
    torn[slot_offset(800)] ^= 1;
    let log = decode(&torn).unwrap();
    check_formula(&log.events, 1, 800).unwrap();
    assert_eq!(log.segments[0].first_dirty_byte, Some(slot_offset(800)));
    // A guard holds in its own slot only, and below its own creation time only.
    let mut moved = bytes.clone();
    let event = moved[slot_offset(867)..slot_offset(867) + 64].to_vec();
    moved[slot_offset(868)..slot_offset(868) + 64].copy_from_slice(&event);
    event::EVENT_ID.put(&mut moved[slot_offset(868)..], 869);
    check_formula(&decode(&moved).unwrap().events, 1, 868).unwrap();
    let mut stale = bytes.clone();
    segment_header::CREATED_TS_NS.put(&mut stale, 78);
    repair_segment_header(&mut stale);
    check_formula(&decode(&stale).unwrap().events, 1, 768).unwrap();
    // A finalized header whose events are half there: its guards decide.
    let mut half = Plan { blocks: vec![256; 4], open_events: 0, ..plan.clone() }.encode();
    half[slot_offset(968)..block_offset(4)].fill(0);
    let log = decode(&half).unwrap();
    check_formula(&log.events, 1, 968).unwrap();
    assert!(log.segments[0].torn.is_some());
    // Full blocks whose headers are not written yet: the flusher finalizes behind the appender.
    let behind = Plan { blocks: vec![256; 2], open_events: 0, ..plan.clone() };
    let mut bytes = behind.encode();
    for slot in 512..900 {
        put_event(&mut bytes, slot, &golden_event(slot as u64 + 1));
        behind.put_guard(&mut bytes, slot);
    }
    check_formula(&decode(&bytes).unwrap().events, 1, 900).unwrap();
    bytes[slot_offset(600)] ^= 1;
    check_formula(&decode(&bytes).unwrap().events, 1, 600).unwrap();
    // A partial block that was taken up again: the header proves 44, guards the rest.
    let resumed = Plan { blocks: vec![256, 256, 44], open_events: 0, ..plan.clone() };
    let mut bytes = resumed.encode();
    for slot in 556..700 {
        put_event(&mut bytes, slot, &golden_event(slot as u64 + 1));
        resumed.put_guard(&mut bytes, slot);
    }
    check_formula(&decode(&bytes).unwrap().events, 1, 700).unwrap();
}

/// A hole with something valid more than one write cycle above it is no torn tail.
#[test]
fn a_hole_far_below_valid_bytes_is_corruption() {
    let plan = Plan {
        index: 0,
        capacity: 400,
        created_ts_ns: 77,
        closed_ts_ns: 0,
        blocks: vec![256; 300],
        open_events: 0,
        first_event_id: 1,
        guards: true,
        link: None,
    };
    let dir = TempDir::new("hole");
    let path = dir.path().join("FS.00000000.wal");
    let mut bytes = plan.encode();
    bytes[block_offset(10)..block_offset(11)].fill(0);
    write_file(&path, &bytes);
    expect_fault("hole", "more than 4 MiB", decode_log(dir.path()));
    bytes[block_offset(200)..].fill(0);
    write_file(&path, &bytes);
    check_formula(&decode_log(dir.path()).unwrap().events, 1, 2560).unwrap();
}

/// Rules of what walrec writes, each broken alone in a log that is readable.
#[test]
fn each_rule_of_walrecs_own_logs_rejects_what_breaks_only_it() {
    type Make = fn(&Path, &mut Vec<Plan>);
    let rewrite: fn(&Path, &[Plan]) = |dir, plans| write_log(dir, plans);
    let controls: &[(&str, Make, &str)] = &[
        ("no guards", |_, plans| plans[1].guards = false, "flag bit 0 (guards)"),
        ("no link", |_, plans| plans[1].link = None, "flag bit 1 (link)"),
        ("created_ts_ns repeated", |_, plans| plans[2].created_ts_ns = plans[1].created_ts_ns, "created_ts_ns"),
        ("created_ts_ns 0", |_, plans| plans[0].created_ts_ns = 0, "created_ts_ns: expected not 0"),
        ("closed when created", |_, plans| plans[2].closed_ts_ns = plans[2].created_ts_ns, "closed_ts_ns"),
        ("15 blocks", |_, plans| plans[2].capacity = 15, "16..=131072"),
        (
            "partial block in the middle",
            |_, plans| plans[2].blocks = vec![256, 44, 256],
            "FS.00000002.wal: block 1, offset 16556: event_count: expected 256 in all but the last",
        ),
        ("no id", |dir, _| fs::remove_file(dir.join("walrec.id")).unwrap(), "walrec.id"),
        ("no stage line", |dir, _| fs::remove_file(dir.join("walrec.stage")).unwrap(), "walrec.stage"),
    ];
    for (name, change, words) in controls {
        let dir = TempDir::new("own-rule");
        let mut plans = three_segments();
        rewrite(dir.path(), &plans);
        change(dir.path(), &mut plans);
        let sidecars = ["walrec.id", "walrec.stage"].map(|file| dir.path().join(file).exists());
        if sidecars == [true, true] {
            // Later links follow what was changed before them.
            for place in 1..plans.len() {
                if plans[place].link.is_some() {
                    plans[place].link = Some(plans[place - 1].chained_checksum());
                }
            }
            rewrite(dir.path(), &plans);
        }
        let log = decode_log(dir.path()).unwrap_or_else(|why| panic!("{name}: {why}"));
        expect_fault(name, words, check_written_by_walrec(&log));
    }
}

#[test]
fn a_wrong_guard_in_a_finalized_block_is_found_in_walrecs_own_logs() {
    let dir = TempDir::new("guard");
    let plans = three_segments();
    write_log(dir.path(), &plans);
    let mut bytes = plans[2].encode();
    bytes[slot_offset(300) + 60] ^= 1;
    repair_blocks(&mut bytes, 3);
    repair_counts(&mut bytes, 3);
    repair_segment_header(&mut bytes);
    write_file(&dir.path().join("FS.00000002.wal"), &bytes);
    // "Guards are not looked at in a valid finalized block": readable, but not what walrec writes.
    let log = decode_log(dir.path()).unwrap();
    expect_fault("guard", "guard of event 8493 in slot 300", check_written_by_walrec(&log));
}

/// "A block is valid iff" does not name these bytes: readable, but not what walrec writes.
#[test]
fn unused_bytes_of_a_block_header_are_zero_in_walrecs_own_logs() {
    let controls: &[Control<[u8; BLOCK_HEADER_BYTES]>] = &[
        ("link elsewhere", |h| block_header::FLAGS.put(h, 3), "block 5, offset 82350: flag bit 1 outside block 0"),
        ("reserved", |h| block_header::RESERVED.put(h, 1 << 40), "block 5, offset 82360: unused bytes (reserved)"),
        ("link without its flag", |h| block_header::LINK.put(h, 1), "block 5, offset 82352: unused bytes (link)"),
    ];
    for (name, change, words) in controls {
        let dir = TempDir::new("unused");
        let plans = three_segments();
        write_log(dir.path(), &plans);
        let mut bytes = plans[1].encode();
        change(bytes[block_offset(5)..].first_chunk_mut().unwrap());
        repair_block_header(&mut bytes, 5);
        write_file(&dir.path().join("FS.00000001.wal"), &bytes);
        let log = decode_log(dir.path()).unwrap_or_else(|why| panic!("{name}: {why}"));
        expect_fault(name, words, check_written_by_walrec(&log));
    }
}

/// Rules of a clean close, each broken alone.
#[test]
fn each_rule_of_a_clean_close_rejects_what_breaks_only_it() {
    type Make = fn(&Path, &mut Vec<Plan>);
    let controls: &[(&str, Make, &str)] = &[
        (
            "unsealed",
            |dir, plans| {
                plans[2].closed_ts_ns = 0;
                write_log(dir, plans);
            },
            "closed_ts_ns after a clean close",
        ),
        (
            "empty segment",
            |dir, plans| {
                let link = plans[2].chained_checksum();
                let empty = Plan {
                    index: 3,
                    created_ts_ns: 2000,
                    closed_ts_ns: 2001,
                    blocks: vec![],
                    link: Some(link),
                    ..plans[2].clone()
                };
                write_file(&dir.join("FS.00000003.wal"), &empty.encode());
            },
            "event_count after a clean close",
        ),
        (
            "padded file",
            |dir, plans| {
                let mut bytes = plans[2].encode();
                bytes.resize(bytes.len().next_multiple_of(4096), 0);
                write_file(&dir.join("FS.00000002.wal"), &bytes);
            },
            "file size after a clean close",
        ),
        (
            "dirty tail",
            |dir, plans| {
                let mut bytes = plans[2].encode();
                bytes[block_offset(9) + 5] = 1;
                write_file(&dir.join("FS.00000002.wal"), &bytes);
            },
            "segment header, offset 148101: bytes behind the last event",
        ),
        ("leftover", |dir, _| write_file(&dir.join("FS.00000003.new"), b""), "leftover"),
        ("leftover meta", |dir, _| write_file(&dir.join("wal_meta.dat.tmp"), b""), "leftover"),
        ("no meta", |dir, _| fs::remove_file(dir.join("wal_meta.dat")).unwrap(), "wal_meta.dat"),
        ("short meta", |dir, _| write_file(&dir.join("wal_meta.dat"), &[0; 15]), "wal_meta.dat"),
        ("old meta", |dir, _| encode::write_sidecars(dir, 2, 64, 8748), "wal_meta.dat"),
        (
            "state open",
            |dir, _| {
                let line = fs::read_to_string(dir.join("walrec.stage")).unwrap().replace("closed", "open");
                write_file(&dir.join("walrec.stage"), line.as_bytes());
            },
            "expected closed, actual open",
        ),
        ("stage there", |dir, _| fs::create_dir(dir.join("no such stage")).unwrap(), "expected removed"),
    ];
    for (name, change, words) in controls {
        let dir = TempDir::new("close-rule");
        let mut plans = three_segments();
        write_log(dir.path(), &plans);
        change(dir.path(), &mut plans);
        let log = decode_log(dir.path()).unwrap_or_else(|why| panic!("{name}: {why}"));
        check_written_by_walrec(&log).unwrap_or_else(|why| panic!("{name}: {why}"));
        expect_fault(name, words, check_closed(&log));
        if *name == "padded file" {
            check_closed_after(&log, History { cut: &[], killed: true }).unwrap();
        }
        if *name == "dirty tail" {
            check_closed_after(&log, History { cut: &[2], killed: false }).unwrap();
        }
    }
}
