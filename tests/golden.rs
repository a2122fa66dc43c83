//! The golden logs: FlashStrike's own files, read by the independent decoder, replayed, continued, and continued again
//! after a clean close and after a kill. Every event is compared byte by byte with the formula of `golden/README.md`.

#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

mod decoder;
#[path = "decoder/with_library.rs"]
mod with_library;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use decoder::segment::{BLOCK_HEADER_BYTES, EVENT_BYTES, block_offset};
use decoder::support::{
    GOLDEN, Random, check_formula, copy_golden, files_of, fingerprint, golden_dir, golden_last, write_file,
};
use decoder::{History, Stored, check_closed, check_closed_after, check_written_after, decode_log};
use walrec::recorder::{self, Config};
use walrec::recovery;
use with_library::{append, bytes_of, keep_all, open, replay, replay_all, sync};

/// Events that each continuation appends.
const MORE: u64 = 5_000;
/// Names the log directory to a child of this test binary that is going to be killed.
const CHILD_DIR: &str = "WALREC_TEST_CHILD_DIR";
/// Events after which the child only waits; without it the child goes on until it is killed.
const CHILD_STOPS_AFTER: &str = "WALREC_TEST_CHILD_STOPS_AFTER";
/// Most events of a child that goes on.
const CHILD_LIMIT: u64 = 60_000;

