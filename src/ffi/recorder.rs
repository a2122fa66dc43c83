//! The recorder's handle: open, report, shutdown, close.

use core::cell::{OnceCell, UnsafeCell};
use core::ffi::c_char;
use core::ptr;

use super::config::{read_config, read_path};
use super::fence::{fence, install_hook};
use super::last_error::Refusal;
use super::sized::give_struct;
use super::status::{WALREC_E_CLOSED, WALREC_E_FORKED, WALREC_E_INVALID, WALREC_OK, refusal_of, walrec_status_t};
use super::types::{walrec_config_t, walrec_open_report_t};
use crate::recorder::{self, LogLevel, LogSink, Manager, SegmentWriter};

/// A recorder. One append thread; the functions that take it as const may run on any thread at any time.
pub struct walrec_t {
    /// The append thread's alone: only the functions of `append.rs` look inside.
    pub(super) writer: UnsafeCell<SegmentWriter>,
    /// Everybody's, by shared reference.
    pub(super) manager: Manager,
    log: LogSink,
}

/// Runs a cold function's body on a handle: NULL, forked child and panic are dealt with here.
///
/// # Safety
/// `walrec` is NULL or a handle from `walrec_open` that is not closed.
pub(super) unsafe fn with_recorder(
    name: &str,
    walrec: *const walrec_t,
    body: impl FnOnce(&walrec_t) -> Result<walrec_status_t, Refusal>,
) -> walrec_status_t {
    // SAFETY: NULL gives None; else it is a live handle by contract, and the one field that changes under a shared
    // reference is in a cell.
    let Some(walrec) = (unsafe { walrec.as_ref() }) else {
        return null(name, "walrec").record();
    };
    fence(
        // The first cause of a poisoning is logged by the core.
        |panic| walrec.manager.poison(panic.to_owned()),
        || {
            if walrec.manager.is_forked() {
                return Err(forked(name));
            }
            body(walrec)
        },
    )
}

/// The refusal of a NULL argument, by its name.
pub(super) fn null(function: &str, argument: &str) -> Refusal {
    Refusal::new(WALREC_E_INVALID, format!("{function}: {argument} is NULL"))
}

fn forked(function: &str) -> Refusal {
    Refusal::new(WALREC_E_FORKED, format!("{function}: the recorder belongs to the parent process"))
}

/// Opens the log in dir for recording, recovers what a crash left, and starts the worker threads. When it
/// returns OK, every recovered event is durable. dir is created if it is missing (mode 0700).
///
/// Segments that are sealed or compressed are not read, so damage in one is no error here: the strict reader and
/// walrec_verify find it. WALREC_FLAG_SALVAGE is the way out: then the whole log is read, which takes as long as
/// walrec_verify, and each segment that would stop the strict reader is set aside.
///
/// INVALID (the message names the field and its range), LOCKED, CORRUPT, ABI, IO, NOSPACE, NOMEM, PANIC: *out
/// is NULL, and after LOCKED, CORRUPT and ABI nothing in the log was changed.
///
/// Any thread; blocks on the disk. Open after daemonizing.
///
/// # Safety
/// dir: a path, bytes, terminated; not NULL, not kept.
/// config: NULL = defaults; else at least config->struct_size bytes. Not kept, but log_cb and log_user are.
/// out: receives a handle that the caller owns and gives to walrec_close; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_open(
    dir: *const c_char,
    config: *const walrec_config_t,
    out: *mut *mut walrec_t,
) -> walrec_status_t {
    if out.is_null() {
        return null("walrec_open", "out").record();
    }
    // SAFETY: not NULL, and writable by contract.
    unsafe { out.write(ptr::null_mut()) };
    install_hook();
    let log = OnceCell::new();
    let mut opened = None;
    let status = fence(
        |panic| log.get_or_init(LogSink::silent).log(LogLevel::Error, panic),
        || {
            // SAFETY: by contract dir is NULL or a terminated string.
            let dir = unsafe { read_path("walrec_open: dir", dir) }?.ok_or_else(|| null("walrec_open", "dir"))?;
            // SAFETY: by contract config is NULL or holds its struct_size bytes, and its callback may be kept.
            let config = unsafe { read_config(config) }?;
            let log = log.get_or_init(|| config.log.clone()).clone();
            let (writer, manager) = recorder::open(&dir, &config).map_err(|error| refusal_of("walrec_open", &error))?;
            opened = Some(Box::new(walrec_t { writer: UnsafeCell::new(writer), manager, log }));
            Ok(WALREC_OK)
        },
    );
    if let Some(walrec) = opened {
        // SAFETY: as above. Ownership goes to the caller, who gives it back to walrec_close.
        unsafe { out.write(Box::into_raw(walrec)) };
    }
    status
}

