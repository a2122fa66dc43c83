//! Wrong uses, logs that are not there, and standard output that is closed early.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::ground::{EVENTS, Ground, command, contents, on, wait_for, walrec};

const ON_LOGS: [&str; 6] = ["info", "verify", "dump", "tail", "stats", "replay"];

#[test]
fn an_empty_directory_is_no_log() {
    let ground = Ground::new("empty");
    let empty = ground.empty("log");
    let out = ground.log("out");
    for name in ON_LOGS {
        let ran = on(name, &empty, &[], 3);
        assert!(ran.err.contains(empty.to_str().unwrap()) && ran.out.is_empty(), "{name}: {}", ran.err);
        let value = on(name, &empty, &["--json"], 3).value();
        assert_eq!(value["error"]["exit_code"], 3, "{name}: {value}");
    }
    on("salvage", &empty, &["--out", out.to_str().unwrap()], 3);
    assert!(!out.exists(), "a file was made for nothing");
    walrec(&["doctor", empty.to_str().unwrap()]);
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let ground = Ground::new("nothing");
    let nothing = ground.log("nothing");
    let nothing = nothing.to_str().unwrap();
    let out = ground.log("out");
    for name in ON_LOGS.into_iter().chain(["doctor", "bench"]) {
        let ran = walrec(&[name, nothing]);
        assert_eq!(ran.code, 3, "{name}: {}", ran.err);
        assert!(ran.err.starts_with("walrec: ") && ran.err.contains(nothing), "{name}: {}", ran.err);
    }
    assert_eq!(walrec(&["salvage", nothing, "--out", out.to_str().unwrap()]).code, 3);
}

/// Every command on `log`, with an `--out` where it takes one.
fn every_command(log: &str, out: &str) -> Vec<Vec<String>> {
    let more: [&[&str]; 6] = [
        &["salvage", "--out", out],
        &["export", "--out", out, "--format", "arrow"],
        &["doctor"],
        &["doctor", "--measure"],
        &["bench", "--events", "1000"],
        &["stats", "--watch", "--count", "1", "--interval", "0.01"],
    ];
    let on_logs = ON_LOGS.iter().map(std::slice::from_ref).chain(more);
    on_logs.map(|words| words.iter().copied().chain([log]).map(str::to_owned).collect()).collect()
}

