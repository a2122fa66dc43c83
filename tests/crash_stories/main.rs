//! Crash stories: faults that logs have lost events to, each played step by step on the simulated machine.
//!
//! A recorder is stepped by hand, so that each story is the same in every run; what a power cut leaves is drawn by a seed. Beside
//! each story stands its control: a judge, a file or a byte pattern that shows that the story can go wrong.
//! Seeds and figures are printed; `WALREC_SEED` sets the first seed.
#![allow(clippy::print_stdout, reason = "a test prints its seed and its figures")]
#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

mod clean_close;
mod damaged_below;
mod failed_sync;
mod freezing;
mod half_written_block;
mod holes;
mod machine;
mod naive;
mod no_room;
mod restored_stage;
mod stage_identity;
mod stale_tail;
