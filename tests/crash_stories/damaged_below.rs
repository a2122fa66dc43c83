//! Closed segments that do not hold. An opening does not read them and leaves them as they are; a salvage sets them aside, so that an
//! engine that replays strictly starts again, with every event of the other segments.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use walrec::format::{
    BLOCK_HEADER_BYTES, BlockHeader, Geometry, HeaderVerdict, SEGMENT_HEADER_BYTES, SegmentHeader, judge_header,
};
use walrec::recorder::{Config, Error, OpenFlags};
use walrec::storage::simulated::SimulatedSystem;

use super::machine::{CAPACITY, LOG, Recorder, event, first_seed, listening, read, read_whole, same};

const PRICE: i64 = 9;
/// Segments: 0 to 3 frozen, 4 and 5 sealed, 6 the last one.
const SEGMENTS: u32 = 7;
const LAST: u64 = 6 * CAPACITY + 700;

fn config() -> Config {
    Config { max_segments: 3, max_compressed_segments: u32::MAX, ..super::machine::config() }
}

fn salvage() -> Config {
    Config { salvage: true, ..config() }
}

fn file(index: u32) -> String {
    let ending = if index < 4 { ".lz4" } else { "" };
    format!("FS.{index:08}.wal{ending}")
}

fn ids(index: u32) -> RangeInclusive<u64> {
    u64::from(index) * CAPACITY + 1..=(u64::from(index + 1) * CAPACITY).min(LAST)
}

/// A log of seven segments; without `close` the recorder was killed, the last events are in its stage alone.
fn log(close: bool) -> SimulatedSystem {
    let machine = SimulatedSystem::new(first_seed());
    let mut recorder = Recorder::open_as(&machine, LOG, &config()).unwrap();
    for index in 0..SEGMENTS {
        let (first, last) = ids(index).into_inner();
        recorder.append(first..=last.min(LAST - 300), PRICE);
        recorder.settle();
    }
    recorder.append(LAST - 299..=LAST, PRICE);
    if close {
        recorder.close();
    } else {
        recorder.kill();
    }
    assert!((0..SEGMENTS).all(|index| machine.exists(format!("{LOG}/{}", file(index)))), "{:?}", machine.list(LOG));
    machine
}

fn change(machine: &SimulatedSystem, index: u32, how: impl FnOnce(&mut Vec<u8>)) {
    let path = format!("{LOG}/{}", file(index));
    let mut bytes = machine.read_file(&path).unwrap();
    how(&mut bytes);
    machine.write_file(&path, &bytes);
}

/// One byte of a `.wal`; of a compressed one some, as one may mean the same to the decoder.
fn damage(machine: &SimulatedSystem, index: u32) {
    let bytes = if index < 4 { 3_000..3_040 } else { 100_000..100_001 };
    change(machine, index, |file| file[bytes].iter_mut().for_each(|byte| *byte ^= 0x5a));
}

/// The first block of a `.wal` gets another header, whose own checksum holds.
fn forge_block_header(machine: &SimulatedSystem, index: u32, how: impl FnOnce(&mut BlockHeader)) {
    change(machine, index, |bytes| {
        let place = Geometry::block_offset(0)..Geometry::block_offset(0) + BLOCK_HEADER_BYTES;
        let mut header = BlockHeader::from_bytes(&bytes[place.clone()].try_into().unwrap()).unwrap();
        how(&mut header);
        bytes[place].copy_from_slice(&header.to_bytes());
    });
}

fn unseal(bytes: &mut [u8]) {
    let index = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
    let HeaderVerdict::Sealed(header) = judge_header(&bytes[..SEGMENT_HEADER_BYTES].try_into().unwrap(), index) else {
        panic!()
    };
    let header = SegmentHeader { seal: None, ..header };
    bytes[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.to_bytes());
}

