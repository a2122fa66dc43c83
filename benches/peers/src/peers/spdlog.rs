//! spdlog's asynchronous logger, from Debian's libspdlog-dev.

use std::ffi::{CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::event::Event;
use crate::peer::{self, Outcome, Peer, Purpose, Survives};

/// More than a burst, so that the caller never waits for the writing thread.
const QUEUE: usize = 1 << 19;

unsafe extern "C" {
    fn peers_spdlog_version() -> u32;
    fn peers_spdlog_open(path: *const c_char, queue: usize) -> *mut c_void;
    fn peers_spdlog_append(logger: *mut c_void, bytes: *const u8, n: usize);
    fn peers_spdlog_drain(logger: *mut c_void);
}

/// A queue, and a thread that writes with stdio.
pub struct Spdlog(*mut c_void);

impl Peer for Spdlog {
    const NAME: &'static str = "spdlog";
    const SURVIVES: Survives = Survives::Nothing;
    const LIES_IN: &'static str = "a queue, then a buffer of stdio, in memory of the process";
    const SETTINGS: &'static str =
        "asynchronous, a queue of 524,288, one thread, blocking when full, the bytes without a pattern";
    const SYNCS: bool = false;

    fn version() -> String {
        // SAFETY: no pointers.
        let version = unsafe { peers_spdlog_version() };
        format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
    }

    fn open(dir: &Path, _: Purpose) -> Outcome<Self> {
        let path = CString::new(peer::log_in(dir).as_os_str().as_bytes())?;
        // SAFETY: a terminated path.
        let logger = unsafe { peers_spdlog_open(path.as_ptr(), QUEUE) };
        if logger.is_null() { Err("the file cannot be opened".into()) } else { Ok(Self(logger)) }
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        let bytes = event.bytes();
        // SAFETY: an open logger, and bytes that it copies.
        unsafe { peers_spdlog_append(self.0, bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn sync(&mut self) -> Outcome<()> {
        // SAFETY: an open logger.
        unsafe { peers_spdlog_drain(self.0) };
        Ok(())
    }
}
