//! Salvage: every event outside of the damage comes back, every range is named, and no event is ever a wrong one.
//!
//! What there was is told by the independent decoder from the log before the damage.

use std::fs;
use std::path::Path;

use crate::decoder::segment::{block_offset, slot_offset};
use crate::decoder::support::{GOLDEN, Random, TempDir, copy_golden, fingerprint, golden_last, write_file};
use crate::decoder::{EventBytes, decode_log, id_of};
use crate::encode::Plan;
use crate::encode_frozen::many_frames;
use crate::fixture::{Form, form_of, name_of, plans, write_mixed};
use crate::with_library::{append, bytes_of, keep_all, open, replay, sync};
use walrec::format::Reason;
use walrec::recovery::{Gap, Item, Salvager};

/// Everything, in order. A log of n bytes cannot give more than n items.
fn salvage(dir: &Path, from: u64) -> (Vec<EventBytes>, Vec<Gap>) {
    let before = fingerprint(dir);
    let mut reader = Salvager::open(dir, from).unwrap();
    let (mut events, mut gaps) = (Vec::new(), Vec::new());
    let mut last = 0;
    loop {
        match reader.next().unwrap() {
            Item::Event(event) => {
                assert!(event.event_id > last, "ids increase");
                last = event.event_id;
                events.push(bytes_of(&event));
            }
            Item::Gap(gap) => gaps.push(gap),
            Item::End => break,
        }
        assert!(events.len() + gaps.len() < 4_000_000, "endless");
    }
    for _ in 0..3 {
        assert_eq!(reader.next().unwrap(), Item::End, "the end stays the end");
    }
    assert_eq!(fingerprint(dir), before, "salvage changed the log");
    (events, gaps)
}

/// Only right events, and each missing one lies in a range that is named. Gives how many are missing.
fn check(dir: &Path, sound: &[EventBytes], per_segment: u64) -> (usize, Vec<Gap>) {
    let (events, gaps) = salvage(dir, 0);
    let mut found = events.iter().peekable();
    let mut missing = 0;
    for event in sound {
        if found.next_if(|one| id_of(one) == id_of(event)).map(|one| assert_eq!(one[..60], event[..60])).is_some() {
            continue;
        }
        missing += 1;
        let place = id_of(event) - 1;
        let segment = u32::try_from(place / per_segment).unwrap();
        let offset = slot_offset(usize::try_from(place % per_segment).unwrap()) as u64;
        let named = gaps.iter().any(|gap| {
            let end = gap.segment + u32::try_from(gap.length).unwrap();
            let missing = match gap.reason {
                Reason::MissingSegment => (gap.segment..end).contains(&segment),
                // A file without even a header.
                Reason::FileSize if gap.offset == 0 => segment == gap.segment,
                // The end of the log: everything above.
                Reason::BelowMeta => segment > gap.segment,
                _ => false,
            };
            missing || (gap.segment == segment && (gap.offset..gap.offset + gap.length).contains(&offset))
        });
        assert!(named, "event {} is missing and no range names it: {gaps:?}", id_of(event));
    }
    assert_eq!(found.next().map(id_of), None, "an event that was never in the log");
    for gap in &gaps {
        assert!(gap.id_after == 0 || gap.id_after > gap.id_before, "{gap:?}");
    }
    (missing, gaps)
}

fn mixed_forms(segments: usize) -> Vec<Form> {
    (0..segments).map(|index| if index % 2 == 0 { Form::ManyFrames } else { Form::Hot }).collect()
}

