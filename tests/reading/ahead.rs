//! Reading ahead changes nothing that a reader gives: the same events, the same faults at the same places.

use crate::decoder::segment::block_offset;
use crate::decoder::support::{TempDir, check_formula, write_file};
use crate::fixture::{Form, form_of, name_of, plans, write_mixed};
use crate::with_library::{bytes_of, replay};
use walrec::recovery::Manager;

const BLOCKS: usize = 70;
const EVENTS: u64 = BLOCKS as u64 * 256;
const FORMS: [Form; 6] = [Form::Hot, Form::ManyFrames, Form::Hot, Form::OneFrame, Form::ManyFrames, Form::Hot];

#[test]
fn a_fault_in_any_segment_comes_after_every_event_before_it() {
    let plans = plans(&FORMS, BLOCKS);
    for index in 0..FORMS.len() {
        let form = FORMS[index];
        for block in [0, 5, 40, BLOCKS - 1] {
            let dir = TempDir::new("ahead");
            write_mixed(dir.path(), &FORMS, BLOCKS);
            let mut bytes = plans[index].encode();
            bytes[block_offset(block) + 64 + 77] ^= 2;
            write_file(&dir.path().join(name_of(plans[index].index, form)), &form_of(&bytes, BLOCKS, form));
            let (events, fault) = replay(dir.path(), 0);
            let before = index as u64 * EVENTS + block as u64 * 256;
            check_formula(&events, 1, before).unwrap_or_else(|why| panic!("segment {index}, block {block}: {why}"));
            let fault = fault.expect("a fault");
            assert!(fault.contains(&format!("segment {index}, block {block},")), "{fault}");
        }
    }
}

#[test]
fn a_header_that_is_wrong_far_ahead_is_met_only_there() {
    let dir = TempDir::new("ahead-header");
    write_mixed(dir.path(), &FORMS, BLOCKS);
    let mut bytes = plans(&FORMS, BLOCKS)[5].encode();
    bytes[33] ^= 1;
    write_file(&dir.path().join(name_of(5, Form::Hot)), &bytes);
    let (events, fault) = replay(dir.path(), 0);
    check_formula(&events, 1, 5 * EVENTS).unwrap();
    assert!(fault.expect("a fault").contains("segment 5"));
}

#[test]
fn seeks_and_drops_leave_a_segment_half_read_ahead() {
    let dir = TempDir::new("ahead-seek");
    let last = write_mixed(dir.path(), &FORMS, BLOCKS);
    let mut reader = Manager::open(dir.path(), 0).unwrap();
    for (from, more) in [(1, 6_000), (EVENTS, 20_000), (EVENTS - 3, 40_000), (3 * EVENTS, 9_000), (5, 50_000)] {
        reader.seek(from).unwrap();
        for id in from..from + more {
            let event = reader.next().unwrap().unwrap();
            assert_eq!(event.event_id, id);
        }
    }
    drop(reader);
    let mut reader = Manager::open(dir.path(), 0).unwrap();
    let mut events = Vec::new();
    while let Some(event) = reader.next().unwrap() {
        events.push(bytes_of(&event));
    }
    check_formula(&events, 1, last).unwrap();
}
