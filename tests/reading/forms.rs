//! Segments that are there in both forms: the `.wal` if it is whole, else the `.wal.lz4` if that is, else corrupt.

use std::fs;
use std::path::Path;

use crate::decoder::fields::event as field;
use crate::decoder::segment::block_offset;
use crate::decoder::support::{Random, TempDir, check_formula, fingerprint, golden_event, write_file};
use crate::fixture::{Form, form_of, name_of, plans, write_mixed};
use crate::with_library::{bytes_of, replay};
use walrec::format::Reason;
use walrec::recovery::{Error, Item, Manager, Salvager, verify};

/// More than the 64 blocks that are read at once, or are in a frame.
const BLOCKS: usize = 70;
const EVENTS: u64 = BLOCKS as u64 * 256;
const FORMS: [Form; 4] = [Form::Hot; 4];
const LAST: u64 = 4 * EVENTS;

/// What can be wrong with a `.wal`.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// A bit at this offset.
    Bit(usize),
    /// Cut to so many bytes.
    Cut(usize),
    /// The header is that of an open segment.
    Unsealed,
}

const DAMAGES: [Damage; 13] = [
    Damage::Bit(1),
    Damage::Bit(33),
    Damage::Bit(block_offset(0) + 3),
    Damage::Bit(block_offset(0) + 64),
    Damage::Bit(block_offset(0) + 64 + 20),
    Damage::Bit(block_offset(17) + 30),
    Damage::Bit(block_offset(40) + 64 + 64 * 200 + 8),
    Damage::Bit(block_offset(63) + 42),
    Damage::Bit(block_offset(69) + 64 + 64 * 255 + 62),
    Damage::Cut(30),
    Damage::Cut(block_offset(66)),
    Damage::Cut(block_offset(69) + 700),
    Damage::Unsealed,
];

/// The bytes of a segment's `.wal`, damaged.
fn damaged(index: usize, damage: Damage) -> Vec<u8> {
    let plan = plans(&FORMS, BLOCKS)[index].clone();
    let mut bytes = plan.encode();
    match damage {
        Damage::Bit(offset) => bytes[offset] ^= 0x10,
        Damage::Cut(bytes_left) => bytes.truncate(bytes_left),
        Damage::Unsealed => {
            let open = crate::encode::Plan { closed_ts_ns: 0, ..plan }.encode();
            bytes[..64].copy_from_slice(&open[..64]);
        }
    }
    bytes
}

fn frozen(index: usize, form: Form) -> Vec<u8> {
    form_of(&plans(&FORMS, BLOCKS)[index].encode(), BLOCKS, form)
}

fn put(dir: &Path, index: usize, form: Form, bytes: &[u8]) {
    write_file(&dir.join(name_of(u32::try_from(index).unwrap(), form)), bytes);
}

/// Every event is given once, in order, byte for byte, by all ways of reading, and nothing is told to be wrong.
fn holds_whole(dir: &Path, what: &str) {
    let before = fingerprint(dir);
    let (events, fault) = replay(dir, 0);
    assert_eq!(fault, None, "{what}");
    check_formula(&events, 1, LAST).unwrap_or_else(|why| panic!("{what}: {why}"));
    let mut salvager = Salvager::open(dir, 0).unwrap();
    for id in 1..=LAST {
        match salvager.next().unwrap() {
            Item::Event(event) => assert_eq!(bytes_of(&event)[..60], golden_event(id)[..60], "{what}"),
            other => panic!("{what}: {other:?} instead of event {id}"),
        }
    }
    assert_eq!(salvager.next().unwrap(), Item::End, "{what}");
    let report = verify(dir).unwrap();
    assert!(report.fault.is_none(), "{what}: {:?}", report.fault);
    assert_eq!((report.events, report.segments), (LAST, 4), "{what}");
    assert_eq!(fingerprint(dir), before, "{what}: reading changed the log");
}

#[test]
fn a_damaged_wal_is_left_for_a_whole_frozen_form() {
    let mut random = Random::new("a_damaged_wal_is_left");
    for (round, damage) in DAMAGES.into_iter().enumerate() {
        // In turn the log's first and last one, one that is read ahead, and one that is not.
        for index in [round % 4, (round + 1) % 4] {
            let form = [Form::ManyFrames, Form::OneFrame][(round / 2 + index) % 2];
            let what = format!("{damage:?}, segment {index}, {form:?}");
            let dir = TempDir::new("both-forms");
            write_mixed(dir.path(), &FORMS, BLOCKS);
            put(dir.path(), index, Form::Hot, &damaged(index, damage));
            put(dir.path(), index, form, &frozen(index, form));
            holds_whole(dir.path(), &what);
            // Seeks that land in the segment, and at its borders.
            let mut reader = Manager::open(dir.path(), 0).unwrap();
            let first = index as u64 * EVENTS + 1;
            let inside = (0..6).map(|_| first + random.below(EVENTS)).collect::<Vec<_>>();
            for id in [first, first + 1, first + EVENTS - 1].into_iter().chain(inside) {
                for by_time in [false, true] {
                    if by_time {
                        reader.seek_time(field::TIMESTAMP_NS.of(&golden_event(id))).unwrap();
                    } else {
                        reader.seek(id).unwrap();
                    }
                    for id in id..LAST.min(id + 600) {
                        let event = reader.next().unwrap_or_else(|why| panic!("{what}: {why}")).unwrap();
                        assert_eq!(bytes_of(&event)[..60], golden_event(id)[..60], "{what}, by time: {by_time}");
                    }
                }
            }
            // Control: without the frozen form it is corrupt, after exactly the events before the damage.
            fs::remove_file(dir.path().join(name_of(u32::try_from(index).unwrap(), form))).unwrap();
            let (events, fault) = replay(dir.path(), 0);
            if matches!(damage, Damage::Unsealed) {
                check_formula(&events, 1, LAST).unwrap();
            } else {
                assert!(fault.is_some_and(|fault| !fault.contains("frozen form")), "{what}");
                check_formula(&events, 1, events.len() as u64).unwrap();
                assert!((events.len() as u64) < first - 1 + EVENTS, "{what}");
            }
        }
    }
}

