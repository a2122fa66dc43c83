//! Other logs beside walrec, in one run: what an event costs that is accepted, what one costs that is durable, and what is left of
//! the accepted ones after kill -9.
//!
//! ```text
//! walrec-peers DIRECTORY RESULT.json      a directory is made in DIRECTORY for the logs, and removed at the end
//! PEERS=walrec,LMDB                       these only, and walrec
//! QUICK=1                                 one round of short parts
//! ROUNDS=5                                rounds
//! ```
//!
//! Each round goes through all the peers, and each peer has a process of its own for each table in it, so that the figures of a
//! round were taken beside each other: ratios are medians over the rounds, not ratios of medians.

mod child;
mod clock;
mod event;
mod kill;
mod machine;
mod map;
mod parent;
mod peer;
mod peers;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use child::Act;
use peer::{Outcome, Row};

/// A child that takes longer has no figures.
const PATIENCE_SECONDS: u32 = 180;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let rows = peers::rows();
    let outcome = match words[..] {
        ["child", name, ref act @ ..] => be_child(&rows, name, act),
        [directory, result] => parent::run(rows, &PathBuf::from(directory), &PathBuf::from(result)),
        _ => Err("usage: walrec-peers DIRECTORY RESULT.json".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("walrec-peers: {why}");
            ExitCode::FAILURE
        }
    }
}

fn be_child(rows: &[Row], name: &str, act: &[&str]) -> Outcome<()> {
    // Ended when it takes too long, and when its parent is.
    // SAFETY: no pointers.
    unsafe {
        libc::alarm(PATIENCE_SECONDS);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    let row = rows.iter().find(|row| row.name == name).ok_or("no such peer")?;
    let act = match act {
        ["accept", dir, ms] => Act::Accept { dir: dir.into(), limit: Duration::from_millis(ms.parse()?) },
        ["sync", dir, ms] => Act::Sync { dir: dir.into(), limit: Duration::from_millis(ms.parse()?) },
        ["record", dir, progress] => Act::Record { dir: dir.into(), progress: progress.into() },
        ["recover", dir] => Act::Recover { dir: dir.into() },
        _ => return Err("no such act".into()),
    };
    row.act?(&act)
}
