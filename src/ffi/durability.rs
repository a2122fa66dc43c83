//! Where the log stands: appended, durable, and waiting for it.

use std::io;
use std::time::Duration;

use super::last_error::Refusal;
use super::recorder::{null, walrec_t, with_recorder};
use super::status::{WALREC_E_INVALID, WALREC_E_IO, WALREC_OK, refusal_of, walrec_status_t};
use super::types::{walrec_meta_state_t, walrec_watermarks_t};
use crate::recorder::SyncTimeout;
use crate::storage::Doorbell;

/// The last appended event; 0 = the log is empty, or walrec is NULL. One atomic load.
///
/// Any thread; never blocks.
///
/// # Safety
/// walrec: a handle from walrec_open, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_last_event_id(walrec: *const walrec_t) -> u64 {
    // SAFETY: by contract walrec is NULL or a live handle.
    unsafe { walrec.as_ref() }.map_or(0, |walrec| walrec.manager.last_event_id())
}

/// The last durable event; 0 = none, or walrec is NULL. It only grows. One atomic load; polling it does not
/// disturb the append thread.
///
/// Any thread; never blocks.
///
/// # Safety
/// walrec: a handle from walrec_open, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_durable_event_id(walrec: *const walrec_t) -> u64 {
    // SAFETY: by contract walrec is NULL or a live handle.
    unsafe { walrec.as_ref() }.map_or(0, |walrec| walrec.manager.durable_event_id())
}

/// Waits until event_id is durable; 0 = everything appended so far. timeout_ns: 0 = wake the flusher and
/// return, UINT64_MAX = no limit.
///
/// OK: it is durable, whatever else happened. TIMEOUT: not yet. FAILED: poisoned before it was durable; the
/// message tells the first error. CLOSED: shut down before it was durable. INVALID (NULL; from the append
/// thread also an id above the last appended one, which could never come), FORKED, PANIC. Before its first call
/// no thread is the append thread yet: such a wait is one for the events of another, and without a limit it ends
/// with them alone.
///
/// Any thread; blocks, unless timeout_ns is 0.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_sync(walrec: *mut walrec_t, event_id: u64, timeout_ns: u64) -> walrec_status_t {
    const NAME: &str = "walrec_sync";
    let timeout = match timeout_ns {
        0 => SyncTimeout::WakeOnly,
        u64::MAX => SyncTimeout::Forever,
        limit => SyncTimeout::Limit(Duration::from_nanos(limit)),
    };
    let body = |walrec: &walrec_t| {
        walrec.manager.sync(event_id, timeout).map(|()| WALREC_OK).map_err(|error| refusal_of(NAME, &error))
    };
    // SAFETY: by contract walrec is NULL or a live handle.
    unsafe { with_recorder(NAME, walrec, body) }
}

/// The two ids above by address, for a loop that looks at them often: valid until walrec_close, and after a fork zeros in the child.
/// NULL when walrec is NULL.
///
/// Any thread; never blocks.
///
/// # Safety
/// walrec: a handle from walrec_open, or NULL. What is returned stays the library's, and is only read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_watermarks(walrec: *const walrec_t) -> *const walrec_watermarks_t {
    // SAFETY: by contract walrec is NULL or a live handle.
    unsafe { walrec.as_ref() }.map_or(core::ptr::null(), |walrec| walrec.manager.watermarks().cast())
}

/// Writes the number 1, eight bytes, to fd, once: when event_id is durable, 0 = everything appended so far; at once if it is already;
/// and when it cannot become durable any more (poisoned, shut down). So what was reached is to be looked at then. For an engine that
/// waits in epoll: fd is an eventfd made with EFD_NONBLOCK, or the writing end of a pipe that does not block. Any number of
/// notices may be waiting.
///
/// INVALID (NULL; fd cannot be written to, or could block), IO (fd is not open, no more descriptors), FORKED, PANIC: nothing is
/// written, now or later.
///
/// Any thread; never blocks.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
/// fd: duplicated; it stays the caller's, and may be closed at any time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_notify_durable(walrec: *mut walrec_t, event_id: u64, fd: i32) -> walrec_status_t {
    const NAME: &str = "walrec_notify_durable";
    let body = |walrec: &walrec_t| {
        let bell = Doorbell::of(fd).map_err(|error| {
            if error.kind() == io::ErrorKind::InvalidInput {
                let text = format!("{NAME}: fd {fd} must be open for writing and not block (O_NONBLOCK)");
                return Refusal::new(WALREC_E_INVALID, text);
            }
            Refusal::new(WALREC_E_IO, format!("{NAME}: fd {fd}: {error}"))
        })?;
        walrec.manager.notify_durable(event_id, bell).map(|()| WALREC_OK).map_err(|error| refusal_of(NAME, &error))
    };
    // SAFETY: by contract walrec is NULL or a live handle.
    unsafe { with_recorder(NAME, walrec, body) }
}

/// Nothing that holds event_id or a later event is deleted from now on; 0 = no floor. It replaces the floor that was
/// set before, also a higher one. A deletion that has begun is finished.
///
/// A floor that is never raised lets the log grow until the disk is full.
///
/// INVALID (NULL), CLOSED, FORKED, PANIC: nothing is changed.
///
/// Any thread; never blocks.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_set_retention_floor(walrec: *mut walrec_t, event_id: u64) -> walrec_status_t {
    const NAME: &str = "walrec_set_retention_floor";
    let body = |walrec: &walrec_t| {
        walrec.manager.set_retention_floor(event_id).map(|()| WALREC_OK).map_err(|error| refusal_of(NAME, &error))
    };
    // SAFETY: by contract walrec is NULL or a live handle.
    unsafe { with_recorder(NAME, walrec, body) }
}

/// The appended position, never torn.
///
/// INVALID (NULL), FORKED, PANIC: nothing is written.
///
/// Any thread; never blocks.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
/// state: not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_meta_state(
    walrec: *const walrec_t,
    state: *mut walrec_meta_state_t,
) -> walrec_status_t {
    const NAME: &str = "walrec_meta_state";
    if state.is_null() {
        return null(NAME, "state").record();
    }
    let body = |walrec: &walrec_t| {
        let position = walrec.manager.meta_state().map_err(|error| refusal_of(NAME, &error))?;
        let found = walrec_meta_state_t {
            last_segment_index: position.segment_index,
            last_offset: position.offset,
            last_event_id: position.last_event_id,
        };
        // SAFETY: not NULL, and writable by contract.
        unsafe { state.write(found) };
        Ok(WALREC_OK)
    };
    // SAFETY: by contract walrec is NULL or a live handle.
    unsafe { with_recorder(NAME, walrec, body) }
}
