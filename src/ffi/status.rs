//! The status numbers, their texts, and the one place where errors of the core become numbers.
//!
//! Invariants:
//! 1. Numbers never change and are never used again for something else.
//! 2. [`CoreError::status`] and [`of_append_error`] are exhaustive: a new error of the core does not compile
//!    until it has a number here.

use core::ffi::{CStr, c_char};
use std::ffi::CString;
use std::sync::OnceLock;

use super::last_error::Refusal;
use crate::format::Reason;
use crate::recorder::{self, AppendError};
use crate::{recovery, storage};

/// What a function returns: 0 is success, above 0 is not an error, below 0 is an error. The numbers never
/// change.
pub type walrec_status_t = i32;

/// Done.
pub const WALREC_OK: i32 = 0;
/// Reader: no more events now. While a recorder runs, OK may follow.
pub const WALREC_END: i32 = 1;
/// Reader with WALREC_FLAG_SALVAGE: a damaged range was passed, see walrec_reader_gap.
pub const WALREC_GAP: i32 = 2;
/// NULL, event_id 0, a bad configuration or a bad size. Nothing happened.
pub const WALREC_E_INVALID: i32 = -1;
/// event_id is not above the last one. Nothing was recorded.
pub const WALREC_E_ORDER: i32 = -2;
/// No prepared segment: the disk is slower than the engine. Nothing was recorded; try again later.
pub const WALREC_E_BACKPRESSURE: i32 = -3;
/// walrec_shutdown was called.
pub const WALREC_E_CLOSED: i32 = -4;
/// Poisoned: an earlier write, sync or worker failed. Nothing more is recorded; close and open again.
pub const WALREC_E_FAILED: i32 = -5;
/// The operating system gave an error; walrec_last_error names it and the file.
pub const WALREC_E_IO: i32 = -6;
/// No space left, no descriptor left to open a file with, or the segment numbers are used up. Appends go on when
/// there is space, or a descriptor, again.
pub const WALREC_E_NOSPACE: i32 = -7;
/// Another recorder has the log directory or the stage open.
pub const WALREC_E_LOCKED: i32 = -8;
/// No such log, or the event is older than the oldest one retained.
pub const WALREC_E_NOT_FOUND: i32 = -9;
/// Bytes that were durable do not verify. Nothing was changed.
pub const WALREC_E_CORRUPT: i32 = -10;
/// A struct_size, file version or stage layout that this library does not know. Nothing was changed.
pub const WALREC_E_ABI: i32 = -11;
/// The handle belongs to the parent process.
pub const WALREC_E_FORKED: i32 = -12;
/// A panic inside the library was caught. The handle is good for walrec_close or walrec_reader_close only.
pub const WALREC_E_PANIC: i32 = -13;
/// No memory.
pub const WALREC_E_NOMEM: i32 = -14;
/// The time is over; it may still happen.
pub const WALREC_E_TIMEOUT: i32 = -15;
/// Called by a thread that is not the append thread. Nothing happened.
pub const WALREC_E_THREAD: i32 = -16;

fn text_of_status(status: walrec_status_t) -> &'static CStr {
    match status {
        WALREC_OK => c"ok",
        WALREC_END => c"no more events now",
        WALREC_GAP => c"a damaged range was passed",
        WALREC_E_INVALID => c"invalid argument",
        WALREC_E_ORDER => c"event_id is not above the last one",
        WALREC_E_BACKPRESSURE => c"no prepared segment",
        WALREC_E_CLOSED => c"the recorder is shut down",
        WALREC_E_FAILED => c"the recorder is poisoned by an earlier failure",
        WALREC_E_IO => c"input or output error",
        WALREC_E_NOSPACE => c"no space left",
        WALREC_E_LOCKED => c"locked by another recorder",
        WALREC_E_NOT_FOUND => c"not found",
        WALREC_E_CORRUPT => c"corrupt log",
        WALREC_E_ABI => c"layout or version not known to this library",
        WALREC_E_FORKED => c"the handle belongs to the parent process",
        WALREC_E_PANIC => c"panic inside the library",
        WALREC_E_NOMEM => c"no memory",
        WALREC_E_TIMEOUT => c"timeout",
        WALREC_E_THREAD => c"not the append thread",
        _ => c"unknown status",
    }
}

/// Short text for a status. Static, never NULL, for any value.
///
/// Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn walrec_status_str(status: walrec_status_t) -> *const c_char {
    text_of_status(status).as_ptr()
}

/// Short text for the number of a verdict, as in walrec_open_report_t.cut_reason. Static, never NULL, for any
/// value.
///
/// Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn walrec_reason_str(reason: u32) -> *const c_char {
    // The texts of the core have no terminator; they get it once.
    static KNOWN: OnceLock<Vec<(u32, CString)>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        let terminated = |reason: &Reason| (reason.as_u32(), CString::new(reason.text()).unwrap_or_default());
        Reason::ALL.iter().map(terminated).collect()
    });
    let found = known.iter().find(|(number, _)| *number == reason);
    found.map_or(c"unknown reason", |(_, text)| text.as_c_str()).as_ptr()
}

