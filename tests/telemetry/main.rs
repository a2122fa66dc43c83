//! Telemetry: every counter and histogram moves when its cause happens, and only then; the texts parse; the histogram beside another.
#![cfg(feature = "telemetry")]

mod causes;
mod compared;
mod prometheus;
mod queries;
mod reader;
mod running;
mod watch;
