//! How threads meet: a single-producer single-consumer ring, a bell, and the runner of the worker threads.
//!
//! Each piece is small, fenced and tested on its own; nothing here knows what a log is. Invariant: the append thread only
//! ever pushes to and pops from rings. It never takes a lock, rings a bell or waits here.

mod bell;
mod runner;
mod spsc_ring;

pub use bell::Bell;
pub use runner::{RunnerError, SignalsBlocked, Stop, Worker, WorkerThread, panic_text, try_pin};
pub use spsc_ring::{Consumer, Producer, spsc_ring};
