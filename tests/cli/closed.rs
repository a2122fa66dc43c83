//! On a closed log.

use std::fs;
use std::process::{Command, Stdio};

use crate::ground::{EPOCH_NS, EVENTS, Ground, PER_SEGMENT, event, ids, on, walrec};

#[test]
fn info_tells_what_lies_there() {
    let ground = Ground::new("info");
    let log = ground.closed("log");
    let value = on("info", &log, &["--json"], 0).value();
    for (field, expected) in [
        ("events", EVENTS),
        ("first_event_id", 1),
        ("last_event_id", EVENTS),
        ("meta_last_event_id", EVENTS),
        ("segments", 5),
        ("hot", 3),
        ("frozen", 2),
        ("sealed", 5),
        ("blocks_per_segment", 16),
    ] {
        assert_eq!(value[field], expected, "{field}: {value}");
    }
    assert_eq!((value["recorder"].as_str(), value["stage"]["state"].as_str()), (Some("none"), Some("closed")));
    assert_eq!(value["stage"]["this_boot"], true);
    assert_eq!(value["identity"].as_str().map(str::len), Some(32));
    assert!(value["compression_ratio"].as_f64().is_some_and(|ratio| ratio > 1.5), "{value}");
    assert_eq!(value["segment_list"][4]["events"], EVENTS - 4 * PER_SEGMENT);
    let text = on("info", &log, &[], 0);
    assert!(
        text.text().contains("20,000 (ids 1 to 20000)") && text.text().contains("frozen  sealed"),
        "{}",
        text.text()
    );
    assert_plain(text.text());
}

