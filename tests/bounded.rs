//! A log that freezes and deletes stays within its limits, what is left reads back, and the append thread notices nothing of it; see
//! `tests/c/bounded.c`.
//!
//! WALREC_TEST_EVENTS sets the number of events (default 2,000,000), WALREC_TEST_ROUNDS the number of sessions that they are
//! spread over (default 2); `make bounded` sets both. There is no seed: every event derives from its id.

#[path = "c/toolchain.rs"]
#[allow(dead_code, reason = "shared with c_face.rs, which uses more of it")]
mod toolchain;

use std::fs;
use std::time::Duration;

/// The program ends itself earlier, in a time that it takes from the number of events.
const LIMIT: Duration = Duration::from_secs(3600);

#[test]
fn within_the_limits_and_without_a_trace() {
    let program = toolchain::build("bounded", "bounded", &["-rdynamic", "-fno-builtin"]);
    let work = toolchain::fresh_directory("bounded", false);
    let output = toolchain::build_directory().join("bounded.out");
    let outcome = toolchain::run(&program, &[&work], &output, LIMIT);
    for line in outcome.text.lines().filter(|line| line.starts_with("SKIP") || line.starts_with("FIGURE")) {
        toolchain::announce(line);
    }
    // Left there after a failure, to be looked at.
    assert!(outcome.status.success(), "{}; its files are in {}\n{}", outcome.status, work.display(), outcome.text);
    let _ = fs::remove_dir_all(&work);
}
