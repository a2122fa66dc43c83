//! Controls over frozen segments, made by the C library.

use super::decoder::segment::{BLOCK_BYTES, block_offset};
use super::decoder::support::{TempDir, check_formula, write_file};
use super::decoder::{check_closed, check_written_by_walrec, decode_log};
use super::encode::{self, Plan, repair_counts, repair_segment_header};
use super::encode_frozen::{frame, plan, right_forms, wrong_forms};
use super::expect_fault;

#[test]
fn frozen_segments_are_read_in_both_forms_and_their_faults_found() {
    let last = 130 * 256;
    let dir = TempDir::new("frozen");
    encode::write_sidecars(dir.path(), 0, block_offset(130), last);
    let path = dir.path().join("FS.00000000.wal.lz4");
    let decode = |frozen: &[u8]| {
        write_file(&path, frozen);
        decode_log(dir.path())
    };
    for (form, frozen) in right_forms() {
        let log = decode(&frozen).unwrap();
        check_formula(&log.events, 1, last).unwrap();
        assert_eq!(log.segments[0].stored, form);
        check_written_by_walrec(&log).unwrap();
        check_closed(&log).unwrap();
    }
    for (name, frozen, words) in wrong_forms() {
        expect_fault(name, words, decode(&frozen));
    }
    let bytes = plan().encode();
    let used = &bytes[..block_offset(130)];
    // Split in another way: standard frames, but not the document's.
    let halves =
        [frame(&bytes[..64], true), frame(&used[64..block_offset(65)], true), frame(&used[block_offset(65)..], true)];
    expect_fault("another split", "content of a frame", decode(&halves.concat()));
    // Without content size: readable, not what walrec writes.
    let unsized_frames: Vec<u8> = [&bytes[..64]]
        .into_iter()
        .chain(used[64..].chunks(64 * BLOCK_BYTES))
        .flat_map(|part| frame(part, false))
        .collect();
    let log = decode(&unsized_frames).unwrap();
    expect_fault("no content size", "content size", check_written_by_walrec(&log));
    // Unsealed: never frozen.
    let mut unsealed = Plan { closed_ts_ns: 0, ..plan() }.encode();
    repair_counts(&mut unsealed, 130);
    repair_segment_header(&mut unsealed);
    expect_fault("unsealed", "closed_ts_ns of a frozen segment", decode(&frame(&unsealed[..block_offset(130)], true)));
}
