//! The same life under strace: that the shim sees every call which changes something, and kills by strace itself.
//!
//! strace counts each thread's calls apart, so that `when=N` kills at the N-th call of the first thread that makes so many; all sites
//! are reached by the shim alone (see `kills`), which this holds to be complete.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use super::case::SCENARIOS;
use super::random::{Random, number_from};
use super::stand::{Stand, run, sample_from, with_suffix};
use super::toolchain;

/// Calls that change something, and their names at the shim.
const CHANGING: [(&str, &str); 13] = [
    ("openat", "create"),
    ("fallocate", "fallocate"),
    ("pwrite64", "pwrite"),
    ("fdatasync", "fdatasync"),
    ("fsync", "fsync"),
    ("renameat", "renameat"),
    ("renameat2", "renameat2"),
    ("linkat", "linkat"),
    ("unlinkat", "unlinkat"),
    ("ftruncate", "ftruncate"),
    ("mkdir", "mkdir"),
    ("mkdirat", "mkdirat"),
    ("rmdir", "rmdir"),
];
/// Calls on the log's files that change nothing, or only what the process itself sees.
const READING: [&str; 17] = [
    "openat",
    "pread64",
    "read",
    "fstat",
    "newfstatat",
    "statx",
    "fstatfs",
    "getdents64",
    "lseek",
    "close",
    "flock",
    "fcntl",
    "fadvise64",
    "readlink",
    "access",
    "mmap",
    "execve",
];

fn has_strace() -> bool {
    let found = Command::new("strace").args(["-f", "-qq", "-e", "trace=none", "true"]).output();
    let works = found.as_ref().is_ok_and(|output| output.status.success());
    if !works {
        let why =
            found.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stderr).into_owned());
        toolchain::announce(&format!("SKIP sites under strace: NOT run, strace does not work here: {}", why.trim()));
    }
    works
}

/// The call of a line of strace, `PID CALL(...`; `None` for the rest of an interrupted line, and for exits and signals.
fn call_of(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let (call, arguments) = rest.split_once('(')?;
    call.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_').then_some((call, arguments))
}

/// Whether a line is about a file of the log or of a stage.
fn is_ours(arguments: &str, work: &Path) -> bool {
    let work = work.display();
    let stage =
        arguments.split("/walrec-").skip(1).any(|rest| rest.chars().take_while(char::is_ascii_hexdigit).count() == 32);
    let parent = format!("{work}>");
    stage
        || arguments.contains(&format!("{work}/log"))
        || arguments.contains(&format!("{work}/shm"))
        || arguments.contains(&parent)
}

/// How often each changing call was made on our files; an unknown call on one of them is an error.
fn changes(trace: &str, work: &Path) -> Result<BTreeMap<String, u64>, String> {
    let mut counts = BTreeMap::new();
    for line in trace.lines() {
        let Some((call, arguments)) = call_of(line) else { continue };
        // What is written may speak of any file.
        let arguments = if call == "write" { arguments.split(',').next().unwrap_or_default() } else { arguments };
        if !is_ours(arguments, work) {
            continue;
        }
        let creates = call == "openat" && arguments.contains("O_CREAT");
        match CHANGING.iter().find(|(traced, _)| *traced == call) {
            Some((_, name)) if call != "openat" || creates => *counts.entry((*name).to_owned()).or_insert(0) += 1,
            _ if !READING.contains(&call) => return Err(format!("a call on the log's files that no list has: {line}")),
            _ if call == "openat" && arguments.contains("O_TRUNC") => return Err(format!("cuts a file: {line}")),
            _ => {}
        }
    }
    Ok(counts)
}

#[test]
fn the_shim_sees_every_change() {
    if !has_strace() {
        return;
    }
    let stand = Stand::new("traced");
    let mut all = 0;
    for scenario in SCENARIOS {
        let work = stand.set_up(scenario);
        let (trace, record) = (with_suffix(&work, "trace"), with_suffix(&work, "record"));
        let output = trace.display().to_string();
        let outcome =
            run(&mut stand.traced(scenario, &work, &["-y", "-s", "300", "-o", &output], Some(&record)), &work);
        assert!(outcome.status.success(), "{scenario}: {}\n{}", outcome.status, outcome.text);
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let traced = changes(&read(&trace), &work).unwrap_or_else(|why| panic!("{scenario}: {why}"));
        let mut seen = BTreeMap::new();
        for line in read(&record).lines().filter_map(|line| line.strip_suffix(" changes")) {
            *seen.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
        assert_eq!(traced, seen, "{scenario}: by strace, and by the shim");
        all += traced.values().sum::<u64>();
    }
    // The control: a call that the shim does not know would be told.
    let control = "7 copy_file_range(3</work/log/a>, NULL, 4</work/log/b>, NULL, 9, 0) = 9";
    assert!(changes(control, Path::new("/work")).is_err());
    toolchain::announce(&format!(
        "FIGURE sites under strace: {all} calls that change something in {} lives, and the shim saw each of them",
        SCENARIOS.len()
    ));
    assert!(all > 500);
}

#[test]
fn killed_by_strace() {
    if !has_strace() {
        return;
    }
    let all = sample_from("WALREC_SITES", 0) == u64::MAX;
    let mut random = Random(number_from("WALREC_SEED", 20_240_229));
    let stand = Stand::new("strace");
    let (mut kills, mut by_call) = (0, String::new());
    for scenario in if all { &["fresh", "recover", "lost"][..] } else { &["recover"] } {
        for (call, _) in CHANGING {
            // In short form one of the first calls of each kind.
            let first = if all { 1 } else { 1 + random.below(6) };
            let mut n = first;
            loop {
                let work = stand.set_up(scenario);
                let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={n}"));
                let output = with_suffix(&work, "trace").display().to_string();
                let outcome =
                    run(&mut stand.traced(scenario, &work, &["-o", &output, "-e", &trace, "-e", &inject], None), &work);
                let killed = outcome.status.signal() == Some(9);
                assert!(
                    killed || outcome.status.success(),
                    "{scenario} {inject}: {}\n{}",
                    outcome.status,
                    outcome.text
                );
                if killed {
                    kills += 1;
                    let check = stand.check(scenario, &work);
                    assert!(
                        check.status.success(),
                        "{scenario} {inject}: {}\n{}{}",
                        check.status,
                        outcome.text,
                        check.text
                    );
                }
                let _ = fs::remove_dir_all(&work);
                if !killed || !all {
                    let _ = write!(by_call, " {call} {},", n - u64::from(!killed));
                    break;
                }
                n += 1;
            }
        }
        by_call.push_str(" end of a scenario;");
    }
    toolchain::announce(&format!("FIGURE sites: {kills} kills by strace, up to the call:{by_call} 0 lost or wrong"));
    assert!(kills >= 5, "only {kills} kills");
}