/// What walrec_open found. Writes report->struct_size bytes and no more; the caller sets it before. Fields that
/// this library does not know become 0.
///
/// INVALID (NULL; struct_size below 8 or no multiple of 8), ABI (struct_size above 4096), FORKED, PANIC:
/// nothing is written.
///
/// Any thread; never blocks.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
/// report: report->struct_size writable bytes; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_open_report(
    walrec: *const walrec_t,
    report: *mut walrec_open_report_t,
) -> walrec_status_t {
    const NAME: &str = "walrec_open_report";
    if report.is_null() {
        return null(NAME, "report").record();
    }
    let body = |walrec: &walrec_t| {
        // SAFETY: not NULL, and struct_size bytes are writable by contract.
        unsafe { give_struct(NAME, report, |struct_size| Ok(fill_report(walrec, struct_size))) }.map(|()| WALREC_OK)
    };
    // SAFETY: by contract walrec is NULL or a live handle.
    unsafe { with_recorder(NAME, walrec, body) }
}

fn fill_report(walrec: &walrec_t, struct_size: u32) -> walrec_open_report_t {
    let found = walrec.manager.report();
    walrec_open_report_t {
        struct_size,
        flags: found.flags,
        first_event_id: found.first_event_id,
        last_event_id: found.last_event_id,
        events_from_stage: found.events_from_stage,
        bytes_cut: found.bytes_cut,
        cut_offset: found.cut_offset,
        cut_segment: found.cut_segment,
        cut_reason: found.cut_reason.as_u32(),
        segments: found.segments,
        segments_compressed: found.segments_compressed,
        quarantined: found.quarantined,
        foreign_files: found.foreign_files,
        recovery_ns: u64::try_from(found.recovery.as_nanos()).unwrap_or(u64::MAX),
        reserved: [0; 6],
    }
}

/// Ends recording: refuses appends, wakes waiting syncs, makes everything appended durable, seals the segments
/// and joins the threads. Later calls give CLOSED; the handle is still to be closed.
///
/// FAILED, IO, NOSPACE, PANIC: the first error of the recorder's life. Not everything is durable then; what was
/// appended is in the stage for the next walrec_open of this boot. CLOSED: it was shut down before. INVALID
/// (NULL), FORKED.
///
/// Any thread, once appends stopped; blocks on the disk.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_shutdown(walrec: *mut walrec_t) -> walrec_status_t {
    const NAME: &str = "walrec_shutdown";
    let body =
        |walrec: &walrec_t| walrec.manager.shutdown().map(|()| WALREC_OK).map_err(|error| refusal_of(NAME, &error));
    // SAFETY: by contract walrec is NULL or a live handle.
    unsafe { with_recorder(NAME, walrec, body) }
}

/// Shuts down if that was not done, then frees the handle: always, whatever it returns. In a forked child it
/// frees memory and nothing else. Returns OK, or what walrec_shutdown would have; OK after an earlier
/// walrec_shutdown and for NULL.
///
/// Any thread; blocks on the disk. No other call on the handle may run beside it or follow it.
///
/// # Safety
/// walrec: a handle from walrec_open, freed by this call; or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_close(walrec: *mut walrec_t) -> walrec_status_t {
    const NAME: &str = "walrec_close";
    if walrec.is_null() {
        return WALREC_OK;
    }
    // SAFETY: a handle from walrec_open is a Box given away there, and the caller gives it back here.
    let walrec = unsafe { Box::from_raw(walrec) };
    let log = walrec.log.clone();
    fence(
        |panic| log.log(LogLevel::Error, panic),
        move || {
            let outcome = if walrec.manager.is_forked() { Ok(()) } else { walrec.manager.shutdown() };
            drop(walrec);
            match outcome.map_err(|error| refusal_of(NAME, &error)) {
                Err(refusal) if refusal.status != WALREC_E_CLOSED => Err(refusal),
                _ => Ok(WALREC_OK),
            }
        },
    )
}
