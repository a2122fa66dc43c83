//! Seeks by id and by time, hot and cold.

use std::time::Instant;

use crate::decoder::fields::event as field;
use crate::decoder::segment::block_offset;
use crate::decoder::support::{Random, TempDir, golden_event, write_file};
use crate::encode::{put_event, repair_blocks, repair_counts, repair_segment_header};
use crate::fixture::{Form, name_of, plans, write_mixed};
use crate::with_library::bytes_of;
use walrec::recovery::Manager;

const FORMS: [Form; 8] = [
    Form::ManyFrames,
    Form::ManyFrames,
    Form::OneFrame,
    Form::ManyFrames,
    Form::ManyFrames,
    Form::Hot,
    Form::Hot,
    Form::Hot,
];
/// Frames of the header, 64, 64 and 2 blocks.
const BLOCKS: usize = 130;

fn time_of(id: u64) -> u64 {
    field::TIMESTAMP_NS.of(&golden_event(id))
}

/// The next three events are those from `id` on, byte for byte.
fn check_from(reader: &mut Manager, id: u64, last: u64, what: &str) {
    for id in id..id + 3 {
        let event = reader.next().unwrap_or_else(|why| panic!("{what}: {why}"));
        if id > last {
            assert!(event.is_none(), "{what}: {event:?} after the last event");
        } else {
            let event = event.unwrap_or_else(|| panic!("{what}: the end instead of event {id}"));
            assert_eq!(bytes_of(&event)[..60], golden_event(id)[..60], "{what}: event {id}");
        }
    }
}

#[test]
fn a_thousand_random_seeks_by_id_and_by_time_hot_and_cold() {
    let dir = TempDir::new("seeks");
    let last = write_mixed(dir.path(), &FORMS, BLOCKS);
    let mut random = Random::new("a_thousand_random_seeks");
    let mut reader = Manager::open(dir.path(), 0).unwrap();
    let mut spent = [[std::time::Duration::ZERO; 2]; 2];
    let mut done = [[0_u32; 2]; 2];
    for round in 0..1_000_u32 {
        let id = match round {
            0..10 => 1 + u64::from(round) * BLOCKS as u64 * 256,
            10..20 => u64::from(round - 9) * BLOCKS as u64 * 256,
            _ => 1 + random.below(last),
        }
        .min(last);
        let cold = usize::from(id <= 5 * BLOCKS as u64 * 256);
        let by_time = (round % 2) as usize;
        let begin = Instant::now();
        if by_time == 1 {
            // Timestamps lie 137 apart: any time since the event before leads to this one.
            reader.seek_time(time_of(id) - random.below(137)).unwrap();
        } else {
            reader.seek(id).unwrap();
        }
        check_from(&mut reader, id, last, &format!("seek {round}, by time: {by_time}, id {id}"));
        spent[by_time][cold] += begin.elapsed();
        done[by_time][cold] += 1;
    }
    for (by_time, by) in ["id", "time"].iter().enumerate() {
        for (cold, form) in ["hot", "cold"].iter().enumerate() {
            let mean = spent[by_time][cold] / done[by_time][cold].max(1);
            eprintln!("FIGURE seek by {by}, {form}: {} seeks, {mean:?} each", done[by_time][cold]);
            assert!(done[by_time][cold] > 50);
        }
    }
    for beyond in [time_of(last) + 1, u64::MAX] {
        reader.seek_time(beyond).unwrap();
        assert!(reader.next().unwrap().is_none());
    }
    for front in [0, 1, time_of(1)] {
        reader.seek_time(front).unwrap();
        check_from(&mut reader, 1, last, "the front");
    }
    // Opened at an id, and read on over every form to the end.
    let mut reader = Manager::open(dir.path(), BLOCKS as u64 * 256 - 5).unwrap();
    for id in BLOCKS as u64 * 256 - 5..=last {
        let event = reader.next().unwrap().unwrap();
        assert_eq!(bytes_of(&event)[..60], golden_event(id)[..60]);
    }
    assert!(reader.next().unwrap().is_none());
}

/// Where a whole run of events has one timestamp, the first of them is found, also when the run crosses blocks and segments.
#[test]
fn equal_timestamps_give_the_first_event_at_or_after() {
    for form in [Form::Hot, Form::ManyFrames] {
        let forms = [form; 3];
        let dir = TempDir::new("times");
        let _ = write_mixed(dir.path(), &forms, BLOCKS);
        // 1,000 events share a time.
        let time = |id: u64| 1_000_000 + (id - 1) / 1_000 * 10;
        let plans = plans(&forms, BLOCKS);
        let mut chain = None;
        for mut plan in plans {
            plan.link = chain;
            let mut bytes = plan.encode();
            for slot in 0..BLOCKS * 256 {
                let id = plan.first_event_id + slot as u64;
                let mut event = golden_event(id);
                field::TIMESTAMP_NS.put(&mut event, time(id));
                put_event(&mut bytes, slot, &event);
                plan.put_guard(&mut bytes, slot);
            }
            repair_blocks(&mut bytes, BLOCKS);
            repair_counts(&mut bytes, BLOCKS);
            repair_segment_header(&mut bytes);
            chain = Some(crate::encode::chain_after(&bytes, BLOCKS));
            assert_eq!(bytes.len(), block_offset(BLOCKS));
            write_file(&dir.path().join(name_of(plan.index, form)), &crate::fixture::form_of(&bytes, BLOCKS, form));
        }
        let last = 3 * BLOCKS as u64 * 256;
        let mut reader = Manager::open(dir.path(), 0).unwrap();
        for at in (999_990..time(last) + 20).step_by(5) {
            reader.seek_time(at).unwrap();
            let first = (1..=last).step_by(1_000).find(|&id| time(id) >= at);
            let found = reader.next().unwrap().map(|event| event.event_id);
            assert_eq!(found, first, "{form:?}: time {at}");
        }
    }
}

/// Negative control: the search reads a block it enters by all its rules, so damage where it lands is told, not given.
#[test]
fn damage_where_a_seek_lands_is_told() {
    for form in [Form::Hot, Form::ManyFrames, Form::OneFrame] {
        let dir = TempDir::new("seek-damage");
        write_mixed(dir.path(), &[form; 2], BLOCKS);
        let mut bytes = plans(&[form; 2], BLOCKS)[1].encode();
        bytes[block_offset(70) + 64 + 64 * 9 + 20] ^= 4;
        write_file(&dir.path().join(name_of(1, form)), &crate::fixture::form_of(&bytes, BLOCKS, form));
        let damaged = (BLOCKS + 70) as u64 * 256 + 1;
        let mut reader = Manager::open(dir.path(), 0).unwrap();
        for id in [damaged, damaged + 8, damaged + 100] {
            reader.seek(id).unwrap();
            let why = reader.next().unwrap_err().to_string();
            assert!(why.contains("block 70") && why.contains("checksum"), "{form:?}: {why}");
            reader.seek_time(time_of(id)).unwrap();
            reader.next().unwrap_err();
        }
        reader.seek(damaged + 300).unwrap();
        if form != Form::OneFrame && form != Form::ManyFrames {
            assert_eq!(reader.next().unwrap().unwrap().event_id, damaged + 300);
        }
        reader.seek(damaged - 1).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().event_id, damaged - 1);
    }
}
