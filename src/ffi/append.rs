//! The append thread's functions.
//!
//! `walrec_append`, `walrec_append_batch`, `walrec_reserve`, `walrec_commit` and `walrec_abort` are hot: a NULL check,
//! the core's inlined call, and on refusal a static text. They have no panic fence and need none. Wrong threads,
//! forked children and closed recorders are the core's rare branch.

use core::ptr;

use super::last_error::{Refusal, record_hot, record_parts, record_static};
use super::recorder::{walrec_t, with_recorder};
use super::status::{WALREC_E_ABI, WALREC_E_INVALID, WALREC_OK, of_append_error, walrec_status_t};
use super::types::walrec_event_t;
use crate::format::Event;
use crate::recorder::{AppendError, CURSOR_LAYOUT, SegmentWriter};

// walrec_event_t and the core's Event are one layout under two names: C cannot call a field `kind` what the
// format calls type, and Rust cannot call it type without a raw identifier everywhere.
const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Event>() == size_of::<walrec_event_t>());
    assert!(align_of::<Event>() == align_of::<walrec_event_t>());
    assert!(offset_of!(Event, event_id) == offset_of!(walrec_event_t, event_id));
    assert!(offset_of!(Event, timestamp_ns) == offset_of!(walrec_event_t, timestamp_ns));
    assert!(offset_of!(Event, price) == offset_of!(walrec_event_t, price));
    assert!(offset_of!(Event, quantity) == offset_of!(walrec_event_t, quantity));
    assert!(offset_of!(Event, user_id) == offset_of!(walrec_event_t, user_id));
    assert!(offset_of!(Event, order_id) == offset_of!(walrec_event_t, order_id));
    assert!(offset_of!(Event, kind) == offset_of!(walrec_event_t, r#type));
    assert!(offset_of!(Event, order_type) == offset_of!(walrec_event_t, order_type));
    assert!(offset_of!(Event, side) == offset_of!(walrec_event_t, side));
    assert!(offset_of!(Event, user_bytes) == offset_of!(walrec_event_t, user_bytes));
    assert!(offset_of!(Event, guard) == offset_of!(walrec_event_t, guard));
};

/// The writer in a handle.
///
/// # Safety
/// `walrec` is a live handle, and the caller is its append thread, which makes one call at a time: so nobody
/// else has a reference to the writer.
#[inline]
unsafe fn writer<'a>(walrec: *mut walrec_t) -> &'a mut SegmentWriter {
    // SAFETY: live by contract; the writer is in a cell, and only the append thread's functions come here.
    unsafe { &mut *(*walrec).writer.get() }
}

/// Status of a hot call's outcome.
///
/// # Safety
/// `walrec` is a live handle.
#[inline]
unsafe fn status_of(
    function: &'static str,
    walrec: *mut walrec_t,
    outcome: Result<(), AppendError>,
) -> walrec_status_t {
    match outcome {
        Ok(()) => WALREC_OK,
        // SAFETY: by the caller.
        Err(error) => unsafe { refused(function, walrec, error) },
    }
}

/// # Safety
/// As `status_of`.
#[cold]
#[inline(never)]
unsafe fn refused(function: &'static str, walrec: *mut walrec_t, error: AppendError) -> walrec_status_t {
    let (status, text) = of_append_error(error);
    if error != AppendError::Failed {
        return record_hot(status, function, text);
    }
    // SAFETY: live; the manager is everybody's.
    let cause = unsafe { &(*walrec).manager }.cause();
    record_parts(status, &[function, FAILED, cause])
}

/// Between the function's name and the first error of the recorder's life.
const FAILED: &str = ": the recorder has failed: ";

#[cold]
#[inline(never)]
fn null(text: &'static str) -> walrec_status_t {
    record_static(WALREC_E_INVALID, text)
}

/// Appends one event: a copy of 64 bytes and a store. No system call, no allocation, no lock.
///
/// OK: the event is appended; from here on it survives kill -9 of the process. For power loss see walrec_sync.
/// INVALID (NULL, event_id 0), ORDER (event_id not above the last one), BACKPRESSURE, NOSPACE, CLOSED, FAILED,
/// FORKED, THREAD: nothing was recorded; after FAILED the message tells the first error. An open reservation is
/// dropped, also by a refused call; not by THREAD.
///
/// Append thread; never blocks; with WALREC_FULL_WAIT it may spin for wait_limit_us.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
/// event: aligned to 8, not NULL, not kept; guard is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_append(walrec: *mut walrec_t, event: *const walrec_event_t) -> walrec_status_t {
    // SAFETY: not NULL, so a live handle and its append thread by contract; event is readable and aligned by contract,
    // and of one layout with Event (asserted above).
    unsafe {
        let given = !walrec.is_null() && !event.is_null();
        if given && writer(walrec).try_append(&*event.cast()) { WALREC_OK } else { append_slowly(walrec, event) }
    }
}