/// Without the flag nothing is set aside, and a reader stops; with it the log is what the segments that hold have, now and later.
fn is_set_aside(story: &str, close: bool, damage: impl Fn(&SimulatedSystem), damaged: &[u32]) {
    let machine = log(close);
    damage(&machine);
    let is_whole = damaged.is_empty();
    let control = machine.snapshot().process_crash();
    let files = |machine: &SimulatedSystem| {
        damaged.iter().map(|&index| machine.read_file(format!("{LOG}/{}", file(index)))).collect::<Vec<_>>()
    };
    let before = files(&machine);
    if let Ok(recorder) = Recorder::open_as(&control, LOG, &config()) {
        assert_eq!((recorder.manager.report().quarantined, recorder.flags() & OpenFlags::SALVAGED), (0, 0), "{story}");
        recorder.close();
    }
    assert!(
        !control.exists(format!("{LOG}/quarantine")) && files(&control) == before,
        "{story}: changed without the flag"
    );
    assert_eq!(read(&control, LOG).1.is_none(), is_whole, "{story}: the control");

    let left: BTreeSet<u32> = (0..SEGMENTS).filter(|index| !damaged.contains(index)).collect();
    let (config, heard) = listening(salvage());
    let recorder = Recorder::open_as(&machine, LOG, &config).unwrap_or_else(|why| panic!("{story}: {why}"));
    let report = recorder.manager.report().clone();
    recorder.close();
    let quarantined = u32::try_from(damaged.len()).unwrap();
    assert_eq!((report.quarantined, report.failures.len()), (quarantined, damaged.len()), "{story}: {report:?}");
    let compressed = left.iter().filter(|&&index| index < 4).count();
    // A kill leaves prepared ones, which count too.
    assert!(report.segments as usize >= left.len() && (!close || report.segments as usize == left.len()), "{story}");
    assert_eq!(report.segments_compressed as usize, compressed, "{story}");
    let expected: Vec<u64> = left.iter().flat_map(|&index| ids(index)).collect();
    assert_eq!((report.first_event_id, report.last_event_id), (expected[0], *expected.last().unwrap()), "{story}");
    for (&index, bytes) in damaged.iter().zip(&before) {
        let kept = machine.read_file(format!("{LOG}/quarantine/{}", file(index)));
        assert!(kept == *bytes && !machine.exists(format!("{LOG}/{}", file(index))), "{story}: segment {index}");
        let told = heard
            .lock()
            .unwrap()
            .iter()
            .filter(|text| text.contains(&format!("salvage: {LOG}/{}", file(index))))
            .count();
        assert_eq!(told, 1, "{story}: {heard:?}");
    }
    for round in 0..2 {
        let events = read_whole(&machine, LOG, story);
        assert_eq!(events.iter().map(|event| event.event_id).collect::<Vec<_>>(), expected, "{story}");
        assert!(events.iter().all(|found| same(found, &event(found.event_id, PRICE))), "{story}");
        assert_eq!(report.flags & OpenFlags::SALVAGED != 0, !is_whole, "{story}: round {round}");
        let recorder = Recorder::open_as(&machine, LOG, &self::config()).unwrap_or_else(|why| panic!("{story}: {why}"));
        assert_eq!(recorder.flags() & OpenFlags::SALVAGED != 0, !is_whole, "{story}: round {round}");
        assert_eq!(recorder.manager.report().quarantined, quarantined, "{story}: round {round}");
        recorder.close();
    }
}

#[test]
fn a_damaged_byte_in_any_closed_segment() {
    for close in [true, false] {
        is_set_aside("none", close, |_| {}, &[]);
        for index in 0..SEGMENTS - 1 {
            let story = format!("a byte of segment {index}, closed {close}");
            is_set_aside(&story, close, |machine| damage(machine, index), &[index]);
        }
    }
    let all = |machine: &SimulatedSystem| (1..6).for_each(|index| damage(machine, index));
    is_set_aside("five segments", true, all, &[1, 2, 3, 4, 5]);
    is_set_aside("five segments, killed", false, all, &[1, 2, 3, 4, 5]);
}

#[test]
fn sound_segments_in_wrong_places() {
    let swap = |one: u32, other: u32| {
        move |machine: &SimulatedSystem| {
            let bytes = [one, other].map(|index| machine.read_file(format!("{LOG}/{}", file(index))).unwrap());
            change(machine, one, |file| file.clone_from(&bytes[1]));
            change(machine, other, |file| file.clone_from(&bytes[0]));
        }
    };
    is_set_aside("two sealed ones swapped", true, swap(4, 5), &[4, 5]);
    is_set_aside("two frozen ones swapped", false, swap(0, 2), &[0, 2]);
    let relink = |machine: &SimulatedSystem| forge_block_header(machine, 5, |header| header.link ^= 1);
    is_set_aside("a link that leads elsewhere", true, relink, &[5]);
    is_set_aside("a link that leads elsewhere, killed", false, relink, &[5]);
}

#[test]
fn a_segment_that_is_not_sealed_below_one_that_is() {
    let complete = |machine: &SimulatedSystem| change(machine, 4, |bytes| unseal(bytes));
    is_set_aside("complete as it stands", true, complete, &[]);
    let torn = |machine: &SimulatedSystem| {
        complete(machine);
        damage(machine, 4);
    };
    is_set_aside("not complete", true, torn, &[4]);
    // What follows it cannot say that it was to be complete: both are set aside only if both do not hold.
    let both = |machine: &SimulatedSystem| {
        torn(machine);
        damage(machine, 5);
    };
    is_set_aside("not complete, and the next one damaged", true, both, &[4, 5]);
}

#[test]
fn a_newer_block_in_a_closed_segment_is_no_damage() {
    let machine = log(true);
    forge_block_header(&machine, 4, |header| header.flags |= 0x8000);
    let before = machine.tree_hash("/");
    let refused = Recorder::open_as(&machine, LOG, &salvage()).err().unwrap();
    assert!(matches!(refused, Error::Newer { .. }), "{refused}");
    assert_eq!(machine.tree_hash("/"), before, "something was changed");
}