#[test]
fn a_whole_wal_counts_whatever_the_frozen_form_is() {
    let dir = TempDir::new("both-forms-wal");
    write_mixed(dir.path(), &FORMS, BLOCKS);
    put(dir.path(), 1, Form::ManyFrames, b"torn");
    let mut other = frozen(2, Form::ManyFrames);
    other[300] ^= 1;
    put(dir.path(), 2, Form::ManyFrames, &other);
    holds_whole(dir.path(), "a whole .wal");
}

#[test]
fn a_segment_that_neither_form_holds_is_corrupt() {
    for (block, index) in [(0, 1), (40, 2), (69, 1), (69, 3)] {
        let dir = TempDir::new("both-forms-none");
        write_mixed(dir.path(), &FORMS, BLOCKS);
        put(dir.path(), index, Form::Hot, &damaged(index, Damage::Bit(block_offset(block) + 64 + 9)));
        // Damaged behind the place where the .wal is: what it holds there is not given, for the whole of it counts for nothing.
        let mut bytes = plans(&FORMS, BLOCKS)[index].encode();
        bytes[block_offset(69) + 64 + 64 * 250] ^= 1;
        put(dir.path(), index, Form::ManyFrames, &form_of(&bytes, BLOCKS, Form::ManyFrames));
        let (events, fault) = replay(dir.path(), 0);
        let fault = fault.expect("corrupt");
        assert!(fault.contains(Reason::BothForms.text()) && fault.contains(".wal.lz4"), "{fault}");
        let before = index as u64 * EVENTS + block as u64 * 256;
        check_formula(&events, 1, before).unwrap_or_else(|why| panic!("segment {index}, block {block}: {why}"));
        let found = verify(dir.path()).unwrap().fault.expect("a fault").corruption;
        assert_eq!((found.reason, found.segment_index), (Reason::BothForms, u32::try_from(index).unwrap()));
        // Salvage gives what the .wal holds: all but the events of which a bit is wrong.
        let mut salvager = Salvager::open(dir.path(), 0).unwrap();
        let (mut events, mut gaps) = (0, 0);
        loop {
            match salvager.next().unwrap() {
                Item::Event(_) => events += 1,
                Item::Gap(_) => gaps += 1,
                Item::End => break,
            }
        }
        assert_eq!((events, gaps), (LAST - 1, 1), "segment {index}, block {block}");
    }
}

/// Under a reader that has given some of a `.wal`, it is damaged, or frozen and retired, or retired: cut while it is open.
#[test]
fn what_happens_to_a_wal_under_a_reader() {
    for (given, index) in [(10, 0), (2 * EVENTS + 3_000, 2), (3 * EVENTS + 1, 3)] {
        for retired in [false, true] {
            let dir = TempDir::new("under-a-reader");
            write_mixed(dir.path(), &FORMS, BLOCKS);
            let mut reader = Manager::open(dir.path(), 0).unwrap();
            for id in 1..=given {
                assert_eq!(reader.next().unwrap().unwrap().event_id, id);
            }
            let (hot, leaving) = (name_of(index, Form::Hot), format!("FS.{index:08}.del"));
            put(dir.path(), index as usize, Form::ManyFrames, &frozen(index as usize, Form::ManyFrames));
            if retired {
                fs::rename(dir.path().join(&hot), dir.path().join(&leaving)).unwrap();
            }
            let file = fs::OpenOptions::new().write(true).open(dir.path().join(if retired { leaving } else { hot }));
            file.unwrap().set_len(64).unwrap();
            for id in given + 1..=LAST {
                let event = reader.next().unwrap_or_else(|why| panic!("event {id}, retired {retired}: {why}")).unwrap();
                assert_eq!(bytes_of(&event)[..60], golden_event(id)[..60]);
            }
            assert!(reader.next().unwrap().is_none());
        }
    }
    // Retired for good: a `.wal` that was never frozen, or a frozen segment; found when it is entered, or within.
    for (form, cut_to) in [(Form::Hot, 64), (Form::ManyFrames, 40), (Form::ManyFrames, 200_000)] {
        for index in [0, 1] {
            let dir = TempDir::new("under-a-reader-gone");
            write_mixed(dir.path(), &[form, form, Form::Hot, Form::Hot], BLOCKS);
            let mut reader = Manager::open(dir.path(), 0).unwrap();
            reader.next().unwrap();
            let path = dir.path().join(name_of(index, form));
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(cut_to).unwrap();
            fs::rename(&path, dir.path().join(format!("FS.{index:08}.del"))).unwrap();
            for older in 0..index {
                fs::remove_file(dir.path().join(name_of(older, form))).unwrap();
            }
            let mut given = 1;
            let why = loop {
                match reader.next() {
                    Ok(Some(event)) => {
                        assert_eq!(event.event_id, given + 1);
                        given += 1;
                    }
                    Ok(None) => break None,
                    Err(why) => break Some(why),
                }
            };
            // A small frozen segment may have been read into memory whole.
            let whole = form != Form::Hot && index == 0 && given == LAST;
            assert!(whole || matches!(why, Some(Error::NotFound(_))), "{form:?} {index}, {cut_to}: {given}, {why:?}");
            assert!(given >= 16 * 256 || form != Form::Hot, "what had been read");
        }
    }
}
