//! Verification: counts, and the first fault with its place and its two numbers.

use std::fs;
use std::path::Path;

use crate::decoder::segment::{block_offset, xxh64};
use crate::decoder::support::{TempDir, copy_golden, fingerprint, golden_last, write_file};
use crate::fixture::{Form, form_of, name_of, plans, write_mixed};
use crate::with_library::{append, keep_all, open, sync};
use walrec::format::Reason;
use walrec::recovery::{Error, VerifyReport, verify};

const FORMS: [Form; 4] = [Form::ManyFrames, Form::OneFrame, Form::Hot, Form::Hot];
const BLOCKS: usize = 70;
const EVENTS: u64 = BLOCKS as u64 * 256;

fn verified(dir: &Path) -> VerifyReport {
    let before = fingerprint(dir);
    let report = verify(dir).unwrap();
    assert_eq!(fingerprint(dir), before, "verification changed the log");
    report
}

/// Reason, segment, block, offset of the first fault.
fn fault(dir: &Path) -> (Reason, u32, Option<u32>, u64) {
    let fault = verified(dir).fault.expect("a fault").corruption;
    (fault.reason, fault.segment_index, fault.block, fault.offset)
}

#[test]
fn a_sound_log_is_counted_in_every_form() {
    let dir = TempDir::new("verify");
    let last = write_mixed(dir.path(), &FORMS, BLOCKS);
    let report = verified(dir.path());
    assert!(report.fault.is_none(), "{:?}", report.fault);
    assert_eq!((report.segments, report.segments_compressed, report.segments_missing), (4, 2, 0));
    assert_eq!((report.blocks, report.events), (4 * BLOCKS as u64, 4 * EVENTS));
    assert_eq!((report.first_event_id, report.last_event_id), (1, last));
    let bytes = |index, form| fs::metadata(dir.path().join(name_of(index, form))).unwrap().len();
    let expected: u64 = (0..).zip(FORMS).map(|(index, form)| bytes(index, form)).sum();
    assert_eq!(report.bytes, expected);
    // A segment that is there in both forms counts once.
    write_file(&dir.path().join(name_of(2, Form::ManyFrames)), b"torn");
    assert_eq!((verified(dir.path()).events, verified(dir.path()).fault.is_none()), (4 * EVENTS, true));
    for name in ["clean_300", "clean_6000", "clean_12288", "frozen_6000"] {
        let copy = copy_golden(name);
        let report = verified(copy.path());
        assert!(report.fault.is_none(), "{name}: {:?}", report.fault);
        assert_eq!(report.events, golden_last(name), "{name}");
    }
}

/// Every block of every form, one bit each: the fault is told with its block, and all other blocks are counted.
#[test]
fn the_first_fault_has_its_place_and_numbers() {
    for form in [Form::Hot, Form::ManyFrames, Form::OneFrame] {
        let dir = TempDir::new("verify-fault");
        write_mixed(dir.path(), &[form; 3], BLOCKS);
        let plans = plans(&[form; 3], BLOCKS);
        let sound = plans[1].encode();
        let path = dir.path().join(name_of(1, form));
        for (offset, reason) in [
            (64 + 5 * 64 + 17, Reason::BlockChecksum),
            (0, Reason::BlockHeaderChecksum),
            (40, Reason::BlockHeaderChecksum),
        ] {
            let mut bytes = sound.clone();
            let block = block_offset(66);
            bytes[block + offset] ^= 0x10;
            write_file(&path, &form_of(&bytes, BLOCKS, form));
            let report = verified(dir.path());
            let found = report.fault.clone().unwrap();
            assert_eq!(fault(dir.path()), (reason, 1, Some(66), block as u64), "{form:?}");
            assert!(found.corruption.path.ends_with(name_of(1, form)));
            assert_ne!(found.expected, found.actual);
            if reason == Reason::BlockChecksum {
                let stored = u64::from_le_bytes(sound[block + 16..block + 24].try_into().unwrap());
                assert_eq!(found.expected, stored);
                assert_eq!(found.actual, xxh64(&bytes[block + 64..block + 64 + 256 * 64], 0));
            }
            // The blocks before it, and the other segments.
            assert_eq!(report.blocks, 2 * BLOCKS as u64 + 66, "{form:?}");
            assert_eq!((report.segments, report.last_event_id), (3, 3 * EVENTS));
        }
    }
}