/// The rare rest of walrec_append.
///
/// # Safety
/// As walrec_append.
#[cold]
#[inline(never)]
unsafe extern "C" fn append_slowly(walrec: *mut walrec_t, event: *const walrec_event_t) -> walrec_status_t {
    if walrec.is_null() || event.is_null() {
        if !walrec.is_null() {
            // SAFETY: as in walrec_append. A refused call drops the reservation too.
            let _ = unsafe { writer(walrec) }.abort();
        }
        return null(if walrec.is_null() { "walrec_append: walrec is NULL" } else { "walrec_append: event is NULL" });
    }
    // SAFETY: as in walrec_append.
    unsafe { status_of("walrec_append", walrec, writer(walrec).append_slowly(&*event.cast())) }
}

/// Appends n events in their order, up to the first that is refused: a prefix is appended, and the status is what
/// walrec_append gives for the first event that is not. n = 0 is OK.
///
/// Append thread; never blocks; spins like walrec_append.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
/// events: n events, aligned to 8; not NULL unless n is 0; not kept.
/// done: receives the number of events appended, on error too; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_append_batch(
    walrec: *mut walrec_t,
    events: *const walrec_event_t,
    n: usize,
    done: *mut usize,
) -> walrec_status_t {
    /// More than a slice may span.
    const TOO_MANY: usize = isize::MAX as usize / size_of::<Event>() + 1;
    let give_done = |count: usize| {
        if !done.is_null() {
            // SAFETY: not NULL, and writable by contract.
            unsafe { done.write(count) };
        }
    };
    if walrec.is_null() || (events.is_null() && n > 0) || n >= TOO_MANY {
        give_done(0);
        return null(match (walrec.is_null(), events.is_null()) {
            (true, _) => "walrec_append_batch: walrec is NULL",
            (_, true) => "walrec_append_batch: events is NULL",
            _ => "walrec_append_batch: n is more than the address space holds",
        });
    }
    let events: &[Event] = if n == 0 {
        &[]
    } else {
        // SAFETY: not NULL, n events are readable and aligned by contract, fewer than TOO_MANY, of one layout with Event.
        unsafe { core::slice::from_raw_parts(events.cast(), n) }
    };
    // SAFETY: live handle and append thread by contract.
    let (count, outcome) = unsafe { writer(walrec) }.append_batch(events);
    give_done(count);
    // SAFETY: as above.
    unsafe { status_of("walrec_append_batch", walrec, outcome) }
}

/// Gives the place of the next event, to build it there: the fastest way. Fill bytes 0 to 59 (every field but
/// guard; what is in them before is unspecified), then call walrec_commit. Nothing is recorded before that. One
/// reservation at a time.
///
/// BACKPRESSURE, NOSPACE, CLOSED, FAILED, FORKED, THREAD, INVALID (NULL): *slot is NULL.
///
/// Append thread; never blocks; spins like walrec_append.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
/// slot: receives the place. It stays the library's, and may be written until the next call of the append
/// thread on this handle; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_reserve(walrec: *mut walrec_t, slot: *mut *mut walrec_event_t) -> walrec_status_t {
    // SAFETY: not NULL, so a live handle and its append thread by contract; slot is writable by contract.
    unsafe {
        if !walrec.is_null()
            && !slot.is_null()
            && let Some(place) = writer(walrec).try_reserve()
        {
            slot.write(place.as_ptr().cast());
            return WALREC_OK;
        }
        reserve_slowly(walrec, slot)
    }
}

/// The rare rest of walrec_reserve.
///
/// # Safety
/// As walrec_reserve.
#[cold]
#[inline(never)]
unsafe extern "C" fn reserve_slowly(walrec: *mut walrec_t, slot: *mut *mut walrec_event_t) -> walrec_status_t {
    if slot.is_null() {
        return null("walrec_reserve: slot is NULL");
    }
    let (place, status) = if walrec.is_null() {
        (ptr::null_mut(), null("walrec_reserve: walrec is NULL"))
    } else {
        // SAFETY: live handle and append thread by contract.
        match unsafe { writer(walrec) }.reserve_slowly() {
            Ok(event) => (event.as_ptr().cast(), WALREC_OK),
            // SAFETY: as above.
            Err(error) => (ptr::null_mut(), unsafe { refused("walrec_reserve", walrec, error) }),
        }
    };
    // SAFETY: not NULL, and writable by contract.
    unsafe { slot.write(place) };
    status
}

