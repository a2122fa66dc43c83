//! What a campaign came across, and that it came across enough.

use std::fmt;
use std::time::Duration;

use crate::judge::{Fault, SIGHTS, Seen, Sight};
use crate::rig::FileSystem;
use crate::states::{Kept, State};

/// What a campaign came across.
#[derive(Debug, Default)]
pub struct Figures {
    pub recordings: u64,
    pub states: u64,
    everything: u64,
    nothing: u64,
    parts: u64,
    pub unmountable: u64,
    pub lost: u64,
    pub wrong: u64,
    pub playing: Duration,
    /// How many states showed each of [`SIGHTS`].
    seen: [u64; SIGHTS.len()],
}

impl Figures {
    pub fn count(&mut self, state: &State, outcome: &Result<Seen, Fault>) {
        self.states += 1;
        *match state.kept {
            Kept::Everything => &mut self.everything,
            Kept::Nothing => &mut self.nothing,
            Kept::Part(_) => &mut self.parts,
        } += 1;
        match outcome {
            Ok(seen) => {
                for (count, (sight, _)) in self.seen.iter_mut().zip(SIGHTS) {
                    *count += u64::from(seen.contains(&sight));
                }
            }
            Err(Fault::Mount(_)) => self.unmountable += 1,
            Err(Fault::Lost(_)) => self.lost += 1,
            Err(Fault::Wrong(_)) => self.wrong += 1,
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.recordings += other.recordings;
        self.states += other.states;
        self.everything += other.everything;
        self.nothing += other.nothing;
        self.parts += other.parts;
        self.unmountable += other.unmountable;
        self.lost += other.lost;
        self.wrong += other.wrong;
        self.playing += other.playing;
        for (count, other) in self.seen.iter_mut().zip(other.seen) {
            *count += other;
        }
    }

    pub fn all_good(&self) -> bool {
        self.unmountable + self.lost + self.wrong == 0
    }

    /// In a campaign each kind of state must have come up, else it proved less than it says.
    pub fn assert_telling(&self, file_system: FileSystem) {
        for (count, (sight, what)) in self.seen.iter().zip(SIGHTS) {
            let possible = file_system.can_shut_down() || sight != Sight::CutAgain;
            assert!(*count > 0 || !possible || self.states < 2_000, "the campaign saw no state {what}");
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = u64::try_from(self.playing.as_millis()).unwrap_or(u64::MAX).max(1);
        write!(
            out,
            "{} states from {} recordings ({} prefixes, {} with nothing since the last flush, {} torn or reordered), {} a second: {} lost, \
             {} wrong, {} that could not be mounted;",
            self.states,
            self.recordings,
            self.everything,
            self.nothing,
            self.parts,
            self.states * 1_000 / milliseconds,
            self.lost,
            self.wrong,
            self.unmountable
        )?;
        let seen: Vec<String> =
            self.seen.iter().zip(SIGHTS).map(|(count, (_, what))| format!(" {count} {what}")).collect();
        out.write_str(&seen.join(","))
    }
}
