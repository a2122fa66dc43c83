//! Sound bytes in wrong places: blocks and segments swapped, duplicated, sent astray, and older ones come back. Every checksum holds; only
//! places, chains, links and ids can tell.

use std::sync::Arc;

use crate::decoder::id_of;
use crate::decoder::segment::{BLOCK_BYTES, block_offset};
use crate::encode::Plan;
use crate::examine::{Found, Truth, examine};
use crate::logs::{FileMap, SoundLog, frozen, many_frames, open_tail, sealed, unguarded};
use crate::memory::keep_freed_memory;

fn look(log: &SoundLog, files: &FileMap, what: &str) -> Found {
    let found = examine(&log.with_files(files), Truth::of(&|event| log.holds(event)));
    found.unwrap_or_else(|why| panic!("{}: {what}: {why}", log.name))
}

/// The strict reader objects, and has given nothing but the log's events from the first on.
fn detected(log: &SoundLog, files: &FileMap, what: &str) {
    let found = look(log, files, what);
    assert!(!found.is_sound(), "{}: {what}: nothing objects", log.name);
    // Where the front was taken away, as retention does, the log begins later.
    let first = found.strict.events.first().map_or(1, id_of);
    assert!(first == 1 || !files.contains_key("FS.00000000.wal"), "{}: {what}: begins with event {first}", log.name);
    for (id, event) in (first..).zip(&found.strict.events) {
        assert_eq!(id_of(event), id, "{}: {what}: an event at a wrong place", log.name);
    }
}

fn put(files: &mut FileMap, name: &str, bytes: Vec<u8>) {
    files.insert(name.to_owned(), Arc::new(bytes));
}

#[test]
fn blocks_swapped_duplicated_and_sent_astray() {
    keep_freed_memory();
    let mut count = 0;
    for log in [sealed(), unguarded()] {
        let segments: Vec<(&Plan, &str, &Arc<Vec<u8>>)> = log.segments().collect();
        for (plan, name, bytes) in &segments {
            for block in 0..plan.blocks.len() {
                let place = block_offset(block)..block_offset(block) + BLOCK_BYTES;
                for (other_plan, other_name, other) in &segments {
                    for from in 0..other_plan.blocks.len() {
                        if (name, block) == (other_name, from) {
                            continue;
                        }
                        let what = format!("block {from} of {other_name} over block {block} of {name}");
                        let source = block_offset(from)..block_offset(from) + BLOCK_BYTES;
                        let mut files = log.files.clone();
                        let mut changed = bytes.to_vec();
                        changed[place.clone()].copy_from_slice(&other[source.clone()]);
                        if name == other_name {
                            let mut swapped = changed.clone();
                            swapped[source].copy_from_slice(&bytes[place.clone()]);
                            put(&mut files, name, swapped);
                            detected(&log, &files, &format!("swapped: {what}"));
                            count += 1;
                        }
                        put(&mut files, name, changed);
                        detected(&log, &files, &what);
                        count += 1;
                    }
                }
            }
        }
    }
    eprintln!("FIGURE blocks swapped, duplicated or misdirected: {count}, {count} detected");
}

#[test]
fn segments_swapped_duplicated_and_renamed() {
    keep_freed_memory();
    let mut count = 0;
    for log in [sealed(), unguarded(), open_tail(), frozen()] {
        let names: Vec<String> = log.segments().map(|(_, name, _)| name.to_owned()).collect();
        for one in &names {
            for other in &names {
                if one != other {
                    let mut files = log.files.clone();
                    put(&mut files, one, log.files[other].to_vec());
                    detected(&log, &files, &format!("{other} copied over {one}"));
                    put(&mut files, other, log.files[one].to_vec());
                    detected(&log, &files, &format!("{one} and {other} swapped"));
                    count += 2;
                }
            }
            // Under an index of its own, behind the log, at the edge of all indices, and with the other form's name.
            for to in ["FS.00000003.wal", "FS.00000009.wal", "FS.4294967295.wal", "FS.00000003.wal.lz4"] {
                let mut files = log.files.clone();
                put(&mut files, to, log.files[one].to_vec());
                detected(&log, &files, &format!("{one} copied to {to}"));
                files.remove(one);
                detected(&log, &files, &format!("{one} renamed to {to}"));
                count += 2;
            }
        }
    }
    eprintln!("FIGURE whole segments swapped, copied or renamed: {count}, {count} detected");
}

/// A segment of an older state of the same log, sound in itself.
#[test]
fn older_segments_that_come_back() {
    keep_freed_memory();
    let log = sealed();
    for (plan, name, _) in log.segments() {
        let mut older = plan.clone();
        // It was closed with fewer events, and written on later.
        *older.blocks.last_mut().unwrap() -= 1;
        let mut files = log.files.clone();
        put(&mut files, name, older.encode());
        detected(&log, &files, &format!("an older {name}"));
        put(&mut files, name, Plan { closed_ts_ns: 0, ..older.clone() }.encode());
        detected(&log, &files, &format!("an older {name}, not sealed"));
        files.remove(name);
        put(&mut files, &format!("{name}.lz4"), many_frames(&older.encode(), older.blocks.len()));
        detected(&log, &files, &format!("an older {name}, frozen"));
    }
}

/// Both forms of a segment: the one that verifies counts, whichever it is; neither is corruption.
#[test]
fn both_forms_of_a_segment() {
    keep_freed_memory();
    let log = sealed();
    let (plan, name, bytes) = log.segments().nth(1).unwrap();
    let frozen = many_frames(bytes, plan.blocks.len());
    let mut torn = bytes.to_vec();
    torn[block_offset(0) + 70] ^= 1;
    let torn_frozen = frozen[..frozen.len() - 1].to_vec();
    for (hot, cold, sound) in [
        (bytes.to_vec(), frozen.clone(), true),
        (bytes.to_vec(), torn_frozen.clone(), true),
        (torn.clone(), frozen.clone(), true),
        (vec![], frozen.clone(), true),
        (torn, torn_frozen, false),
    ] {
        let mut files = log.files.clone();
        put(&mut files, name, hot);
        put(&mut files, &format!("{name}.lz4"), cold);
        let found = look(&log, &files, "both forms");
        assert_eq!(found.is_sound(), sound, "{found:?}");
        assert!(!sound || found.strict.events.len() as u64 == log.last_event_id);
    }
}

/// The last index there is: the log is read to its end, and takes no more segments.
#[test]
fn the_last_index() {
    let plan = Plan { index: u32::MAX, first_event_id: 1, link: None, ..sealed().plans[1].clone() };
    let last = plan.next_event_id() - 1;
    let log = sealed();
    let mut files = FileMap::new();
    put(&mut files, "FS.4294967295.wal", plan.encode());
    files.insert("walrec.id".into(), Arc::clone(&log.files["walrec.id"]));
    let found = examine(&crate::logs::machine_of(&files), Truth::of(&|event| log.holds(event)));
    let found = found.unwrap_or_else(|why| panic!("{why}"));
    assert!(found.strict.error.is_none() && found.strict.events.len() as u64 == last, "{found:?}");
}
