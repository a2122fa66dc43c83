//! On a log that a recorder has open, here or in a process that is killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use walrec::recorder;
use walrec::segment::read_meta;
use walrec::storage::{RealSystem, System};

use crate::ground::{self, CHILD, Ground, PER_SEGMENT, append_to, command, config, ids, on, wait_for, walrec};

const FIRST: u64 = 6_000;

/// Nothing of the recorder's own is on its way to the directory: the last id is in the meta file, two segments are there beyond.
fn wait_until_still(log: &Path, last: u64) {
    wait_for("a recorder at rest", || {
        let directory = RealSystem.open_directory(log, true).unwrap();
        let names = directory.names().unwrap();
        let moving = names.iter().any(|name| name.to_string_lossy().ends_with(".tmp"));
        read_meta(&*directory).unwrap().last_event_id == last && !moving
    });
}

#[test]
fn commands_run_beside_a_recorder() {
    let ground = Ground::new("live");
    let log = ground.log("log");
    let (mut writer, manager) = recorder::open(&log, &config()).unwrap();
    append_to(&mut writer, &manager, FIRST);
    // The preparer's zeros change no byte, but times of change: those are compared on logs that nobody has open.
    wait_until_still(&log, FIRST);
    wait_for("prepared segments", || {
        let value = walrec(&["stats", log.to_str().unwrap(), "--json", "--interval", "0.01"]).value();
        value["slots_in_use"].as_u64().unwrap() + value["slots_prepared"].as_u64().unwrap() == 6
    });
    let before = ground::contents(&log);
    let run = |name: &str, options: &[&str]| {
        let ran = walrec(&[&[name, log.to_str().unwrap()], options].concat());
        assert_eq!(ran.code, 0, "{name}: {}", ran.err);
        ran
    };
    let info = run("info", &["--json"]).value();
    assert_eq!((info["events"].as_u64(), info["appended_event_id"].as_u64()), (Some(FIRST), Some(FIRST)));
    assert_eq!((info["recorder"].as_str(), info["stage"]["state"].as_str()), (Some("running"), Some("open")));
    assert_eq!(info["recorder_pid"], std::process::id());
    assert_eq!(info["open"].as_u64().unwrap() + info["sealed"].as_u64().unwrap(), 2);
    assert!(run("info", &[]).text().contains("recorder      running, process "), "the recorder is seen");
    assert_eq!(run("verify", &["--json"]).value()["events"], FIRST);
    assert_eq!(ids(&run("dump", &["--json"])).last(), Some(&FIRST));
    assert_eq!(ids(&run("tail", &["--json", "-n", "1"])), [FIRST]);
    assert_eq!(run("replay", &[]).out.len() as u64, FIRST * 64);
    let out = ground.log("out.raw");
    assert_eq!(run("salvage", &["--json", "--out", out.to_str().unwrap()]).value()["events"], FIRST);
    let out = ground.log("out.parquet");
    assert_eq!(run("export", &["--json", "--out", out.to_str().unwrap()]).value()["events"], FIRST);
    let stats = run("stats", &["--json", "--interval", "0.05"]).value();
    assert_eq!((stats["appended_event_id"].as_u64(), stats["durable_event_id"].as_u64()), (Some(FIRST), Some(FIRST)));
    assert_eq!((stats["lag"].as_u64(), stats["segment"].as_u64()), (Some(0), Some(1)));
    assert_eq!(
        (stats["segment_events"].as_u64(), stats["poisoned"].as_bool()),
        (Some(FIRST - PER_SEGMENT), Some(false))
    );
    let watch = run("stats", &["--watch", "--count", "2", "--interval", "0.01"]);
    assert_eq!(watch.text().lines().count(), 3);
    assert!(ground::contents(&log) == before, "something changed beside the recorder");
    manager.shutdown().unwrap();
    on("stats", &log, &[], 3);
}