/// No colours, and at most 100 columns, the log's own path aside.
fn assert_plain(text: &str) {
    assert!(!text.contains('\x1b'), "colours where there is no terminal");
    for line in text.lines().filter(|line| !line.contains('/')) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn verify_finds_nothing() {
    let ground = Ground::new("verify");
    let log = ground.closed("log");
    let value = on("verify", &log, &["--json"], 0).value();
    assert_eq!((value["ok"].as_bool(), value["events"].as_u64()), (Some(true), Some(EVENTS)));
    let text = on("verify", &log, &[], 0);
    assert!(text.text().contains("everything verifies") && text.err.is_empty(), "no bar where there is no terminal");
    assert_plain(text.text());
}

#[test]
fn verify_draws_a_bar_on_a_terminal() {
    let ground = Ground::new("bar");
    let log = ground.closed("log");
    let line = format!("'{}' verify '{}'", env!("CARGO_BIN_EXE_walrec"), log.display());
    let Ok(output) = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output() else {
        println!("SKIP walrec: the progress bar was NOT looked at, script (util-linux) is not here");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("[####") && text.contains(" 100 %"), "{text}");
}

#[test]
fn dump_gives_ranges() {
    let ground = Ground::new("dump");
    let log = ground.closed("log");
    let dump = |options: &[&str]| ids(&on("dump", &log, &[&["--json"], options].concat(), 0));
    assert_eq!(dump(&["--from", "4095", "--to", "4098"]), [4095, 4096, 4097, 4098]);
    assert_eq!(dump(&["--from", "19999"]), [19_999, 20_000]);
    assert_eq!(dump(&["--limit", "2"]), [1, 2]);
    let (since, until) = ((EPOCH_NS + 9_000_000).to_string(), (EPOCH_NS + 9_002_000).to_string());
    assert_eq!(dump(&["--since", &since, "--until", &until]), [9_000, 9_001, 9_002]);
    assert_eq!(dump(&["--since", "2023-11-14T22:13:20.0199995Z"]), [20_000]);
    assert_eq!(dump(&["--since", "2023-11-14T22:13:21Z"]), [0; 0]);
    assert_eq!(dump(&[]).len() as u64, EVENTS);
}

#[test]
fn dump_has_three_forms() {
    let ground = Ground::new("forms");
    let log = ground.closed("log");
    let with = |format: &str| on("dump", &log, &["--from", "8", "--limit", "2", "--format", format], 0);
    assert_plain(with("table").text());
    assert_eq!(with("table").text().lines().count(), 3);
    assert!(with("table").text().contains("  cancel  limit   ask"), "{}", with("table").text());
    let csv = with("csv");
    let rows: Vec<&str> = csv.text().lines().collect();
    assert!(rows[0].starts_with("event_id,timestamp_ns,") && rows.len() == 3);
    assert_eq!(rows[1], "8,1700000000000008000,99992,100,8,8,3,0,1,61732074686520656e67696e6520646964");
    let value = &with("json").values()[1];
    assert_eq!((value["event_id"].as_u64(), value["price"].as_i64()), (Some(9), Some(99_991)));
    assert_eq!(value["timestamp_ns"], EPOCH_NS + 9_000);
}

#[test]
fn tail_gives_the_last() {
    let ground = Ground::new("tail");
    let log = ground.closed("log");
    assert_eq!(ids(&on("tail", &log, &["--json"], 0)), (19_991..=20_000).collect::<Vec<_>>());
    assert_eq!(ids(&on("tail", &log, &["--json", "-n", "5000"], 0)), (15_001..=20_000).collect::<Vec<_>>());
    assert_eq!(ids(&on("tail", &log, &["--json", "-n", "30000"], 0)).len() as u64, EVENTS);
    assert_eq!(on("tail", &log, &["-n", "3"], 0).text().lines().count(), 4);
}

/// The 64 bytes of events, without their guards.
fn bare(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.chunks(64).map(|event| event[..60].to_vec()).collect()
}

fn recorded() -> Vec<Vec<u8>> {
    (1..=EVENTS).map(|id| event(id).to_bytes()[..60].to_vec()).collect()
}

#[test]
fn salvage_copies_everything() {
    let ground = Ground::new("salvage");
    let log = ground.closed("log");
    let out = ground.log("out.raw");
    let value = on("salvage", &log, &["--json", "--out", out.to_str().unwrap()], 0).value();
    assert_eq!((value["events"].as_u64(), value["gaps"].as_array().map(Vec::len)), (Some(EVENTS), Some(0)));
    assert!(bare(&fs::read(&out).unwrap()) == recorded(), "the events");
    let again = on("salvage", &log, &["--out", out.to_str().unwrap()], 2);
    assert!(again.err.contains("is there already"), "{}", again.err);
    let inside = on("salvage", &log, &["--out", log.join("x").to_str().unwrap()], 2);
    assert!(inside.err.contains("lies in the log directory"), "{}", inside.err);
    let csv = ground.log("out.csv");
    on("salvage", &log, &["--format", "csv", "--out", csv.to_str().unwrap()], 0);
    assert_eq!(fs::read_to_string(csv).unwrap().lines().count() as u64, EVENTS + 1);
}

#[test]
fn replay_gives_the_bytes() {
    let ground = Ground::new("replay");
    let log = ground.closed("log");
    let fast = on("replay", &log, &[], 0);
    assert!(bare(&fast.out) == recorded(), "the events");
    assert!(fast.err.contains("20,000 events in "), "{}", fast.err);
    let paced = on("replay", &log, &["--rate", "10000", "--limit", "2000", "--json"], 0);
    assert!(bare(&paced.out) == recorded()[..2_000], "the events");
    let told: serde_json::Value = serde_json::from_str(paced.err.lines().last().unwrap()).unwrap();
    assert_eq!((told["events"].as_u64(), told["done"].as_bool()), (Some(2_000), Some(true)));
    assert!(told["seconds"].as_f64().unwrap() >= 0.199, "faster than its rate: {told}");
}

#[test]
fn nobody_writes_to_it() {
    let ground = Ground::new("nobody");
    let log = ground.closed("log");
    let stats = on("stats", &log, &["--json"], 3);
    assert_eq!(stats.value()["error"]["exit_code"], 3);
    assert!(stats.err.contains("no recorder has it open"), "{}", stats.err);
    let bench = on("bench", &log, &["--events", "1000"], 2);
    assert!(bench.err.contains("is a log itself"), "{}", bench.err);
}

#[test]
fn doctor_looks_at_the_machine() {
    let ground = Ground::new("doctor");
    let log = ground.closed("log");
    // What it finds is this machine's: 0 or 1.
    let ran = walrec(&["doctor", log.to_str().unwrap(), "--json"]);
    let value = ran.value();
    let findings = value["findings"].as_array().unwrap();
    assert!(findings.len() >= 12 && value["measured"].is_null(), "{value}");
    assert_eq!(findings.last().unwrap()["status"], "unknown", "what was not asked for is told: {value}");
    let bad = findings.iter().any(|finding| finding["status"] == "bad");
    assert_eq!(ran.code, i32::from(bad), "{}", ran.err);
    on("doctor", &log, &[], ran.code);
    let before = fs::read_dir(ground.path()).unwrap().count();
    let measured = walrec(&["doctor", log.to_str().unwrap(), "--json", "--measure"]).value();
    let file = measured["measured"]["file"].as_str().unwrap();
    assert!(!file.starts_with(log.to_str().unwrap()), "it measures beside the log: {file}");
    assert!(measured["measured"]["cycles"].as_u64() > Some(100), "{measured}");
    assert_eq!(fs::read_dir(ground.path()).unwrap().count(), before, "the temporary file is removed");
    println!("FIGURE walrec doctor --measure here: {}", measured["measured"]);
    // The prediction beside what a recorder has on the same disk in the next moment. A time is told, not held.
    let place = ground.empty("place");
    let benched = on("bench", &place, &["--events", "100000", "--rate", "100000", "--json"], 0).value();
    let lag = &benched["distributions"][1];
    assert!(lag["count"].as_u64() > Some(1_500), "{benched}");
    for (percentile, predicted) in [("p50", "predicted_lag_p50_us"), ("p99", "predicted_lag_p99_us")] {
        let found = lag[format!("{percentile}_ns")].as_u64().unwrap() / 1_000;
        println!(
            "FIGURE walrec doctor: lag {percentile} predicted {} us, measured {found} us",
            measured["measured"][predicted]
        );
    }
}