/// Appends the event built in the reserved place. OK means what it means for walrec_append.
///
/// INVALID (nothing is reserved; event_id 0; NULL), ORDER, FAILED, CLOSED, FORKED, THREAD: nothing was
/// recorded, and the reservation is dropped; not by THREAD.
///
/// Append thread; never blocks.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL. After the call the reserved place is not to be written any
/// more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_commit(walrec: *mut walrec_t) -> walrec_status_t {
    // SAFETY: not NULL, so a live handle and its append thread by contract.
    unsafe { if !walrec.is_null() && writer(walrec).try_commit() { WALREC_OK } else { commit_slowly(walrec) } }
}

/// The rare rest of walrec_commit.
///
/// # Safety
/// As walrec_commit.
#[cold]
#[inline(never)]
unsafe extern "C" fn commit_slowly(walrec: *mut walrec_t) -> walrec_status_t {
    if walrec.is_null() {
        return null("walrec_commit: walrec is NULL");
    }
    // SAFETY: live handle and append thread by contract.
    unsafe { status_of("walrec_commit", walrec, writer(walrec).commit_slowly()) }
}

/// Drops the reservation; what was written into it never appears.
///
/// INVALID, or FAILED or CLOSED (nothing is reserved); INVALID (NULL), FORKED, THREAD: nothing happened.
///
/// Append thread; never blocks.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL. After the call the reserved place is not to be written any
/// more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_abort(walrec: *mut walrec_t) -> walrec_status_t {
    if walrec.is_null() {
        return null("walrec_abort: walrec is NULL");
    }
    // SAFETY: live handle and append thread by contract.
    unsafe { status_of("walrec_abort", walrec, writer(walrec).abort()) }
}

/// Where the append thread stands: what the functions of walrec_inline.h work on.
pub struct walrec_cursor_t {
    _of_the_recorder: [u8; 0],
}

/// Gives the cursor for walrec_inline.h, valid until walrec_close. See there; that header calls this.
///
/// ABI (the library's cursor is of another layout), INVALID (NULL), FORKED, PANIC: *cursor is NULL.
///
/// Any thread; never blocks.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
/// layout: WALREC_CURSOR_LAYOUT of walrec_inline.h.
/// cursor: receives the cursor, which stays the library's; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_cursor(
    walrec: *mut walrec_t,
    layout: u32,
    cursor: *mut *mut walrec_cursor_t,
) -> walrec_status_t {
    const NAME: &str = "walrec_cursor";
    if cursor.is_null() {
        return null("walrec_cursor: cursor is NULL");
    }
    // SAFETY: not NULL, and writable by contract.
    unsafe { cursor.write(ptr::null_mut()) };
    let body = |walrec: &walrec_t| {
        if layout != CURSOR_LAYOUT {
            let text = format!("{NAME}: layout {layout} is asked for, the library has {CURSOR_LAYOUT}");
            return Err(Refusal::new(WALREC_E_ABI, text));
        }
        // SAFETY: as above.
        unsafe { cursor.write(walrec.manager.cursor().cast()) };
        Ok(WALREC_OK)
    };
    // SAFETY: by contract walrec is NULL or a live handle.
    unsafe { with_recorder(NAME, walrec, body) }
}

/// The refusal of a cold call.
#[cold]
#[inline(never)]
fn cold_refusal(name: &str, walrec: &walrec_t, error: AppendError) -> Refusal {
    let (status, text) = of_append_error(error);
    let parts = if error == AppendError::Failed { [FAILED, walrec.manager.cause()] } else { [": ", text] };
    Refusal::new(status, [name, parts[0], parts[1]].concat())
}

/// Closes the active segment early: the next event goes into a new one. Nothing happens while the active
/// segment holds no event. An open reservation is dropped.
///
/// BACKPRESSURE, NOSPACE, CLOSED, FAILED, FORKED, THREAD, INVALID (NULL), PANIC: the segment stays active.
///
/// Append thread; never blocks; spins like walrec_append.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_rotate(walrec: *mut walrec_t) -> walrec_status_t {
    const NAME: &str = "walrec_rotate";
    // SAFETY: by contract walrec is NULL or a live handle, and the caller is its append thread.
    unsafe {
        with_recorder(NAME, walrec, |shared| {
            writer(walrec).rotate().map(|()| WALREC_OK).map_err(|error| cold_refusal(NAME, shared, error))
        })
    }
}

/// Makes the caller the append thread. The old append thread has stopped calling, and the caller knows it by
/// its own means (a join, a lock). An open reservation is dropped.
///
/// CLOSED, FAILED, FORKED, INVALID (NULL), PANIC: the append thread is the one it was.
///
/// The new append thread; never blocks.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_attach_thread(walrec: *mut walrec_t) -> walrec_status_t {
    const NAME: &str = "walrec_attach_thread";
    // SAFETY: by contract walrec is NULL or a live handle, and no other thread is in an append function.
    unsafe {
        with_recorder(NAME, walrec, |shared| {
            writer(walrec).attach_thread().map(|()| WALREC_OK).map_err(|error| cold_refusal(NAME, shared, error))
        })
    }
}