#[test]
fn one_damaged_block_in_each_of_twenty_segments() {
    const BLOCKS: usize = 70;
    const EVENTS: u64 = BLOCKS as u64 * 256;
    let mut random = Random::new("one_damaged_block_in_each_of_twenty_segments");
    let forms = mixed_forms(20);
    let dir = TempDir::new("salvage");
    let last = write_mixed(dir.path(), &forms, BLOCKS);
    let sound = decode_log(dir.path()).unwrap().events;
    assert_eq!(sound.len() as u64, last);
    assert_eq!(salvage(dir.path(), 0), (sound.clone(), vec![]), "a sound log has no range");
    let mut lost = Vec::new();
    let mut damaged = Vec::new();
    for (plan, form) in plans(&forms, BLOCKS).iter().zip(&forms) {
        let mut bytes = plan.encode();
        let block = usize::try_from(random.below(BLOCKS as u64)).unwrap();
        let slot = block * 256 + usize::try_from(random.below(256)).unwrap();
        // One event's bit; every third also the block's header.
        bytes[slot_offset(slot) + usize::try_from(random.below(60)).unwrap()] ^= 1 << random.below(8);
        damaged.push((plan.index, slot_offset(slot) as u64));
        if plan.index % 3 == 0 {
            bytes[block_offset(block) + usize::try_from(random.below(64)).unwrap()] ^= 1;
            damaged.push((plan.index, block_offset(block) as u64));
        }
        lost.push(u64::from(plan.index) * EVENTS + slot as u64 + 1);
        write_file(&dir.path().join(name_of(plan.index, *form)), &form_of(&bytes, BLOCKS, *form));
    }
    let (missing, gaps) = check(dir.path(), &sound, EVENTS);
    assert_eq!(missing, 20, "exactly the events that were hit");
    for (segment, offset) in &damaged {
        let named = |gap: &&Gap| gap.segment == *segment && (gap.offset..gap.offset + gap.length).contains(offset);
        let gap = gaps.iter().find(named).unwrap_or_else(|| panic!("segment {segment}, offset {offset} is not named"));
        assert!(gap.length <= 64 * 257);
    }
    assert!(gaps.len() <= damaged.len() && gaps.len() >= 20);
    for id in lost {
        let around = |gap: &Gap| gap.id_before < id && (gap.id_after > id || gap.id_after == 0);
        assert!(gaps.iter().any(around), "event {id}");
    }
    eprintln!(
        "FIGURE salvage: 20 damaged blocks, {} of {last} events back, {} ranges",
        sound.len() - missing,
        gaps.len()
    );
    // Negative control: the strict reader stops at the first of them.
    let (events, fault) = replay(dir.path(), 0);
    assert!(fault.is_some() && (events.len() as u64) < EVENTS);
    // From an id behind the first damage: what lies before is not told.
    let (events, told) = salvage(dir.path(), 10 * EVENTS + 1);
    assert_eq!(id_of(&events[0]).min(10 * EVENTS + 2), 10 * EVENTS + 1);
    assert!(told.iter().all(|gap| gap.segment >= 9), "{told:?}");
}

#[test]
fn missing_segments_torn_frames_wrong_headers_and_sizes() {
    const BLOCKS: usize = 130;
    const EVENTS: u64 = BLOCKS as u64 * 256;
    let forms = [Form::ManyFrames, Form::Hot, Form::ManyFrames, Form::Hot, Form::OneFrame, Form::Hot];
    let plans = plans(&forms, BLOCKS);
    let fresh = || {
        let dir = TempDir::new("salvage-shapes");
        write_mixed(dir.path(), &forms, BLOCKS);
        dir
    };
    let sound = decode_log(fresh().path()).unwrap().events;
    let run = |what: &str, expected: usize, reason: Reason, damage: &dyn Fn(&Path)| {
        let dir = fresh();
        damage(dir.path());
        let (missing, gaps) = check(dir.path(), &sound, EVENTS);
        assert_eq!(missing, expected, "{what}: {gaps:?}");
        assert!(gaps.iter().any(|gap| gap.reason == reason), "{what}: {gaps:?}");
    };
    let whole = usize::try_from(EVENTS).unwrap();
    let remove = |dir: &Path, index: u32| fs::remove_file(dir.join(name_of(index, forms[index as usize]))).unwrap();
    run("a missing segment", whole, Reason::MissingSegment, &|dir| remove(dir, 2));
    run("two missing segments", 2 * whole, Reason::MissingSegment, &|dir| {
        remove(dir, 2);
        remove(dir, 3);
    });
    run("the newest segment missing", whole, Reason::BelowMeta, &|dir| remove(dir, 5));
    let frames = many_frames(&plans[2].encode(), BLOCKS);
    for (frame, lost) in [(1, 64), (2, 64), (3, 2)] {
        run("a frame torn inside", lost * 256, Reason::Frozen, &|dir| {
            let mut frames = frames.clone();
            let middle = frames[frame].len() / 2;
            frames[frame][middle..middle + 2_000].fill(0xff);
            write_file(&dir.join(name_of(2, Form::ManyFrames)), &frames.concat());
        });
    }
    run("a frozen file cut inside its last frame but one", 66 * 256, Reason::Frozen, &|dir| {
        let all = frames.concat();
        write_file(&dir.join(name_of(2, Form::ManyFrames)), &all[..frames[0].len() + frames[1].len() + 1_000]);
    });
    run("a frozen header that does not decode", 0, Reason::Frozen, &|dir| {
        let mut frames = frames.clone();
        let last = frames[0].len() - 1;
        frames[0][last] ^= 1;
        frames[0][20] ^= 0xff;
        write_file(&dir.join(name_of(2, Form::ManyFrames)), &frames.concat());
    });
    let with_byte = |index: usize, offset: usize| {
        let mut bytes = plans[index].encode();
        bytes[offset] ^= 0x20;
        bytes
    };
    for offset in [0, 2, 9, 33, 50, 60] {
        run("a wrong header", 0, if offset == 0 { Reason::Magic } else { Reason::HeaderChecksum }, &|dir| {
            write_file(&dir.join(name_of(3, Form::Hot)), &with_byte(3, offset));
        });
    }
    run("a segment in another one's place", whole, Reason::SegmentIndex, &|dir| {
        write_file(&dir.join(name_of(3, Form::Hot)), &plans[1].encode());
    });
    run("a file cut inside block 100", 30 * 256 - 10, Reason::FirstLastId, &|dir| {
        let bytes = plans[3].encode();
        write_file(&dir.join(name_of(3, Form::Hot)), &bytes[..slot_offset(100 * 256 + 10)]);
    });
    run("an empty file", whole, Reason::FileSize, &|dir| write_file(&dir.join(name_of(1, Form::Hot)), b""));
    run("a hole of zeros", 2 * 256, Reason::Hole, &|dir| {
        let mut bytes = plans[5].encode();
        bytes[block_offset(7)..block_offset(9)].fill(0);
        write_file(&dir.join(name_of(5, Form::Hot)), &bytes);
    });
    run("the last blocks zero", 3 * 256, Reason::Hole, &|dir| {
        let mut bytes = plans[5].encode();
        bytes[block_offset(127)..].fill(0);
        write_file(&dir.join(name_of(5, Form::Hot)), &bytes);
    });
    run("blocks swapped", 2 * 256, Reason::BlockIndex, &|dir| {
        let mut bytes = plans[1].encode();
        let (low, high) = bytes.split_at_mut(block_offset(20));
        low[block_offset(10)..block_offset(11)].swap_with_slice(&mut high[..16_448]);
        write_file(&dir.join(name_of(1, Form::Hot)), &bytes);
    });
    run("a block of another segment", 256, Reason::ChainedChecksum, &|dir| {
        let mut bytes = plans[1].encode();
        let other = plans[3].encode();
        bytes[block_offset(10)..block_offset(11)].copy_from_slice(&other[block_offset(10)..block_offset(11)]);
        write_file(&dir.join(name_of(1, Form::Hot)), &bytes);
    });
}

