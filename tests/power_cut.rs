//! The simulated power cut: random sessions of a recorder, cut at a random operation, each cut played out in many ways.
//!
//! The model: durable <= recovered <= appended, in order, byte-equal, from the first event of a segment that the limits let go or
//! keep, and never from a later one; recovering twice gives what recovering once gave; what an
//! open reported is durable when it returns; a recovery that is cut short itself changes nothing of this. A killed process loses nothing.
//!
//! `WALREC_POWER_STATES` sets the number of crash states (default 50,000), `WALREC_SEED` the seed. A failing state prints its case,
//! which `WALREC_POWER_CASE` replays alone.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panic and prints its figures")]

mod session;

use session::{Case, Figures, play};

/// Lets the C library keep freed memory: each state builds and drops a machine, and page faults would take most of the time.
#[allow(unsafe_code, reason = "mallopt is the only way to say it")]
fn keep_freed_memory() {
    // SAFETY: the calls only set parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

#[test]
fn every_crash_state_recovers_a_durable_prefix() {
    keep_freed_memory();
    let seed = number("WALREC_SEED", 20_240_607);
    if let Ok(case) = std::env::var("WALREC_POWER_CASE") {
        let case = Case::parse(&case).unwrap_or_else(|| panic!("WALREC_POWER_CASE={case}: want SESSION:CUT:STATE"));
        play(&case, &mut Figures::default());
        return;
    }
    let states = number("WALREC_POWER_STATES", 50_000);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    println!("power cut: seed {seed}, {states} states, {threads} threads");
    let figures = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || session::campaign(seed, thread, threads, states))).collect();
        let mut all = Figures::default();
        for worker in workers {
            all.add(&worker.join().expect("a crash state failed: its case is above"));
        }
        all
    });
    println!("power cut: {figures}");
    assert!(figures.states >= states);
    figures.assert_telling();
}

/// The same campaign on a machine whose sync is a lie must be caught.
#[test]
fn a_sync_that_lies_is_caught() {
    let caught = (0..200).any(|session| {
        let case = Case { session: 77_000 + session, cut: 400 + session * 13, state: 0 };
        std::panic::catch_unwind(|| session::play_lying(&case)).is_err()
    });
    assert!(caught, "no state showed that nothing was ever synced");
}
