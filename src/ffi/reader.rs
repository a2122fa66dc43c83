//! The reader's handle and functions. All cold: they may read files, allocate and decompress.

use core::ffi::c_char;
use core::ptr;

use super::config::read_path;
use super::fence::{fence, install_hook};
use super::last_error::Refusal;
use super::recorder::null;
use super::status::{WALREC_E_FAILED, WALREC_E_INVALID, WALREC_END, WALREC_OK, refusal_of, walrec_status_t};
use super::types::{WALREC_FLAG_SALVAGE, walrec_event_t};
use crate::format::Event;
use crate::recovery;

/// A reader. One thread at a time.
pub struct walrec_reader_t {
    manager: recovery::Manager,
    /// A panic went through it: what it holds may be half changed.
    broken: bool,
}

/// Runs a function's body on a reader: NULL, an earlier panic and a panic now are dealt with here.
///
/// # Safety
/// `reader` is NULL or a handle from `walrec_reader_open` that is not closed, and no other thread uses it now.
unsafe fn with_reader(
    name: &str,
    reader: *mut walrec_reader_t,
    body: impl FnOnce(&mut recovery::Manager) -> Result<walrec_status_t, Refusal>,
) -> walrec_status_t {
    // SAFETY: NULL gives None; else it is a live handle that this thread alone uses, by contract.
    let Some(walrec_reader_t { manager, broken }) = (unsafe { reader.as_mut() }) else {
        return null(name, "reader").record();
    };
    if *broken {
        let text = format!("{name}: a panic broke this reader earlier; close it");
        return Refusal::new(WALREC_E_FAILED, text).record();
    }
    fence(|_| *broken = true, || body(manager))
}

/// Opens the log in dir for reading from from_event_id on, or from the first event after it; 0 = from the
/// oldest there is. Works beside a live recorder, in another process too, and on its own. Takes no lock and
/// changes nothing.
///
/// INVALID (also for flags other than 0: no flag is known to readers in this version), NOT_FOUND (no log there,
/// or from_event_id is older than the oldest event retained), CORRUPT, ABI, IO, NOMEM, PANIC: *out is NULL.
///
/// Any thread; blocks on the disk.
///
/// # Safety
/// dir: a path, bytes, terminated; not NULL, not kept.
/// out: receives a handle that the caller owns and gives to walrec_reader_close; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_reader_open(
    dir: *const c_char,
    from_event_id: u64,
    flags: u32,
    out: *mut *mut walrec_reader_t,
) -> walrec_status_t {
    const NAME: &str = "walrec_reader_open";
    if out.is_null() {
        return null(NAME, "out").record();
    }
    // SAFETY: not NULL, and writable by contract.
    unsafe { out.write(ptr::null_mut()) };
    install_hook();
    let mut opened = None;
    let status = fence(
        |_| (),
        || {
            // SAFETY: by contract dir is NULL or a terminated string.
            let dir = unsafe { read_path("walrec_reader_open: dir", dir) }?.ok_or_else(|| null(NAME, "dir"))?;
            check_flags(flags)?;
            let manager = recovery::Manager::open(&dir, from_event_id).map_err(|error| refusal_of(NAME, &error))?;
            opened = Some(Box::new(walrec_reader_t { manager, broken: false }));
            Ok(WALREC_OK)
        },
    );
    if let Some(reader) = opened {
        // SAFETY: as above. Ownership goes to the caller, who gives it back to walrec_reader_close.
        unsafe { out.write(Box::into_raw(reader)) };
    }
    status
}

fn check_flags(flags: u32) -> Result<(), Refusal> {
    let text = match flags {
        0 => return Ok(()),
        WALREC_FLAG_SALVAGE => {
            "walrec_reader_open: WALREC_FLAG_SALVAGE is not supported by readers in this version; salvage the log \
             with walrec_open"
                .to_owned()
        }
        _ => format!("walrec_reader_open: flags {flags:#x} is not 0"),
    };
    Err(Refusal::new(WALREC_E_INVALID, text))
}

/// The next event.
///
/// OK. END: no more events now; while a recorder runs, OK may follow later (durable events only). CORRUPT: the
/// message names the place. NOT_FOUND: the events to come were retired meanwhile. IO, ABI, NOMEM, INVALID
/// (NULL). PANIC, and FAILED ever after.
///
/// One thread at a time; blocks on the disk.
///
/// # Safety
/// reader: a handle from walrec_reader_open; not NULL.
/// out: receives the event with OK and is left alone otherwise; aligned to 8, not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_reader_next(reader: *mut walrec_reader_t, out: *mut walrec_event_t) -> walrec_status_t {
    const NAME: &str = "walrec_reader_next";
    if out.is_null() {
        return null(NAME, "out").record();
    }
    let body = |manager: &mut recovery::Manager| {
        let Some(event) = manager.next().map_err(|error| refusal_of(NAME, &error))? else {
            return Ok(WALREC_END);
        };
        // SAFETY: not NULL, writable and aligned by contract, and of one layout with Event (asserted in append.rs).
        unsafe { out.cast::<Event>().write(event) };
        Ok(WALREC_OK)
    };
    // SAFETY: by contract reader is NULL or a live handle, and this thread alone uses it.
    unsafe { with_reader(NAME, reader, body) }
}

