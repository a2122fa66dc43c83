//! The library's own sources, made of loom's atomics, locks and threads; their `models` are the tests. `tests/races.rs` runs them.
#![allow(dead_code, reason = "the layers that use these pieces are not here")]
#![allow(unsafe_code, reason = "the sources' own")]

#[path = "../../src/sync/mod.rs"]
pub mod sync;

#[path = "../../src/telemetry/mailbox.rs"]
mod mailbox;
