//! Hostile files: whatever lies in a log directory, it is detected or harmless. No crash, no wrong event, no unbounded memory, and no
//! path out of a file's content.
//!
//! The rules are in `examine.rs`; logs are written by the encoder of `tests/decoder`, so that nothing of the library judges its own work.

#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

mod bits;
#[path = "../decoder/mod.rs"]
mod decoder;
#[path = "../decoder/encode.rs"]
mod encode;
mod examine;
mod frames;
mod logs;
mod memory;
#[path = "../decoder/with_library.rs"]
mod with_library;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;