#[test]
fn a_file_in_the_place_of_a_directory_ends_in_4() {
    let ground = Ground::new("file");
    let file = ground.log("file");
    fs::write(&file, "no log").unwrap();
    for words in every_command(file.to_str().unwrap(), ground.log("out").to_str().unwrap()) {
        let ran = walrec(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(ran.code, 4, "{words:?}: {}", ran.err);
        assert!(
            ran.err.contains(file.to_str().unwrap()) && ran.err.to_lowercase().contains("not a directory"),
            "{words:?}: {}",
            ran.err
        );
    }
}

/// Somebody without rights: the log is shut to him, or open to be listed while its files are not.
#[test]
fn without_permission_commands_end_in_4() {
    const NOBODY: u32 = 65_534;
    let ground = Ground::new("rights");
    let log = ground.closed("log");
    // Where everyone may come to it, a copy of the command among them.
    let open = std::env::temp_dir().join(format!("walrec-cli-{}", std::process::id()));
    fs::create_dir_all(&open).unwrap();
    let (program, log_there, out) = (open.join("walrec"), open.join("log"), open.join("out"));
    fs::copy(env!("CARGO_BIN_EXE_walrec"), &program).unwrap();
    fs::create_dir(&log_there).unwrap();
    for (name, bytes) in contents(&log) {
        fs::write(log_there.join(&name), bytes).unwrap();
        fs::set_permissions(log_there.join(&name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let as_nobody = |words: &[String]| Command::new(&program).args(words).uid(NOBODY).gid(NOBODY).output();
    if as_nobody(&["--version".into()]).is_ok_and(|output| output.status.success()) {
        // Group and others may write there too, so that only the command's own rule keeps it from doing so.
        for mode in [0o700, 0o777] {
            fs::set_permissions(&log_there, fs::Permissions::from_mode(mode)).unwrap();
            let before = contents(&log_there);
            for words in every_command(log_there.to_str().unwrap(), out.to_str().unwrap()) {
                let output = as_nobody(&words).unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                if words[0] == "doctor" && words.len() == 2 {
                    assert!(output.status.code().is_some_and(|code| code < 2), "the machine can be looked at: {said}");
                    continue;
                }
                assert_eq!(output.status.code(), Some(4), "{words:?}: {said}");
                assert!(said.contains(log_there.to_str().unwrap()) && said.contains("denied"), "{words:?}: {said}");
            }
            assert!(contents(&log_there) == before, "something was written into the log");
        }
        assert!(!out.exists(), "a file was made for nothing");
    } else {
        println!("SKIP walrec: what it does without permission DID NOT RUN, it needs root");
    }
    fs::remove_dir_all(&open).unwrap();
}

#[test]
fn wrong_uses_end_in_2() {
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["verify"],
        &["dump", "x", "--no-such"],
        &["dump", "x", "--from", "a"],
        &["dump", "x", "--since", "yesterday"],
        &["dump", "x", "--from", "1", "--since", "1"],
        &["stats", "x", "--interval", "0"],
        &["stats", "x", "--count", "1"],
        &["bench", "x", "--events", "1"],
        &["salvage", "x"],
    ] {
        let ran = walrec(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert!(!ran.err.is_empty() && ran.out.is_empty());
    }
    for asked in ["--help", "--version", "help"] {
        let ran = walrec(&[asked]);
        assert!(ran.code == 0 && ran.err.is_empty() && ran.text().contains("walrec"), "{asked}");
    }
    assert!(walrec(&["--help"]).text().contains("Exit codes: 0 done, nothing wrong; 1 a fault"));
}

#[test]
fn an_early_end_of_the_reader_is_quiet() {
    let ground = Ground::new("early");
    let log = ground.closed("log");
    for (name, forms) in [("dump", 2), ("replay", 1)] {
        for json in [&[][..], &["--json"]].into_iter().take(forms) {
            let mut child = command(&[&[name, log.to_str().unwrap()], json].concat())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut out = BufReader::with_capacity(64, child.stdout.take().unwrap());
            assert!(!out.fill_buf().unwrap().is_empty());
            drop(out);
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{name} {json:?}");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name} {json:?}");
        }
    }
    // A whole dump is longer than a pipe: it did meet the closed end.
    assert!(on("dump", &log, &[], 0).out.len() as u64 > EVENTS * 64);
}

#[test]
fn an_interrupted_bench_tells_what_it_has_and_clears_up() {
    let ground = Ground::new("interrupted");
    let place = ground.empty("place");
    let mut bench = command(&["bench", place.to_str().unwrap(), "--events", "1000000000", "--rate", "10000", "--json"]);
    let child = bench.stdout(Stdio::piped()).spawn().unwrap();
    let log = || fs::read_dir(&place).unwrap().next().map(|entry| entry.unwrap().path());
    let stage = || {
        let id = fs::read_to_string(log()?.join("walrec.id")).ok()?;
        let stage = PathBuf::from(format!("/dev/shm/walrec-{}", id.trim()));
        stage.exists().then_some(stage)
    };
    wait_for("a stage", || stage().is_some());
    let stage = stage().unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(value["events"].as_u64() < Some(1_000_000), "{value}");
    assert_eq!(value["distributions"][0]["count"], value["events"]);
    assert!(log().is_none() && !stage.exists(), "the log and its stage are cleared away");
}

#[test]
fn bench_leaves_nothing_but_what_was_asked_for() {
    let ground = Ground::new("bench");
    let place = ground.empty("place");
    let (hdr, svg) = (ground.log("run"), ground.log("run.svg"));
    let files = ["--hdr", hdr.to_str().unwrap(), "--svg", svg.to_str().unwrap()];
    let ran = on("bench", &place, &[&["--events", "50000", "--rate", "0", "--json"], &files[..]].concat(), 0);
    let value = ran.value();
    let names: Vec<&str> =
        value["distributions"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["append", "append to durable", "timer alone"]);
    assert_eq!(value["distributions"][0]["count"], 50_000);
    assert_eq!(value["distributions"][1]["count"], 50_000 / 64);
    assert!(fs::read_to_string(&svg).unwrap().ends_with("</svg>\n"));
    for suffix in ["append", "durable"] {
        let text = fs::read_to_string(ground.log(&format!("run.{suffix}.hgrm"))).unwrap();
        assert!(text.contains("1/(1-Percentile)") && text.contains("#[Max"), "{text}");
    }
    let text = on("bench", &place, &["--events", "20000"], 0);
    assert!(text.text().contains("p99.9") && text.err.is_empty(), "{}", text.text());
}
