//! On a log with a byte changed, a header changed, a segment missing.

use std::fs;

use walrec::format::{Geometry, Reason};

use crate::ground::{EVENTS, Ground, ids, on};

/// The last event before the block with event 10,001.
const SOUND: u64 = 9_984;

#[test]
fn verify_tells_file_offset_and_reason() {
    let ground = Ground::new("damaged");
    let (log, file) = ground.damaged("log");
    let value = on("verify", &log, &["--json"], 1).value();
    let fault = &value["fault"];
    assert_eq!((value["ok"].as_bool(), fault["file"].as_str()), (Some(false), file.to_str()));
    assert_eq!(fault["reason_number"], Reason::BlockChecksum.as_u32());
    assert_eq!(fault["reason"], Reason::BlockChecksum.text());
    assert_eq!((fault["segment"].as_u64(), fault["block"].as_u64()), (Some(2), Some(7)));
    assert_eq!(fault["offset"], Geometry::block_offset(7) as u64);
    let text = on("verify", &log, &[], 1);
    assert!(text.text().contains("DAMAGED") && text.text().contains(file.to_str().unwrap()), "{}", text.text());
    assert!(text.err.contains(file.to_str().unwrap()) && text.err.contains("offset 115200"), "{}", text.err);
}

#[test]
fn readers_give_what_is_before_it_and_end_in_1() {
    let ground = Ground::new("before");
    let (log, file) = ground.damaged("log");
    let dump = on("dump", &log, &["--json", "--from", "9980"], 1);
    assert_eq!(ids(&dump), (9_980..=SOUND).collect::<Vec<_>>());
    let last = dump.values().pop().unwrap();
    assert_eq!(last["error"]["exit_code"], 1);
    assert!(last["error"]["message"].as_str().unwrap().contains(file.to_str().unwrap()), "{last}");
    let before = on("dump", &log, &["--json", "--from", "9980", "--to", "9984"], 0);
    assert_eq!(
        ids(&before),
        (9_980..=SOUND).collect::<Vec<_>>(),
        "what is behind the last id asked for is not looked at"
    );
    assert_eq!(on("replay", &log, &[], 1).out.len() as u64, SOUND * 64);
    // The damage lies above the sealed segments that a tail begins with.
    assert_eq!(ids(&on("tail", &log, &["--json", "-n", "2"], 0)), [EVENTS - 1, EVENTS]);
    assert_eq!(ids(&on("tail", &log, &["--json", "-n", "19000"], 1)).last(), Some(&SOUND));
    on("info", &log, &[], 0);
    on("stats", &log, &[], 3);
}

#[test]
fn salvage_lists_the_gap() {
    let ground = Ground::new("gap");
    let (log, _) = ground.damaged("log");
    let out = ground.log("out.json");
    let value = on("salvage", &log, &["--json", "--format", "json", "--out", out.to_str().unwrap()], 1).value();
    let gaps = value["gaps"].as_array().unwrap();
    assert_eq!(gaps.len(), 1, "{value}");
    assert_eq!((gaps[0]["id_before"].as_u64(), gaps[0]["id_after"].as_u64()), (Some(10_000), Some(10_002)));
    assert_eq!(value["events"], EVENTS - 1);
    assert_eq!(fs::read_to_string(&out).unwrap().lines().count() as u64, EVENTS - 1);
    let text = on("salvage", &log, &["--out", ground.log("out.raw").to_str().unwrap()], 1);
    assert!(text.text().contains("19,999 (ids 1 to 20000)"), "{}", text.text());
}

#[test]
fn a_header_and_a_missing_segment_are_told() {
    let ground = Ground::new("header");
    let log = ground.closed("log");
    let file = log.join("FS.00000003.wal");
    let sound = fs::read(&file).unwrap();
    let mut bytes = sound.clone();
    bytes[17] ^= 0x40;
    fs::write(&file, bytes).unwrap();
    let value = on("info", &log, &["--json"], 1).value();
    assert_eq!((value["damaged"].as_u64(), value["segment_list"][3]["state"].as_str()), (Some(1), Some("damaged")));
    assert!(on("info", &log, &[], 1).text().contains(Reason::HeaderChecksum.text()));
    fs::remove_file(&file).unwrap();
    let value = on("info", &log, &["--json"], 1).value();
    assert_eq!(value["missing"], serde_json::json!([3]));
    assert_eq!(on("verify", &log, &["--json"], 1).value()["segments_missing"], 1);
    fs::write(&file, sound).unwrap();
    on("info", &log, &[], 0);
}
