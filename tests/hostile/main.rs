//! Hostile files: whatever lies in a log directory, it is detected or harmless. No crash, no wrong event, no unbounded memory, and no
//! path out of a file's content.
//!
//! The rules are in `examine.rs`; logs are written by the encoder of `tests/decoder`, so that nothing of the library judges its own work.

#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

mod bits;
mod bombs;
#[path = "../decoder/mod.rs"]
mod decoder;
#[path = "../decoder/encode.rs"]
mod encode;
#[path = "../../fuzz/src/entries.rs"]
mod entries;
mod examine;
mod found;
#[path = "../../fuzz/src/frame_ops.rs"]
mod frame_ops;
mod frames;
mod fuzzed;
mod logs;
mod memory;
mod misplaced;
mod places;
#[path = "../../fuzz/src/script.rs"]
mod script;
#[path = "../../fuzz/src/targets.rs"]
mod targets;
#[path = "../decoder/with_library.rs"]
mod with_library;
#[path = "../../fuzz/src/world.rs"]
mod world;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;
