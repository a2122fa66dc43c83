//! Reading all over: seeks hot and cold, verification, salvage, a bounded memory, and a follower in another process.
//!
//! The logs are written by the encoder of `tests/decoder`, so that nothing of the library judges its own work.

#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

mod ahead;
#[path = "../decoder/mod.rs"]
mod decoder;
#[path = "../decoder/encode.rs"]
mod encode;
#[path = "../decoder/encode_frozen.rs"]
mod encode_frozen;
mod fixture;
mod forms;
mod processes;
mod reopened;
mod salvage;
mod seeks;
mod verify;
#[path = "../decoder/with_library.rs"]
mod with_library;
