//! The claim "survives kill -9", tried: a child appends and says in shared memory which event was accepted last, is killed at some
//! moment, and what it left is opened and compared by another.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::child::PROGRESS_BYTES;
use crate::parent::{self, Measured};
use crate::peer::{Outcome, Survives};

/// A child that has not accepted anything by then is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one kill left.
pub struct Left {
    /// The event that was accepted last.
    pub accepted: u64,
    /// Events from the first on that are there as they were given.
    pub whole: u64,
    /// Other records than these.
    pub wrong: u64,
}

impl Left {
    /// Accepted and not there.
    pub fn lost(&self) -> u64 {
        self.accepted.saturating_sub(self.whole)
    }
}

/// Whether the kills say what the peer says. Of one that claims nothing, nothing is asked.
pub fn holds(survives: Survives, kills: &[Left]) -> bool {
    survives == Survives::Nothing || kills.iter().all(|left| left.lost() == 0 && left.wrong == 0)
}

/// Kills it so many times.
pub fn examine(measured: &mut Measured, place: &Path, kills: usize) {
    if measured.row.act.is_err() || !measured.row.replays {
        return;
    }
    for at in 0..kills {
        // Spread over half a second, at no round number of anything.
        let moment = Duration::from_micros(37_003 + at as u64 * 47_017);
        match kill_at(measured.row.name, place, moment) {
            Ok(left) => measured.kills.push(left),
            Err(why) => measured.failures.push(format!("kill -9: {why}")),
        }
    }
}

fn kill_at(peer: &str, place: &Path, moment: Duration) -> Outcome<Left> {
    let dir = parent::fresh(place, "killed");
    let progress = place.join("progress");
    fs::write(&progress, [0; PROGRESS_BYTES as usize])?;
    let file = File::open(&progress)?;
    let accepted = || {
        let mut bytes = [0; PROGRESS_BYTES as usize];
        file.read_exact_at(&mut bytes, 0).map(|()| u64::from_le_bytes(bytes))
    };
    let mut child = parent::start(peer, &["record".as_ref(), dir.as_os_str(), progress.as_os_str()])?;
    let begin = Instant::now();
    while accepted()? == 0 && child.try_wait()?.is_none() && begin.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(moment);
    child.kill()?;
    let output = child.wait_with_output()?;
    let accepted = accepted()?;
    if output.status.code().is_some() || accepted == 0 {
        return Err(format!("it ended by itself: {}", parent::last_line(&output.stderr)).into());
    }
    let figures = parent::figures_of(peer, &["recover".as_ref(), dir.as_os_str()])?;
    let figure = |name: &str| figures.iter().find(|(of, _)| of == name).map_or(0, |&(_, value)| value as u64);
    let left = Left { accepted, whole: figure("whole"), wrong: figure("wrong") };
    parent::clear(&dir);
    fs::remove_file(&progress)?;
    Ok(left)
}
