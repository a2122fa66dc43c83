//! How threads meet: rings, bells, a gate, a watermark, a published count, a current place, the runner of the worker threads, and prefetches.
//!
//! Each piece is small, fenced and tested on its own, and its `models` are walked through by loom (`tests/models`); nothing here
//! knows what a log is. Invariant: the append thread pushes to and pops from rings, publishes, raises its gate and moves the current place.
//! It never takes a lock, rings a bell or waits here.

mod bell;
mod current;
mod gate;
#[cfg(loom)]
pub(crate) mod modelled;
mod prefetch;
pub(crate) mod primitives;
mod published;
mod runner;
mod spsc_ring;
mod watermark;

pub use bell::Bell;
pub use current::Current;
pub use gate::Gate;
pub use prefetch::{LINE_BYTES, fetch_for_write};
pub use published::{publish, published};
pub use runner::{
    RunnerError, SignalsBlocked, Stop, Worker, WorkerThread, has_second_processor, only_processor, panic_text,
    processors, try_pin,
};
pub use spsc_ring::{Consumer, Producer, spsc_ring};
pub use watermark::Watermark;
