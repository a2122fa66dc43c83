//! A log that freezes and deletes stays within its limits, what is left reads back, and the append thread notices nothing
//! of it; see `tests/c/bounded.c`.
//!
//! WALREC_TEST_EVENTS sets the number of events (default 2,000,000), WALREC_TEST_ROUNDS the number of sessions that they are
//! spread over (default 2); `make bounded` sets both. There is no seed: every event derives from its id.

#[path = "c/toolchain.rs"]
#[allow(dead_code, reason = "shared with c_face.rs, which uses more of it")]
mod toolchain;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// One of them at a time: they count what happens on a CPU.
static MACHINE: Mutex<()> = Mutex::new(());

/// The program ends itself earlier, in a time that it takes from the number of events.
const LIMIT: Duration = Duration::from_secs(3600);

/// Runs `command`, the program or what runs it, and lets its figures be seen.
fn run(command: &Path, arguments: &[&Path], name: &str) {
    let _alone = MACHINE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let output = toolchain::build_directory().join(format!("{name}.out"));
    let outcome = toolchain::run(command, arguments, &output, LIMIT);
    for line in outcome.text.lines().filter(|line| line.starts_with("SKIP") || line.starts_with("FIGURE")) {
        toolchain::announce(&format!("{line} [{name}]"));
    }
    assert!(outcome.status.success(), "{name}: {}; it had {arguments:?}\n{}", outcome.status, outcome.text);
}

#[test]
fn within_the_limits_and_without_a_trace() {
    let program = toolchain::build("bounded", "bounded", &["-rdynamic", "-fno-builtin"]);
    let work = toolchain::fresh_directory("bounded", false);
    run(&program, &[&work], "bounded");
    // Left there after a failure, to be looked at.
    let _ = fs::remove_dir_all(&work);
}

/// The same where the file system cannot allocate, and files are filled by writing.
#[test]
fn without_fallocate() {
    if Command::new("strace").arg("--version").output().is_err() {
        toolchain::announce("SKIP bounded: NOT run without fallocate: there is no strace (Debian package strace)");
        return;
    }
    let program = toolchain::build("bounded", "bounded-filled", &["-rdynamic", "-fno-builtin"]);
    let work = toolchain::fresh_directory("bounded-filled", false);
    let trace = work.with_extension("strace");
    let inject = ["-f", "-qq", "-etrace=fallocate", "-einject=fallocate:error=EOPNOTSUPP", "-o"];
    let environment = ["-EWALREC_TEST_EVENTS=600000", "-EWALREC_TEST_ROUNDS=1"];
    let mut arguments: Vec<&Path> = inject.iter().map(Path::new).collect();
    arguments.push(&trace);
    arguments.extend(environment.iter().map(Path::new));
    arguments.extend([program.as_path(), work.as_path()]);
    run(Path::new("strace"), &arguments, "bounded without fallocate");
    let injected = fs::read_to_string(&trace).unwrap_or_default().matches("INJECTED").count();
    assert!(injected > 0, "no fallocate failed");
    let _ = fs::remove_file(&trace);
    let _ = fs::remove_dir_all(&work);
}