#[test]
fn stats_sees_rates() {
    let ground = Ground::new("rates");
    let log = ground.log("log");
    let (mut writer, manager) = recorder::open(&log, &config()).unwrap();
    append_to(&mut writer, &manager, 10);
    let mut child = command(&["stats", log.to_str().unwrap(), "--json", "--watch", "--interval", "0.2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    let first = next();
    let base = first["appended_event_id"].as_u64().unwrap();
    // Across a rotation; a look may fall between, so rates are summed up.
    append_to(&mut writer, &manager, 9_000);
    let (mut counted, mut durable) = (0.0, 0.0);
    loop {
        let look = next();
        let seconds = look["seconds"].as_f64().unwrap();
        counted += look["appends_per_second"].as_f64().unwrap() * seconds;
        durable += look["durable_per_second"].as_f64().unwrap() * seconds;
        if look["durable_event_id"] == 9_000 {
            break;
        }
    }
    let _ = child.kill();
    child.wait().unwrap();
    assert_eq!(base, 10);
    assert!((counted - 8_990.0).abs() < 20.0 && (durable - 8_990.0).abs() < 20.0, "{counted} {durable}");
}

#[test]
fn tail_follows() {
    let ground = Ground::new("follow");
    let log = ground.log("log");
    let (mut writer, manager) = recorder::open(&log, &config()).unwrap();
    append_to(&mut writer, &manager, 3);
    let mut child = command(&["tail", "-f", "-n", "2", "--json", log.to_str().unwrap()]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let value: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        value["event_id"].as_u64().unwrap()
    };
    assert_eq!((next(), next()), (2, 3));
    append_to(&mut writer, &manager, PER_SEGMENT + 5);
    for id in 4..=PER_SEGMENT + 5 {
        assert_eq!(next(), id);
    }
    // It ends quietly when nobody listens any more.
    drop(lines);
    append_to(&mut writer, &manager, PER_SEGMENT + 6);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_failed_recorder_is_told() {
    let ground = Ground::new("failed");
    let log = ground.log("log");
    let (mut writer, manager) = recorder::open(&log, &config()).unwrap();
    append_to(&mut writer, &manager, 100);
    manager.poison("a test says so".into());
    let stats = walrec(&["stats", log.to_str().unwrap(), "--interval", "0.01"]);
    assert!(stats.code == 0 && stats.text().contains("FAILED: it refuses appends"), "{}", stats.text());
    let stats = walrec(&["stats", log.to_str().unwrap(), "--interval", "0.01", "--json"]).value();
    assert_eq!((stats["poisoned"].as_bool(), stats["durable_event_id"].as_u64()), (Some(true), Some(100)));
}

/// The recorder that is killed: this test in a process of its own.
#[test]
fn a_recorder_to_be_killed() {
    let Some(log) = std::env::var_os(CHILD) else { return };
    let (mut writer, manager) = recorder::open(Path::new(&log), &config()).unwrap();
    append_to(&mut writer, &manager, 5_000);
    println!("\nREADY");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_recorder_is_told() {
    let ground = Ground::new("killed");
    let log = ground.log("log");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "live::a_recorder_to_be_killed", "--nocapture"])
        .env(CHILD, &log)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "READY"), "the child records");
    let pid = child.id();
    let stats = walrec(&["stats", log.to_str().unwrap(), "--json", "--interval", "0.01"]).value();
    assert_eq!((stats["recorder"].as_str(), stats["recorder_pid"].as_u64()), (Some("running"), Some(pid.into())));
    child.kill().unwrap();
    child.wait().unwrap();
    let stats = on("stats", &log, &["--json", "--interval", "0.01"], 0).value();
    assert_eq!((stats["recorder"].as_str(), stats["appended_event_id"].as_u64()), (Some("not_seen"), Some(5_000)));
    assert_eq!(on("info", &log, &["--json"], 0).value()["recorder"], "not_seen");
    assert_eq!(on("verify", &log, &["--json"], 0).value()["events"], 5_000);
    assert_eq!(ids(&on("tail", &log, &["--json", "-n", "1"], 0)), [5_000]);
    // Its stage goes with the next opening.
    let (_writer, manager) = recorder::open(&log, &config()).unwrap();
    manager.shutdown().unwrap();
    assert_eq!(on("info", &log, &["--json"], 0).value()["events"], 5_000);
}