/// Random damage of every kind, hundreds of logs: what comes back is right, what does not is named, and it ends.
#[test]
fn random_damage_never_gives_a_wrong_event() {
    let mut random = Random::new("random_damage_never_gives_a_wrong_event");
    let (mut back, mut lost, mut ranges) = (0, 0, 0);
    for round in 0..300 {
        let guards = round % 4 != 0;
        let forms = [Form::Hot, Form::ManyFrames, Form::Hot];
        let blocks = 16;
        let plans: Vec<Plan> = plans(&forms, blocks).into_iter().map(|plan| Plan { guards, ..plan }).collect();
        let dir = TempDir::new("salvage-random");
        let mut chain = None;
        let mut files = Vec::new();
        for plan in &plans {
            let plan = Plan { link: chain, ..plan.clone() };
            chain = Some(plan.chained_checksum());
            files.push(plan.encode());
            write_file(&dir.path().join(name_of(plan.index, Form::Hot)), files.last().unwrap());
        }
        let sound = decode_log(dir.path()).unwrap().events;
        for (index, form) in (0..).zip(forms) {
            let mut bytes = files[index as usize].clone();
            for _ in 0..random.below(4) {
                let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
                let most = if random.below(2) == 0 { 8 } else { 40_000 };
                let length = usize::try_from(1 + random.below(most)).unwrap();
                let end = (at + length).min(bytes.len());
                let fill = u8::try_from(random.below(256)).unwrap();
                match random.below(3) {
                    0 => bytes[at..end].fill(0),
                    1 => bytes[at..end].iter_mut().for_each(|byte| *byte = byte.wrapping_add(fill | 1)),
                    _ => {
                        let from = usize::try_from(random.below((bytes.len() - (end - at)) as u64)).unwrap();
                        bytes.copy_within(from..from + (end - at), at);
                    }
                }
            }
            fs::remove_file(dir.path().join(name_of(index, Form::Hot))).unwrap();
            let mut stored = if form == Form::Hot { bytes } else { many_frames(&bytes, blocks).concat() };
            if random.below(4) == 0 {
                let at = usize::try_from(random.below(stored.len() as u64)).unwrap();
                if random.below(2) == 0 { stored.truncate(at) } else { stored[at] ^= 1 }
            }
            write_file(&dir.path().join(name_of(index, form)), &stored);
        }
        let (events, gaps) = salvage(dir.path(), 0);
        let mut all = sound.iter();
        for event in &events {
            let right = all.find(|one| id_of(one) == id_of(event)).is_some_and(|one| one[..60] == event[..60]);
            assert!(right, "round {round}: event {} was never in the log", id_of(event));
        }
        assert!(events.len() == sound.len() || !gaps.is_empty(), "round {round}: a loss without a range");
        back += events.len();
        lost += sound.len() - events.len();
        ranges += gaps.len();
    }
    eprintln!("FIGURE salvage of random damage: 300 logs, {back} events back, {lost} lost, {ranges} ranges");
    assert!(back > 0 && lost > 0 && ranges > 0);
}

