//! Reading a log: every event checked, in order, from files alone.
//!
//! [`Manager`] goes from segment to segment, [`SegmentReader`](segment_reader) from block to block,
//! [`SegmentPreloader`](segment_preloader) reads the next segment ahead. Takes no lock, writes nothing,
//! and reads with pread, so that a file cut by someone else is a short read and not a signal. Beside a running recorder it
//! gives what is durable. [`Salvager`] passes over damage, [`verify`](fn@verify) judges a whole log.

mod durable_limit;
mod error;
mod manager;
mod salvage;
mod segment_preloader;
mod segment_reader;
mod verify;

pub use error::Error;
pub use manager::Manager;
pub use salvage::{Gap, Item, Salvager};
pub use verify::{Fault, VerifyReport, verify, verify_on};