/// Status and static text of a hot refusal.
pub(super) const fn of_append_error(error: AppendError) -> (walrec_status_t, &'static str) {
    let status = match error {
        AppendError::Invalid | AppendError::NoReservation => WALREC_E_INVALID,
        AppendError::Order => WALREC_E_ORDER,
        AppendError::Backpressure => WALREC_E_BACKPRESSURE,
        AppendError::Closed => WALREC_E_CLOSED,
        AppendError::Failed => WALREC_E_FAILED,
        AppendError::NoSpace => WALREC_E_NOSPACE,
        AppendError::Forked => WALREC_E_FORKED,
        AppendError::Thread => WALREC_E_THREAD,
    };
    (status, error.text())
}

/// An error of the core that has a status.
pub(super) trait CoreError: std::fmt::Display {
    fn status(&self) -> walrec_status_t;
}

impl CoreError for recorder::Error {
    fn status(&self) -> walrec_status_t {
        match self {
            Self::Invalid(_) | Self::Refused { .. } => WALREC_E_INVALID,
            Self::Io(error) => error.status(),
            Self::Locked(_) => WALREC_E_LOCKED,
            Self::Corrupt(_) | Self::Damaged { .. } => WALREC_E_CORRUPT,
            Self::Newer { .. } => WALREC_E_ABI,
            Self::NoMemory(_) => WALREC_E_NOMEM,
            Self::Closed => WALREC_E_CLOSED,
            Self::Failed(_) => WALREC_E_FAILED,
            Self::TimedOut => WALREC_E_TIMEOUT,
            Self::Forked => WALREC_E_FORKED,
        }
    }
}

impl CoreError for recovery::Error {
    fn status(&self) -> walrec_status_t {
        match self {
            Self::Refused(_) => WALREC_E_INVALID,
            Self::Io(error) => error.status(),
            Self::Corrupt(_) => WALREC_E_CORRUPT,
            Self::Newer { .. } => WALREC_E_ABI,
            Self::NotFound(_) => WALREC_E_NOT_FOUND,
        }
    }
}

impl CoreError for storage::Error {
    fn status(&self) -> walrec_status_t {
        match self.source.raw_os_error() {
            _ if self.is_no_space() => WALREC_E_NOSPACE,
            Some(libc::ENOMEM) => WALREC_E_NOMEM,
            _ => WALREC_E_IO,
        }
    }
}

/// What a function refuses with when the core fails.
pub(super) fn refusal_of(function: &str, error: &impl CoreError) -> Refusal {
    Refusal::new(error.status(), format!("{function}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Error;

    fn text(of: *const c_char) -> &'static str {
        assert!(!of.is_null());
        // SAFETY: both functions promise static terminated text.
        unsafe { CStr::from_ptr(of) }.to_str().unwrap()
    }

    #[test]
    fn every_status_has_its_own_text_and_the_rest_one() {
        let mut texts: Vec<_> = (-16..=2).map(|status| text(walrec_status_str(status))).collect();
        assert!(!texts.contains(&"unknown status"));
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 19);
        for status in [-17, 3, i32::MIN, i32::MAX] {
            assert_eq!(text(walrec_status_str(status)), "unknown status");
        }
    }

    #[test]
    fn every_reason_has_the_text_of_the_core() {
        for reason in Reason::ALL {
            assert_eq!(text(walrec_reason_str(reason.as_u32())), reason.text());
        }
        assert_eq!(text(walrec_reason_str(u32::MAX)), "unknown reason");
        assert_eq!(walrec_reason_str(1), walrec_reason_str(1), "static");
    }

    #[test]
    fn each_append_error_has_its_own_number() {
        use AppendError as E;
        let all = [E::Invalid, E::Order, E::Backpressure, E::Closed, E::Failed, E::NoSpace, E::Forked, E::Thread];
        assert_eq!(all.map(|error| of_append_error(error).0), [-1, -2, -3, -4, -5, -7, -12, -16]);
    }

    #[test]
    fn errors_of_the_system_are_told_apart() {
        let io = |number| {
            let source = std::io::Error::from_raw_os_error(number);
            Error::Io(crate::storage::Error { operation: "write", path: "there/FS.00000001.wal".into(), source })
        };
        let cases = [
            (io(libc::ENOSPC), WALREC_E_NOSPACE),
            (io(libc::EDQUOT), WALREC_E_NOSPACE),
            (io(libc::ENOMEM), WALREC_E_NOMEM),
            (io(libc::EIO), WALREC_E_IO),
            (Error::Failed("write".into()), WALREC_E_FAILED),
            (Error::TimedOut, WALREC_E_TIMEOUT),
            (Error::Closed, WALREC_E_CLOSED),
            (Error::Forked, WALREC_E_FORKED),
        ];
        for (error, status) in cases {
            assert_eq!(error.status(), status, "{error}");
        }
        let refusal = refusal_of("walrec_open", &io(libc::EIO));
        assert!(refusal.text.contains("there/FS.00000001.wal") && refusal.text.contains("Input/output error"));
    }
}