/// The two ways in which a log is continued: with the geometry that it has, and with the library's defaults.
fn configurations() -> [(&'static str, Config); 2] {
    [("16 blocks", keep_all(16)), ("defaults", Config::default())]
}

#[test]
fn decoder_reads_every_golden_log_to_its_last_event() {
    for name in GOLDEN {
        let copy = copy_golden(name);
        let log = decode_log(copy.path()).unwrap();
        check_formula(&log.events, 1, golden_last(name)).unwrap();
        let frozen = log.segments.iter().filter(|segment| segment.stored == Stored::FrozenInOneFrame).count();
        assert_eq!(frozen, usize::from(name == "frozen_6000"), "{name}");
        assert!(log.segments.iter().all(|segment| segment.first_dirty_byte.is_none()), "{name}: dirty tail");
    }
}

/// The last id is the same before a recorder touched the log: 6,912 in `crashed_7000` as well.
#[test]
fn replay_gives_every_golden_event_before_any_recorder_touched_the_log() {
    let mut random = Random::new("replay_gives_every_golden_event");
    for name in GOLDEN {
        let copy = copy_golden(name);
        let last = golden_last(name);
        let before = fingerprint(copy.path());
        check_formula(&replay_all(copy.path()), 1, last).unwrap_or_else(|why| panic!("{name}: {why}"));

        let mut reader = recovery::Manager::open(copy.path(), 0).unwrap();
        let mut one_by_one = Vec::new();
        while let Some(event) = reader.next().unwrap() {
            one_by_one.push(bytes_of(&event));
        }
        check_formula(&one_by_one, 1, last).unwrap_or_else(|why| panic!("{name}: {why}"));

        let mut ids = vec![1, 2, 255, 256, 257, 299, 300, 4095, 4096, 4097, 8192, 8193, last - 1, last];
        ids.extend((0..50).map(|_| 1 + random.below(last)));
        for id in ids.into_iter().filter(|id| *id <= last) {
            reader.seek(id).unwrap_or_else(|why| panic!("{name}: seek {id}: {why}"));
            let event = reader.next().unwrap_or_else(|why| panic!("{name}: next at {id}: {why}"));
            check_formula(&[bytes_of(&event.unwrap())], id, id).unwrap_or_else(|why| panic!("{name}: {why}"));
            let (from_there, fault) = replay(copy.path(), id);
            assert_eq!(fault, None, "{name}: from {id}");
            check_formula(&from_there, id, last).unwrap_or_else(|why| panic!("{name}: from {id}: {why}"));
        }
        reader.seek(last + 1).unwrap();
        assert_eq!(reader.next().unwrap(), None, "{name}: an event after the last");
        drop(reader);
        assert_eq!(fingerprint(copy.path()), before, "{name}: reading changed the directory");
    }
}

/// The block headers and events that FlashStrike wrote stand where they stood, byte by byte; a frozen file whole.
fn check_golden_bytes(name: &str, dir: &Path) {
    let golden = decode_log(&golden_dir(name)).unwrap();
    for segment in &golden.segments {
        let before = fs::read(golden_dir(name).join(&segment.name)).unwrap();
        if segment.frozen() {
            assert!(fs::read(dir.join(&segment.name)).unwrap() == before, "{name}: {} changed", segment.name);
            continue;
        }
        if segment.blocks.is_empty() {
            continue; // prepared by FlashStrike, never used
        }
        let after = fs::read(dir.join(&segment.name)).unwrap();
        for block in &segment.blocks {
            let start = block_offset(block.index);
            let used = start..start + BLOCK_HEADER_BYTES + block.events.len() * EVENT_BYTES;
            assert!(after[used.clone()] == before[used], "{name}: {} block {} changed", segment.name, block.index);
        }
    }
}

/// After a clean close: replay, decoder, every rule of the document, and the first files' own bytes.
fn check_continued(name: &str, dir: &Path, last: u64, killed: bool) {
    let foreign_last = golden_last(name);
    let result = || {
        check_formula(&replay_all(dir), 1, last).map_err(|why| format!("replay: {why}"))?;
        let log = decode_log(dir)?;
        check_formula(&log.events, 1, last).map_err(|why| format!("decoder: {why}"))?;
        check_written_after(&log, foreign_last)?;
        check_closed_after(&log, History { cut: &[], killed })
    };
    result().unwrap_or_else(|why: String| panic!("{name} continued to {last}: {why}\n{}", dir.display()));
    check_golden_bytes(name, dir);
}

fn continue_and_close(name: &str, dir: &Path, config: &Config, last: u64) -> u64 {
    let (mut writer, manager) = open(dir, config);
    let report = manager.report();
    assert_eq!((report.first_event_id, report.last_event_id), (1, last), "{name}: open report");
    assert_eq!((manager.last_event_id(), manager.durable_event_id()), (last, last), "{name}: after open");
    append(&mut writer, last + 1..=last + MORE);
    sync(&manager, last + MORE);
    manager.shutdown().unwrap();
    assert_eq!(manager.last_event_id(), last + MORE);
    last + MORE
}

#[test]
fn golden_logs_are_continued_and_closed_three_times() {
    for name in GOLDEN {
        for (how, config) in configurations() {
            let copy = copy_golden(name);
            let mut last = golden_last(name);
            for round in 1..=3 {
                eprintln!("{name}, {how}, round {round}");
                last = continue_and_close(name, copy.path(), &config, last);
                check_continued(name, copy.path(), last, false);
            }
        }
    }
}

/// A golden log may be continued under one geometry and then under the other.
#[test]
fn golden_logs_are_continued_under_changing_geometry() {
    for name in GOLDEN {
        let copy = copy_golden(name);
        let mut last = golden_last(name);
        for num_blocks in [512, 16, 17, 16] {
            last = continue_and_close(name, copy.path(), &keep_all(num_blocks), last);
            check_continued(name, copy.path(), last, false);
        }
    }
}

/// Not a test of its own: the child of the next two. It reports what it appended, and is killed.
#[test]
fn child_that_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let stops_after: Option<u64> = std::env::var(CHILD_STOPS_AFTER).ok().map(|text| text.parse().unwrap());
    let (mut writer, manager) = open(Path::new(&dir), &keep_all(16));
    let last = manager.last_event_id();
    let end = last + stops_after.unwrap_or(CHILD_LIMIT);
    for id in last + 1..=end {
        append(&mut writer, [id]);
        if id % 97 == 0 || id == end {
            writeln!(std::io::stdout(), "\nappended {id}").unwrap();
        }
    }
    loop {
        std::thread::park();
    }
}