#[test]
fn sound_logs_and_live_ones_have_no_range() {
    for name in GOLDEN {
        let copy = copy_golden(name);
        let (events, gaps) = salvage(copy.path(), 0);
        assert_eq!((events.len() as u64, gaps), (golden_last(name), vec![]), "{name}");
    }
    let dir = TempDir::new("salvage-live");
    let (mut writer, manager) = open(dir.path(), &keep_all(16));
    let mut reader = Salvager::open(dir.path(), 0).unwrap();
    assert_eq!(reader.next().unwrap(), Item::End);
    let (mut given, mut last) = (0, 0);
    for round in 0..60_u64 {
        let more = 1 + round * 37 % 900;
        append(&mut writer, last + 1..=last + more);
        last += more;
        if round % 3 == 0 {
            sync(&manager, last);
        }
        loop {
            match reader.next().unwrap() {
                Item::Event(event) => {
                    assert_eq!(event.event_id, given + 1);
                    given += 1;
                }
                Item::Gap(gap) => panic!("round {round}: {gap:?} in a sound log"),
                Item::End => break,
            }
        }
        assert!(given <= last && (round % 3 != 0 || given == last), "round {round}: {given} of {last}");
    }
    drop(writer);
    manager.shutdown().unwrap();
    drop(manager);
    while let Item::Event(event) = reader.next().unwrap() {
        assert_eq!(event.event_id, given + 1);
        given += 1;
    }
    assert_eq!(given, last);
    // Written on after a clean close: the sealed last segment is open again.
    let (mut writer, manager) = open(dir.path(), &keep_all(16));
    append(&mut writer, last + 1..=last + 5_000);
    sync(&manager, last + 5_000);
    let (mut seen, mut ends) = (given, 0);
    while ends < 2 {
        match reader.next().unwrap() {
            Item::Event(event) => {
                assert_eq!(event.event_id, seen + 1);
                seen += 1;
            }
            Item::Gap(gap) => panic!("{gap:?} in a sound log"),
            Item::End => ends += 1,
        }
    }
    assert_eq!(seen, last + 5_000);
    drop(writer);
    manager.shutdown().unwrap();
}

/// Under a salvaging reader that has given some of a `.wal`, it is frozen and retired: cut while it is open.
#[test]
fn a_wal_retired_under_the_reader_is_no_range() {
    let forms = vec![Form::Hot; 4];
    for given in [10, 3_000] {
        let dir = TempDir::new("salvage-retired");
        let last = write_mixed(dir.path(), &forms, 40);
        let mut reader = Salvager::open(dir.path(), 0).unwrap();
        let mut next = 1;
        let mut read_to = |reader: &mut Salvager, end: u64| {
            while next <= end {
                match reader.next().unwrap() {
                    Item::Event(event) => assert_eq!(event.event_id, next),
                    other => panic!("event {next}: {other:?}"),
                }
                next += 1;
            }
        };
        read_to(&mut reader, given);
        let (hot, leaving) = (dir.path().join(name_of(0, Form::Hot)), dir.path().join("FS.00000000.del"));
        let frozen = form_of(&fs::read(&hot).unwrap(), 40, Form::ManyFrames);
        fs::write(dir.path().join(name_of(0, Form::ManyFrames)), frozen).unwrap();
        fs::rename(&hot, &leaving).unwrap();
        fs::OpenOptions::new().write(true).open(&leaving).unwrap().set_len(64).unwrap();
        read_to(&mut reader, last);
        assert_eq!(reader.next().unwrap(), Item::End);
    }
    // Retired and not frozen: the rest of it is a range.
    let dir = TempDir::new("salvage-gone");
    let last = write_mixed(dir.path(), &forms, 40);
    let mut reader = Salvager::open(dir.path(), 0).unwrap();
    assert!(matches!(reader.next().unwrap(), Item::Event(_)));
    let hot = dir.path().join(name_of(0, Form::Hot));
    fs::OpenOptions::new().write(true).open(&hot).unwrap().set_len(64).unwrap();
    fs::remove_file(&hot).unwrap();
    let (mut events, mut gaps) = (1, vec![]);
    loop {
        match reader.next().unwrap() {
            Item::Event(event) => events = event.event_id,
            Item::Gap(gap) => gaps.push((gap.segment, gap.id_after)),
            Item::End => break,
        }
    }
    assert_eq!((events, gaps), (last, vec![(0, 40 * 256 + 1)]));
}
