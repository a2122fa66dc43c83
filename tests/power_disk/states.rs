//! The states that a power cut can leave a device in.
//!
//! What was written before the last flush is there. Of what came after it, anything may be: all of it (the device kept up), nothing, or
//! any part in any order, each request torn at its units.

use std::fmt;

use crate::story::Random;
use crate::write_log::{Entry, Origin, WriteLog};

/// Parts that are drawn for each flush.
const PARTS_OF_A_FLUSH: usize = 6;

/// What a device kept of what was written after the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    Everything,
    Nothing,
    /// Drawn by this seed.
    Part(u64),
}

/// The power failed when the device had been given `at` entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    pub at: usize,
    pub kept: Kept,
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kept {
            Kept::Everything => write!(out, "{}:everything", self.at),
            Kept::Nothing => write!(out, "{}:nothing", self.at),
            Kept::Part(seed) => write!(out, "{}:{seed}", self.at),
        }
    }
}

impl State {
    pub fn parse(text: &str) -> Option<Self> {
        let (at, kept) = text.split_once(':')?;
        let kept = match kept {
            "everything" => Kept::Everything,
            "nothing" => Kept::Nothing,
            seed => Kept::Part(seed.parse().ok()?),
        };
        Some(Self { at: at.parse().ok()?, kept })
    }

    /// A number that differs from state to state.
    pub fn number(&self) -> u64 {
        let kept = match self.kept {
            Kept::Everything => 1,
            Kept::Nothing => 2,
            Kept::Part(seed) => seed,
        };
        kept.wrapping_mul(31).wrapping_add(self.at as u64)
    }
}

/// The states of a log from entry `begin` on, in order: each prefix, each flush with nothing after the one before, and some parts for each
/// flush. Of more than `most`, so many are drawn.
pub fn choose(log: &WriteLog, begin: usize, most: usize, random: &mut Random) -> Vec<State> {
    let mut states: Vec<State> = (begin..=log.entries.len()).map(|at| State { at, kept: Kept::Everything }).collect();
    // Where a flush comes next and there is something to lose.
    let ends = (begin + 1..log.entries.len())
        .filter(|&at| matches!(log.entries[at - 1..=at], [Entry::Write { .. }, Entry::Flush]));
    for at in ends {
        states.push(State { at, kept: Kept::Nothing });
        states.extend((0..PARTS_OF_A_FLUSH).map(|_| State { at, kept: Kept::Part(random.next() >> 16) }));
    }
    while states.len() > most {
        states.swap_remove(random.below(states.len()));
    }
    states.sort_unstable();
    states
}

/// A device that is played forward, state by state.
pub struct Disk<'a> {
    log: &'a WriteLog,
    /// What is on stable storage after `flushed` entries.
    stable: Vec<Origin>,
    flushed: usize,
    state: Vec<Origin>,
}

impl<'a> Disk<'a> {
    pub fn new(log: &'a WriteLog) -> Self {
        Self { log, stable: log.base.clone(), flushed: 0, state: Vec::new() }
    }

    /// The image of a state; states come in order.
    pub fn play(&mut self, state: &State) -> &[Origin] {
        let entries = &self.log.entries[..state.at];
        let last_flush = entries.iter().rposition(|entry| matches!(entry, Entry::Flush)).map_or(0, |at| at + 1);
        assert!(last_flush >= self.flushed, "states come in order");
        for entry in &entries[self.flushed..last_flush] {
            write(&mut self.stable, entry, |_| true);
        }
        self.flushed = last_flush;
        self.state.clone_from(&self.stable);
        let pending = &entries[last_flush..];
        match state.kept {
            Kept::Nothing => {}
            Kept::Everything => pending.iter().for_each(|entry| write(&mut self.state, entry, |_| true)),
            Kept::Part(seed) => play_part(&mut self.state, pending, Random(seed)),
        }
        &self.state
    }
}

/// Six of ten requests, in any order, six of ten of those torn.
fn play_part(image: &mut [Origin], pending: &[Entry], mut random: Random) {
    let mut chosen: Vec<&Entry> = pending.iter().filter(|_| random.of_ten(6)).collect();
    for end in (1..chosen.len()).rev() {
        chosen.swap(end, random.below(end + 1));
    }
    for entry in chosen {
        let torn = random.of_ten(6);
        write(image, entry, |_| !torn || random.of_ten(5));
    }
}

/// Writes the units of an entry that `keep` says.
fn write(image: &mut [Origin], entry: &Entry, mut keep: impl FnMut(usize) -> bool) {
    let Entry::Write { first, origins, units } = entry else { return };
    let mut begin = 0;
    for &end in units {
        if keep(begin) {
            image[first + begin..first + end].copy_from_slice(&origins[begin..end]);
        }
        begin = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_holds_what_was_flushed_and_what_was_kept() {
        let write = |first, origins: &[Origin], units: &[usize]| Entry::Write {
            first,
            origins: origins.to_vec(),
            units: units.to_vec(),
        };
        let entries =
            vec![write(0, &[1, 2], &[1, 2]), Entry::Flush, write(1, &[3, 4], &[2]), write(0, &[5], &[1]), Entry::Flush];
        let log = WriteLog::of(vec![0; 4], entries);
        let image = |at, kept| Disk::new(&log).play(&State { at, kept }).to_vec();
        assert_eq!(image(1, Kept::Nothing), [0, 0, 0, 0]);
        assert_eq!(image(1, Kept::Everything), [1, 2, 0, 0]);
        assert_eq!(image(4, Kept::Nothing), [1, 2, 0, 0]);
        assert_eq!(image(4, Kept::Everything), [5, 3, 4, 0]);
        assert_eq!(image(5, Kept::Nothing), [5, 3, 4, 0]);
        let parts: std::collections::BTreeSet<_> = (0..200).map(|seed| image(4, Kept::Part(seed))).collect();
        // Two requests, each there or not; the page whole, never half.
        let all = [[1, 2, 0, 0], [5, 2, 0, 0], [1, 3, 4, 0], [5, 3, 4, 0]];
        assert_eq!(parts, all.map(Vec::from).into());
    }

    #[test]
    fn a_state_is_told_and_read() {
        for kept in [Kept::Everything, Kept::Nothing, Kept::Part(77)] {
            let state = State { at: 12, kept };
            assert_eq!(State::parse(&state.to_string()), Some(state));
        }
    }
}
