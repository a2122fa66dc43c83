//! Recordings, one after the other, and the states of each.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::figures::Figures;
use crate::judge::{Bench, Fault};
use crate::recording::Recording;
use crate::rig::{FileSystem, Rig};
use crate::states::{Disk, State, choose};
use crate::story::Random;
use crate::toolchain::{self, announce};

/// Steps of each life of a recorder.
const STEPS: usize = 12;
/// States of the negative control.
const CONTROL_STATES: usize = 40;
/// Failing states that are kept.
const MOST_KEPT: usize = 5;

type OnFault<'a> = &'a (dyn Fn(&State, &Fault) + Sync);

/// Plays states of a recording on several benches at once: each waits most of its time for the kernel's threads.
fn play(rig: &Rig, recording: &Recording, states: &[State], on_fault: OnFault<'_>) -> Figures {
    let begin = Instant::now();
    let benches = recording.file_system.copies();
    let mut figures = Figures::default();
    std::thread::scope(|scope| {
        let start = |bench| scope.spawn(move || play_on_bench(rig, bench, benches, recording, states, on_fault));
        for worker in (0..benches).map(start).collect::<Vec<_>>() {
            figures.add(&worker.join().expect("a bench ended by a panic"));
        }
    });
    figures.recordings = 1;
    figures.playing = begin.elapsed();
    figures
}

/// Plays each state whose turn it is on this bench.
fn play_on_bench(
    rig: &Rig,
    number: usize,
    benches: usize,
    recording: &Recording,
    states: &[State],
    on_fault: OnFault<'_>,
) -> Figures {
    let mut figures = Figures::default();
    let bench = Bench::new(rig, &format!("bench-{number}"), recording);
    let mut disk = Disk::new(&recording.log);
    for state in states.iter().skip(number).step_by(benches) {
        bench.put(&recording.log, disk.play(state));
        let outcome = bench.judge(&recording.story, state);
        figures.count(state, &outcome);
        if let Err(fault) = outcome {
            on_fault(state, &fault);
        }
    }
    figures
}

/// Records and plays until there were `states` states.
pub fn run(rig: &Rig, file_system: FileSystem, seed: u64, states: u64) {
    let mut random = Random(seed);
    let mut figures = Figures::default();
    let kept = Mutex::new(Vec::new());
    while figures.states < states {
        let recording = Recording::make(rig, "recording", file_system, random.next() >> 16, STEPS, false);
        let left = usize::try_from(states - figures.states).expect("a count");
        let chosen = choose(&recording.log, recording.begin, left, &mut random);
        figures.add(&play(rig, &recording, &chosen, &|state, fault| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < MOST_KEPT {
                let directory = keep(&recording, state, &kept.len().to_string());
                let case = format!("WALREC_POWER_DISK_CASE={}:{state}", directory.display());
                announce(&format!("{}: {fault}: {case}", file_system.name()));
                kept.push(format!("{fault}: {case}"));
            }
        }));
        recording.forget();
        if figures.states < states {
            announce(&format!("power cut on {}: {} of {states} states", file_system.name(), figures.states));
        }
    }
    announce(&format!("FIGURE power cut on {}: seed {seed}, {figures}", file_system.name()));
    let kept = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(figures.all_good(), "failing states, each played alone by: {kept:#?}");
    figures.assert_telling(file_system);
}

/// Keeps a state with its record and its image; gives the directory.
fn keep(recording: &Recording, state: &State, which: &str) -> PathBuf {
    let name = format!("{}-{}-{}-{which}", recording.file_system.name(), recording.seed, std::process::id());
    let directory = toolchain::build_directory().join("power-disk-failures").join(name);
    let log = &recording.log;
    recording
        .keep(&directory)
        .and_then(|()| log.write_new_image(Disk::new(log).play(state), &directory.join("image")))
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    directory
}

/// Plays one kept state.
pub fn replay(rig: &Rig, recording: &Recording, state: State) {
    let figures = play(rig, recording, &[state], &|state, fault| announce(&format!("{state}: {fault}")));
    assert!(figures.all_good(), "{figures}");
    announce(&format!("{state}: good"));
}

/// A recorder whose syncs do nothing must be seen to lose what it calls durable; a state that shows it shows it again when it was kept
/// and is played alone.
pub fn control(rig: &Rig, file_system: FileSystem, seed: u64) {
    let recording = Recording::make(rig, "recording", file_system, seed, STEPS, true);
    let states = choose(&recording.log, recording.begin, CONTROL_STATES, &mut Random(seed));
    let lost = Mutex::new(Vec::new());
    let figures = play(rig, &recording, &states, &|state, fault| {
        if matches!(fault, Fault::Lost(_)) {
            lost.lock().unwrap_or_else(PoisonError::into_inner).push(*state);
        }
    });
    announce(&format!(
        "FIGURE power cut on {}, control: seed {seed}, syncs that do nothing: {} of {} states lost durable events, {} were wrong or \
         refused, and were caught",
        file_system.name(),
        figures.lost,
        figures.states,
        figures.wrong + figures.unmountable
    ));
    let lost = lost.into_inner().unwrap_or_else(PoisonError::into_inner);
    let state = *lost.first().expect("no state showed that nothing was ever synced");
    let directory = keep(&recording, &state, "control");
    let again = play(rig, &Recording::read(&directory), &[state], &|_, _| ());
    let _ = fs::remove_dir_all(&directory);
    assert_eq!((again.states, again.lost), (1, 1), "{state} was kept, and played alone it lost nothing");
}