/// Runs the child, kills it once it has reported `kill_at`, and gives the last id that it reported.
fn kill_after(dir: &Path, kill_at: u64, stops_after: Option<u64>) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child_that_is_killed", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(CHILD_DIR, dir).stdout(Stdio::piped());
    if let Some(count) = stops_after {
        command.env(CHILD_STOPS_AFTER, count.to_string());
    }
    let mut child = command.spawn().unwrap();
    let mut reported = 0;
    let mut killed = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // A line that the kill cut short has fewer digits than it should: it only lowers what is demanded.
        if let Some(id) = line.strip_prefix("appended ").and_then(|id| id.parse::<u64>().ok()) {
            reported = reported.max(id);
            if reported >= kill_at && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
    }
    let status = child.wait().unwrap();
    assert!(killed, "the child ended by itself, after event {reported}: {status}");
    reported
}

/// Killed while it appends: what was reported is there, without a gap, byte by byte; twice, then continued.
#[test]
fn golden_logs_survive_a_kill_in_the_middle_of_appending() {
    let mut random = Random::new("golden_logs_survive_a_kill");
    let mut only_in_the_stage = 0;
    for name in GOLDEN {
        let copy = copy_golden(name);
        let mut last = golden_last(name);
        for _ in 0..2 {
            let reported = kill_after(copy.path(), last + 1 + random.below(CHILD_LIMIT - 100), None);
            // The files alone hold a prefix, a torn tail at the most behind it.
            let files = decode_log(copy.path()).unwrap_or_else(|why| panic!("{name} after the kill: {why}"));
            assert!(files.last_event_id() >= last, "{name}: {} in the files", files.last_event_id());
            check_formula(&files.events, 1, files.last_event_id()).unwrap();
            let (writer, manager) = open(copy.path(), &keep_all(16));
            let recovered = manager.last_event_id();
            eprintln!(
                "{name}: reported {reported}, recovered {recovered}, {} of them from the stage",
                manager.report().events_from_stage
            );
            assert!(recovered >= reported, "{name}: lost {recovered}..={reported}");
            assert_eq!(manager.durable_event_id(), recovered, "{name}: recovered is durable");
            assert_eq!(recovered - files.last_event_id(), manager.report().events_from_stage, "{name}");
            only_in_the_stage += manager.report().events_from_stage;
            manager.shutdown().unwrap();
            drop((writer, manager));
            check_continued(name, copy.path(), recovered, true);
            last = recovered;
        }
        last = continue_and_close(name, copy.path(), &keep_all(16), last);
        check_continued(name, copy.path(), last, true);
    }
    assert!(only_in_the_stage > 0, "every killed event was in the files already: the kill proved nothing");
}

/// Killed right behind its last append: exactly these events are there, and the log is continued without a close between.
#[test]
fn golden_logs_hold_exactly_what_was_appended_before_a_kill() {
    for name in GOLDEN {
        let copy = copy_golden(name);
        let mut last = golden_last(name);
        for more in [1, 255, 4096, MORE] {
            kill_after(copy.path(), last + more, Some(more));
            last += more;
        }
        last = continue_and_close(name, copy.path(), &keep_all(16), last);
        check_continued(name, copy.path(), last, true);
    }
}

