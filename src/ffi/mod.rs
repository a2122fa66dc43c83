//! The C face: everything `include/walrec.h` declares, and nothing else leaves `libwalrec.so`.
//!
//! Owns the handles, the status numbers, the thread's last error and the fence that keeps panics inside. The
//! only caller is a C or C++ program; the header is generated from the comments here.
//!
//! Invariants:
//! 1. No panic leaves a function: cold ones run inside [`fence`], the hot ones (`walrec_append`,
//!    `walrec_append_batch`, `walrec_reserve`, `walrec_commit`, `walrec_abort`) cannot panic.
//! 2. A pointer from outside is checked for NULL before it is used, and an integer from outside is checked
//!    before it becomes an enum. Where a result pointer is given, it is set also on error.
//! 3. No struct is read or written beyond the `struct_size` of its caller.
//! 4. A handle has one kind of ownership: the caller's, from `walrec_open` or `walrec_reader_open` to its close.
//!    The append thread alone reaches the `SegmentWriter` in it, everybody else uses the `Manager` by
//!    shared reference.
//! 5. The hot functions do not allocate, also when they fail: their messages are static.
//!
//! Unsafe code: here raw pointers become references, on the strength of each function's written contract.
#![allow(unsafe_code, reason = "the functions take pointers from C")]
#![allow(non_camel_case_types, reason = "the names of the C types are fixed, tag and typedef alike")]

mod append;
mod config;
mod durability;
mod fence;
mod last_error;
mod reader;
mod reader_telemetry;
mod recorder;
mod sized;
mod status;
mod telemetry;
mod types;
mod verify;
mod version;

pub use append::{
    walrec_abort, walrec_append, walrec_append_batch, walrec_attach_thread, walrec_commit, walrec_cursor,
    walrec_cursor_t, walrec_reserve, walrec_rotate,
};
pub use config::walrec_config_init;
pub use durability::{
    walrec_durable_event_id, walrec_last_event_id, walrec_meta_state, walrec_notify_durable,
    walrec_set_retention_floor, walrec_sync, walrec_watermarks,
};
pub use last_error::walrec_last_error;
pub use reader::{
    walrec_reader_close, walrec_reader_gap, walrec_reader_next, walrec_reader_open, walrec_reader_read,
    walrec_reader_seek, walrec_reader_seek_time, walrec_reader_t,
};
pub use reader_telemetry::{walrec_reader_telemetry, walrec_reader_telemetry_t, walrec_reader_telemetry_text};
pub use recorder::{walrec_close, walrec_open, walrec_open_report, walrec_shutdown, walrec_t};
pub use status::*;
pub use telemetry::{
    WALREC_TEXT_HUMAN, WALREC_TEXT_PROMETHEUS, walrec_telemetry, walrec_telemetry_t, walrec_telemetry_text,
    walrec_times_t,
};
pub use types::*;
pub use verify::{WALREC_NO_BLOCK, walrec_verify, walrec_verify_report_t};
pub use version::{WALREC_ABI_VERSION, walrec_abi_version, walrec_version_number, walrec_version_string};