/// Up to n events at once. OK whenever *got > 0, else what walrec_reader_next gives.
///
/// One thread at a time; blocks on the disk.
///
/// # Safety
/// reader: a handle from walrec_reader_open; not NULL.
/// out: room for n events, aligned to 8, not NULL. Unspecified beyond *got.
/// n: 1 and up, else INVALID.
/// got: receives the number of events, 0 on error; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_reader_read(
    reader: *mut walrec_reader_t,
    out: *mut walrec_event_t,
    n: usize,
    got: *mut usize,
) -> walrec_status_t {
    const NAME: &str = "walrec_reader_read";
    /// What one call gives at the most; more than that only makes a slice that Rust cannot have.
    const MOST: usize = isize::MAX as usize / size_of::<Event>();
    if got.is_null() {
        return null(NAME, "got").record();
    }
    // SAFETY: not NULL, and writable by contract.
    unsafe { got.write(0) };
    if out.is_null() {
        return null(NAME, "out").record();
    }
    if n == 0 || n > MOST {
        return Refusal::new(WALREC_E_INVALID, format!("{NAME}: n {n} is not in 1..={MOST}")).record();
    }
    let body = |manager: &mut recovery::Manager| {
        // SAFETY: not NULL, room for n aligned events by contract. An Event is integers: whatever bytes the caller's memory
        // holds are a value of it.
        let events: &mut [Event] = unsafe { core::slice::from_raw_parts_mut(out.cast(), n) };
        let count = manager.read(events).map_err(|error| refusal_of(NAME, &error))?;
        // SAFETY: as above.
        unsafe { got.write(count) };
        Ok(if count == 0 { WALREC_END } else { WALREC_OK })
    };
    // SAFETY: by contract reader is NULL or a live handle, and this thread alone uses it.
    unsafe { with_reader(NAME, reader, body) }
}

/// Goes to event_id or the first event after it, forwards or backwards; 0 = the oldest there is. NOT_FOUND
/// (older than the oldest event retained), and the errors of walrec_reader_next.
///
/// One thread at a time; blocks on the disk.
///
/// # Safety
/// reader: a handle from walrec_reader_open; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_reader_seek(reader: *mut walrec_reader_t, event_id: u64) -> walrec_status_t {
    const NAME: &str = "walrec_reader_seek";
    let body = |manager: &mut recovery::Manager| {
        manager.seek(event_id).map(|()| WALREC_OK).map_err(|error| refusal_of(NAME, &error))
    };
    // SAFETY: by contract reader is NULL or a live handle, and this thread alone uses it.
    unsafe { with_reader(NAME, reader, body) }
}

/// Goes to the first event there at or after timestamp_ns, forwards or backwards. Timestamps are taken as
/// non-decreasing from block to block; within a block their order does not matter. Where older segments were
/// retired, the search begins with the oldest event retained. A timestamp after the last event's: the next call
/// gives END, and OK once such an event is durable. The errors of walrec_reader_next.
///
/// One thread at a time; blocks on the disk.
///
/// # Safety
/// reader: a handle from walrec_reader_open; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_reader_seek_time(reader: *mut walrec_reader_t, timestamp_ns: u64) -> walrec_status_t {
    const NAME: &str = "walrec_reader_seek_time";
    let body = |manager: &mut recovery::Manager| {
        manager.seek_time(timestamp_ns).map(|()| WALREC_OK).map_err(|error| refusal_of(NAME, &error))
    };
    // SAFETY: by contract reader is NULL or a live handle, and this thread alone uses it.
    unsafe { with_reader(NAME, reader, body) }
}

/// Frees the reader. NULL is allowed.
///
/// Any thread; no other call on the handle may run beside it or follow it.
///
/// # Safety
/// reader: a handle from walrec_reader_open, freed by this call; or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_reader_close(reader: *mut walrec_reader_t) {
    if reader.is_null() {
        return;
    }
    // SAFETY: a handle from walrec_reader_open is a Box given away there, and the caller gives it back here.
    let reader = unsafe { Box::from_raw(reader) };
    fence(
        |_| (),
        move || {
            drop(reader);
            Ok(WALREC_OK)
        },
    );
}