#[test]
fn a_missing_meta_leftovers_and_foreign_files_are_fine() {
    for name in GOLDEN {
        let copy = copy_golden(name);
        fs::remove_file(copy.path().join("wal_meta.dat")).unwrap();
        let leftovers = ["FS.00000003.new", "FS.00000001.lz4.tmp", "FS.00000000.del", "wal_meta.dat.tmp"];
        for leftover in leftovers {
            write_file(&copy.path().join(leftover), b"half a file");
        }
        let foreign = ["notes.txt", "FS.1.wal", "FS.00000000.wal.bak"];
        for file in foreign {
            write_file(&copy.path().join(file), file.as_bytes());
        }
        check_formula(&replay_all(copy.path()), 1, golden_last(name)).unwrap();
        let (writer, manager) = open(copy.path(), &keep_all(16));
        assert_eq!(manager.report().foreign_files, 3, "{name}");
        // Prepared segments are made under `.new`, so only those of other indexes are looked for.
        for leftover in &leftovers[1..] {
            let path = copy.path().join(leftover);
            assert!(!path.exists() || *leftover == "wal_meta.dat.tmp", "{name}: {leftover} is still there");
        }
        manager.shutdown().unwrap();
        drop((writer, manager));
        for file in foreign {
            let path = copy.path().join(file);
            assert_eq!(fs::read(&path).unwrap(), file.as_bytes(), "{name}: {file} was touched");
        }
        let last = continue_and_close(name, copy.path(), &keep_all(16), golden_last(name));
        check_continued(name, copy.path(), last, false);
    }
}

fn expect_refused(dir: &Path, words: &[&str]) {
    let before = fingerprint(dir);
    for (how, config) in configurations() {
        match recorder::open(dir, &config) {
            Ok(_) => panic!("{how}: opened"),
            Err(why) => check_corrupt(&why.to_string(), &format!("{why:?}"), words),
        }
        assert_eq!(fingerprint(dir), before, "{how}: a refused open changed the directory");
    }
}