#[test]
fn headers_sizes_links_and_the_durable_position_are_held() {
    let dir = TempDir::new("verify-header");
    write_mixed(dir.path(), &[Form::Hot; 3], BLOCKS);
    let plans = plans(&[Form::Hot; 3], BLOCKS);
    let path = dir.path().join(name_of(1, Form::Hot));
    let sound = plans[1].encode();
    let mut bytes = sound.clone();
    bytes[33] ^= 1;
    write_file(&path, &bytes);
    assert_eq!(fault(dir.path()), (Reason::HeaderChecksum, 1, None, 0));
    assert_eq!(verified(dir.path()).events, 2 * EVENTS);
    write_file(&path, &plans[2].encode());
    let report = verified(dir.path());
    let found = report.fault.clone().unwrap();
    assert_eq!((found.corruption.reason, found.expected, found.actual), (Reason::SegmentIndex, 1, 2));
    write_file(&path, &sound[..sound.len() - 1]);
    assert_eq!(fault(dir.path()).0, Reason::FileSize);
    // A segment that was made anew, sound in itself: only the link knows.
    let mut other = plans[1].clone();
    other.created_ts_ns += 1;
    write_file(&path, &other.encode());
    assert_eq!(fault(dir.path()), (Reason::Link, 2, Some(0), 64));
    let found = verified(dir.path()).fault.unwrap();
    assert_eq!((found.expected, found.actual), (other.chained_checksum(), plans[1].chained_checksum()));
    write_file(&path, &sound);
    assert!(verified(dir.path()).fault.is_none());
    fs::remove_file(dir.path().join(name_of(2, Form::Hot))).unwrap();
    let found = verified(dir.path()).fault.unwrap();
    assert_eq!(found.corruption.reason, Reason::BelowMeta);
    assert_eq!((found.expected, found.actual), (3 * EVENTS, 2 * EVENTS));
}

#[test]
fn a_missing_segment_is_seen_and_a_retired_front_is_none() {
    let dir = TempDir::new("verify-missing");
    write_mixed(dir.path(), &FORMS, BLOCKS);
    fs::remove_file(dir.path().join(name_of(0, Form::ManyFrames))).unwrap();
    assert!(verified(dir.path()).fault.is_none(), "retention takes the front");
    fs::remove_file(dir.path().join(name_of(2, Form::Hot))).unwrap();
    let report = verified(dir.path());
    assert_eq!((report.segments, report.segments_missing), (2, 1));
    assert_eq!(fault(dir.path()), (Reason::MissingSegment, 2, None, 0));
    fs::create_dir(dir.path().join("quarantine")).unwrap();
    write_file(&dir.path().join("quarantine/FS.00000002.lost"), b"");
    let report = verified(dir.path());
    assert_eq!((report.segments_lost, report.segments_missing, report.fault.is_none()), (1, 0, true));
}

#[test]
fn beside_a_recorder_and_without_a_log() {
    let dir = TempDir::new("verify-live");
    assert!(matches!(verify(dir.path()), Err(Error::NotFound(_))));
    assert!(matches!(verify(&dir.path().join("nothing")), Err(Error::NotFound(_))));
    let (mut writer, manager) = open(dir.path(), &keep_all(16));
    let mut last = 0;
    for round in 0..20 {
        append(&mut writer, last + 1..=last + 777);
        last += 777;
        sync(&manager, last);
        append(&mut writer, last + 1..=last + 50);
        last += 50;
        let report = verify(dir.path()).unwrap();
        assert!(report.fault.is_none(), "round {round}: {:?}", report.fault);
        assert!(report.events >= last - 50 && report.events <= last);
    }
    drop(writer);
    manager.shutdown().unwrap();
    assert_eq!(verified(dir.path()).events, last);
}
