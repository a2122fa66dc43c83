//! Controls over the golden logs: read as they are, changed and cut.

use std::fs;

use super::decoder::decode_log;
use super::decoder::fields::event;
use super::decoder::segment::{Before, EVENT_BYTES, Stored, block_offset, decode_segment};
use super::decoder::support::{GOLDEN, Random, check_formula, copy_golden, golden_dir, golden_last, write_file};
use super::expect_fault;

#[test]
fn golden_logs_are_read_to_their_last_event() {
    for name in GOLDEN {
        let log = decode_log(&golden_dir(name)).unwrap();
        check_formula(&log.events, 1, golden_last(name)).unwrap();
        assert!(log.events.iter().all(|bytes| event::GUARD.of(bytes) == 0), "{name}: guards");
        assert_eq!(log.foreign, ["LAST"], "{name}");
    }
}

/// A sealed header's 64 bytes are all protected: any change of any of them is found. So are a block header's, and every
/// event's in a finalized block.
#[test]
fn every_changed_header_byte_of_a_sealed_golden_segment_is_rejected() {
    let mut rejected = 0;
    for (name, file, blocks) in [
        ("clean_300", "FS.00000000.wal", vec![0, 1]),
        ("clean_6000", "FS.00000001.wal", vec![0, 7]),
        ("clean_12288", "FS.00000002.wal", vec![0, 15]),
    ] {
        let bytes = fs::read(golden_dir(name).join(file)).unwrap();
        let index = file[3..11].parse::<u32>().unwrap();
        let decode = |bytes: &[u8]| {
            let before = Before { last_event_id: u64::from(index) * 4096, chained_checksum: None };
            decode_segment(file, index, Stored::Hot, bytes, bytes.len() as u64, before, &mut Vec::new())
        };
        decode(&bytes).unwrap();
        let mut places: Vec<usize> = (0..64).collect();
        for block in blocks {
            places.extend((0..64 + 2 * EVENT_BYTES).map(|place| block_offset(block) + place));
        }
        for place in places {
            for change in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                let mut changed = bytes.clone();
                changed[place] ^= change;
                let why = decode(&changed).map(|segment| segment.events).unwrap_err();
                assert!(why.starts_with(file) && why.contains("offset"), "{why}");
                rejected += 1;
            }
        }
    }
    eprintln!("{rejected} changes, all rejected");
}

/// The bytes of FlashStrike's unsealed header (checksum 0) that FORMAT.md does not protect: counts, ids, created_ts_ns
/// and last_chained_checksum. closed_ts_ns and checksum must be 0, and the rest is constant; of the first byte only 0
/// and 0x53 are allowed.
#[test]
fn every_changed_byte_of_an_unsealed_golden_header_is_rejected_or_listed() {
    let copy = copy_golden("crashed_7000");
    let path = copy.path().join("FS.00000001.wal");
    let bytes = fs::read(&path).unwrap();
    let unprotected = |place: usize| (8..40).contains(&place) || place >= 56;
    for place in 0..64 {
        for change in [1, 2, 4, 8, 16, 32, 64, 128, 255, 0x53] {
            let mut changed = bytes.clone();
            changed[place] ^= change;
            fs::write(&path, &changed).unwrap();
            let result = decode_log(copy.path());
            if unprotected(place) || (place == 0 && change == 0x53) {
                check_formula(&result.unwrap().events, 1, 6912).unwrap();
            } else {
                result.map(|log| log.events.len()).expect_err(&format!("byte {place} ^ {change:#x}"));
            }
        }
    }
}

/// Above the durable position of `wal_meta.dat` a fault is a torn tail: what stands behind it is not accepted.
#[test]
fn a_changed_block_in_an_unsealed_golden_segment_ends_it() {
    let copy = copy_golden("crashed_7000");
    let path = copy.path().join("FS.00000001.wal");
    let bytes = fs::read(&path).unwrap();
    for block in [0, 3, 10] {
        for place in (0..64).chain([64, 64 + 59, 64 + 255 * 64 + 43]) {
            let mut changed = bytes.clone();
            changed[block_offset(block) + place] ^= 0x10;
            fs::write(&path, &changed).unwrap();
            let flags = (46..48).contains(&place);
            let log = decode_log(copy.path()).unwrap_or_else(|why| panic!("byte {place} (flags: {flags}): {why}"));
            check_formula(&log.events, 1, 4096 + 256 * block as u64).unwrap();
            assert!(log.segments[1].torn.is_some());
        }
    }
}

/// The decoder finds every change of a frozen file that changes its content.
#[test]
fn a_changed_or_cut_frozen_golden_segment_is_rejected_or_reads_the_same() {
    let mut random = Random::new("a_changed_or_cut_frozen_golden_segment");
    let copy = copy_golden("frozen_6000");
    let path = copy.path().join("FS.00000000.wal.lz4");
    let bytes = fs::read(&path).unwrap();
    let len = bytes.len() as u64;
    let (mut rejected, mut same) = (0, 0);
    let random_places = (0..1500).map(|_| random.below(len)).collect::<Vec<_>>();
    for place in (0..64).chain(len - 16..len).chain(random_places) {
        let mut changed = bytes.clone();
        changed[usize::try_from(place).unwrap()] ^= 1 << random.below(8);
        fs::write(&path, &changed).unwrap();
        match decode_log(copy.path()) {
            Ok(log) => {
                check_formula(&log.events, 1, 6000).unwrap();
                same += 1;
            }
            Err(why) => {
                assert!(why.starts_with("FS.00000000.wal.lz4: "), "{why}");
                rejected += 1;
            }
        }
    }
    for _ in 0..200 {
        fs::write(&path, &bytes[..usize::try_from(random.below(len)).unwrap()]).unwrap();
        decode_log(copy.path()).map(|log| log.events.len()).unwrap_err();
    }
    fs::write(&path, [&bytes[..], &bytes[..]].concat()).unwrap();
    decode_log(copy.path()).map(|log| log.events.len()).unwrap_err();
    eprintln!("changed: {rejected} rejected, {same} read the same; 200 cuts rejected");
    // Some 60 change nothing that is decoded, 8 more or less.
    assert!(rejected > 1450, "{same} changes of 1580 went unseen");
}

/// "Both present at open: the `.wal` if it verifies whole, else the `.lz4` if it does, else corrupt."
#[test]
fn of_two_files_of_one_segment_the_one_that_verifies_is_read() {
    let copy = copy_golden("frozen_6000");
    let hot = copy.path().join("FS.00000000.wal");
    let good = fs::read(golden_dir("clean_6000").join("FS.00000000.wal")).unwrap();
    write_file(&hot, &good);
    let log = decode_log(copy.path()).unwrap();
    check_formula(&log.events, 1, 6000).unwrap();
    assert_eq!((log.segments[0].frozen(), &log.duplicates[..]), (false, &["FS.00000000.wal.lz4".to_owned()][..]));
    let mut bad = good;
    bad[5000] ^= 1;
    write_file(&hot, &bad);
    let log = decode_log(copy.path()).unwrap();
    check_formula(&log.events, 1, 6000).unwrap();
    assert_eq!((log.segments[0].frozen(), &log.duplicates[..]), (true, &["FS.00000000.wal".to_owned()][..]));
    let frozen = copy.path().join("FS.00000000.wal.lz4");
    let cut = fs::read(&frozen).unwrap();
    write_file(&frozen, &cut[..cut.len() - 1]);
    expect_fault("both bad", "FS.00000000.wal: block 0", decode_log(copy.path()));
}