/// The error is of the kind "corrupt", and its text names what it must.
fn check_corrupt(text: &str, debug: &str, words: &[&str]) {
    assert!(debug.starts_with("Corrupt"), "another kind of error: {debug}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

#[test]
fn a_segment_missing_from_the_middle_is_corruption_and_nothing_is_changed() {
    let copy = copy_golden("clean_12288");
    fs::remove_file(copy.path().join("FS.00000001.wal")).unwrap();
    expect_refused(copy.path(), &["FS.00000001"]);
    let before = fingerprint(copy.path());
    let (events, fault) = replay(copy.path(), 0);
    check_formula(&events, 1, events.len() as u64).unwrap();
    assert!(events.len() <= 4096, "{} events from the other side of the gap", events.len());
    assert!(fault.is_some(), "the gap was passed in silence");
    assert_eq!(fingerprint(copy.path()), before);
}

#[test]
fn a_segment_missing_below_the_durable_position_is_corruption_and_nothing_is_changed() {
    let copy = copy_golden("clean_12288");
    fs::remove_file(copy.path().join("FS.00000002.wal")).unwrap();
    expect_refused(copy.path(), &["12288"]);
}

/// Older segments may have been retired: the log then begins where its oldest segment does.
#[test]
fn a_log_may_begin_above_segment_0() {
    let copy = copy_golden("clean_12288");
    fs::remove_file(copy.path().join("FS.00000000.wal")).unwrap();
    check_formula(&replay_all(copy.path()), 4097, 12288).unwrap();
    let (events, fault) = replay(copy.path(), 1);
    assert!(events.is_empty() && fault.is_some(), "event 1 is not there, and that must be said");
    let (mut writer, manager) = open(copy.path(), &keep_all(16));
    assert_eq!((manager.report().first_event_id, manager.report().last_event_id), (4097, 12288));
    append(&mut writer, 12289..=14_000);
    manager.shutdown().unwrap();
    drop((writer, manager));
    check_formula(&replay_all(copy.path()), 4097, 14_000).unwrap();
    let log = decode_log(copy.path()).unwrap();
    check_written_after(&log, 12288).unwrap();
    check_closed(&log).unwrap();
}

/// One bit, in the middle segment: everything before its block is delivered, then the place is named, and again.
#[test]
fn a_flipped_bit_in_a_sealed_segment_stops_a_strict_replay_at_its_block() {
    let mut random = Random::new("a_flipped_bit_in_a_sealed_segment");
    let copy = copy_golden("clean_12288");
    let path = copy.path().join("FS.00000001.wal");
    let good = fs::read(&path).unwrap();
    for _ in 0..60 {
        let block = usize::try_from(random.below(16)).unwrap();
        let place = usize::try_from(random.below(decoder::segment::BLOCK_BYTES as u64)).unwrap();
        let offset = block_offset(block) + place;
        let bit = random.below(8);
        let mut bad = good.clone();
        bad[offset] ^= 1 << bit;
        fs::write(&path, &bad).unwrap();
        let what = format!("block {block}, byte {place} of it, bit {bit}");
        let (events, fault) = replay(copy.path(), 0);
        let fault = fault.unwrap_or_else(|| panic!("{what}: not seen"));
        check_formula(&events, 1, 4096 + 256 * block as u64).unwrap_or_else(|why| panic!("{what}: {why}"));
        for word in ["FS.00000001.wal".to_owned(), format!("block {block}"), "offset".to_owned()] {
            assert!(fault.contains(&word), "{what}: {word:?} is missing in: {fault}");
        }
        // The error stays: nothing from above the bad block follows it.
        let mut reader = recovery::Manager::open(copy.path(), 0).unwrap();
        let mut delivered = 0_usize;
        let mut errors = 0;
        while errors < 2 {
            match reader.next() {
                Ok(Some(_)) => delivered += 1,
                Ok(None) => panic!("{what}: an end where there is an error"),
                Err(why) => {
                    check_corrupt(&why.to_string(), &format!("{why:?}"), &[]);
                    errors += 1;
                }
            }
        }
        assert_eq!(delivered, events.len(), "{what}");
    }
}

/// The same in the sealed header and in a frozen segment: nothing of that segment is trusted beyond what verifies.
#[test]
fn a_flipped_bit_in_a_header_or_in_a_frozen_segment_stops_a_strict_replay() {
    let copy = copy_golden("clean_12288");
    let path = copy.path().join("FS.00000001.wal");
    let good = fs::read(&path).unwrap();
    for place in 0..64 {
        let mut bad = good.clone();
        bad[place] ^= 0x04;
        fs::write(&path, &bad).unwrap();
        let (events, fault) = replay(copy.path(), 0);
        let fault = fault.unwrap_or_else(|| panic!("header byte {place}: not seen"));
        check_formula(&events, 1, 4096).unwrap_or_else(|why| panic!("header byte {place}: {why}"));
        assert!(fault.contains("FS.00000001.wal"), "{fault}");
    }
    let copy = copy_golden("frozen_6000");
    let path = copy.path().join("FS.00000000.wal.lz4");
    let good = fs::read(&path).unwrap();
    let mut random = Random::new("a_flipped_bit_in_a_frozen_segment");
    for _ in 0..100 {
        let place = usize::try_from(random.below(good.len() as u64)).unwrap();
        let mut bad = good.clone();
        bad[place] ^= 1 << random.below(8);
        fs::write(&path, &bad).unwrap();
        let (events, fault) = replay(copy.path(), 0);
        // A change that leaves the content as it is may be read. (The C library also takes a match offset of 0, which the
        // LZ4 format forbids: there walrec may refuse what the decoder reads.)
        let expected = if fault.is_some() { events.len() as u64 } else { 6000 };
        check_formula(&events, 1, expected).unwrap_or_else(|why| panic!("byte {place}: {why}"));
        match decode_log(copy.path()) {
            Ok(log) => check_formula(&log.events, 1, 6000).unwrap_or_else(|why| panic!("byte {place}: {why}")),
            Err(why) => assert!(fault.is_some(), "byte {place}: the decoder objects, walrec does not: {why}"),
        }
    }
}

/// The tree's copy is complete: a fresh clone has every golden file, and none of them is ever written.
#[test]
fn golden_files_are_those_of_their_readme() {
    let root = golden_dir("");
    let names: Vec<String> = files_of(&root).into_keys().map(|path| path.to_string_lossy().into_owned()).collect();
    assert_eq!(names.len(), 1 + 4 + 3 + 5 + 4 + 5, "{names:?}");
    for name in GOLDEN {
        assert!(names.contains(&format!("{name}/LAST")) && names.contains(&format!("{name}/wal_meta.dat")));
    }
}
