//! The reader's handle and functions. All cold: they may read files, allocate and decompress.

use core::ffi::c_char;
use core::ptr;

use super::config::read_path;
use super::fence::{fence, install_hook};
use super::last_error::Refusal;
use super::recorder::null;
use super::sized::give_struct;
use super::status::{
    WALREC_E_FAILED, WALREC_E_INVALID, WALREC_E_NOT_FOUND, WALREC_END, WALREC_GAP, WALREC_OK, refusal_of,
    walrec_status_t,
};
use super::types::{WALREC_FLAG_SALVAGE, walrec_event_t, walrec_gap_t};
use crate::format::Event;
use crate::recovery::{self, Item};

/// What is behind a handle.
pub(super) enum Reader {
    Strict(Box<recovery::Manager>),
    Salvage(Box<Salvage>),
}

#[cfg(feature = "telemetry")]
impl Reader {
    /// What it has measured.
    pub(super) fn telemetry(&self) -> crate::telemetry::ReaderSnapshot {
        match self {
            Self::Strict(manager) => manager.telemetry(),
            Self::Salvage(salvage) => salvage.salvager.telemetry(),
        }
    }
}

pub(super) struct Salvage {
    salvager: recovery::Salvager,
    /// The range that was passed last.
    gap: Option<recovery::Gap>,
    /// Taken while a batch was filled, not yet given.
    held: Option<Result<recovery::Gap, recovery::Error>>,
}

impl Salvage {
    /// The next event, or the status that comes instead of one.
    fn next(&mut self, name: &str) -> Result<Result<Event, walrec_status_t>, Refusal> {
        let gap = match self.held.take() {
            Some(Ok(gap)) => gap,
            Some(Err(error)) => return Err(refusal_of(name, &error)),
            None => match self.salvager.next().map_err(|error| refusal_of(name, &error))? {
                Item::Event(event) => return Ok(Ok(event)),
                Item::End => return Ok(Err(WALREC_END)),
                Item::Gap(gap) => gap,
            },
        };
        self.gap = Some(gap);
        Ok(Err(WALREC_GAP))
    }

    /// Fills a prefix; a range behind an event is kept for the next call.
    fn read(&mut self, name: &str, out: &mut [Event], got: &mut usize) -> Result<walrec_status_t, Refusal> {
        for place in out {
            if *got == 0 {
                match self.next(name)? {
                    Ok(event) => *place = event,
                    Err(status) => return Ok(status),
                }
            } else {
                match self.salvager.next() {
                    Ok(Item::Event(event)) => *place = event,
                    Ok(Item::End) => break,
                    Ok(Item::Gap(gap)) => {
                        self.held = Some(Ok(gap));
                        break;
                    }
                    Err(error) => {
                        self.held = Some(Err(error));
                        break;
                    }
                }
            }
            *got += 1;
        }
        Ok(WALREC_OK)
    }

    fn moved(&mut self) {
        (self.gap, self.held) = (None, None);
    }
}

/// A reader. One thread at a time.
pub struct walrec_reader_t {
    reader: Reader,
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
    body: impl FnOnce(&mut Reader) -> Result<walrec_status_t, Refusal>,
) -> walrec_status_t {
    // SAFETY: NULL gives None; else it is a live handle that this thread alone uses, by contract.
    let Some(walrec_reader_t { reader, broken }) = (unsafe { reader.as_mut() }) else {
        return null(name, "reader").record();
    };
    if *broken {
        return broken_earlier(name).record();
    }
    fence(|_| *broken = true, || body(reader))
}

/// As [`with_reader`], for a function that changes nothing.
///
/// # Safety
/// `reader` is NULL or a handle from `walrec_reader_open` that is not closed, and no other thread uses it now.
pub(super) unsafe fn look_at_reader(
    name: &str,
    reader: *const walrec_reader_t,
    body: impl FnOnce(&Reader) -> Result<walrec_status_t, Refusal>,
) -> walrec_status_t {
    // SAFETY: NULL gives None; else it is a live handle that nobody changes now, by contract.
    let Some(walrec_reader_t { reader, broken }) = (unsafe { reader.as_ref() }) else {
        return null(name, "reader").record();
    };
    if *broken {
        return broken_earlier(name).record();
    }
    fence(|_| (), || body(reader))
}

fn broken_earlier(name: &str) -> Refusal {
    Refusal::new(WALREC_E_FAILED, format!("{name}: a panic broke this reader earlier; close it"))
}

/// Opens the log in dir for reading from from_event_id on, or from the first event after it; 0 = from the
/// oldest there is. Works beside a live recorder, in another process too, and on its own. Takes no lock and
/// changes nothing.
///
/// flags: 0 is strict: bytes that do not verify are CORRUPT, and nothing behind them is given. WALREC_FLAG_SALVAGE
/// passes over damage, with WALREC_GAP for each range, and gives every event behind it that proves itself, also single
/// ones out of a bad block; never a wrong one.
///
/// INVALID (also for other flags), NOT_FOUND (no log there,
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
            let reader = match flags {
                0 => recovery::Manager::open(&dir, from_event_id).map(|manager| Reader::Strict(Box::new(manager))),
                WALREC_FLAG_SALVAGE => recovery::Salvager::open(&dir, from_event_id)
                    .map(|salvager| Reader::Salvage(Box::new(Salvage { salvager, gap: None, held: None }))),
                _ => {
                    let text = format!("{NAME}: flags {flags:#x} is neither 0 nor WALREC_FLAG_SALVAGE");
                    return Err(Refusal::new(WALREC_E_INVALID, text));
                }
            };
            let reader = reader.map_err(|error| refusal_of(NAME, &error))?;
            opened = Some(Box::new(walrec_reader_t { reader, broken: false }));
            Ok(WALREC_OK)
        },
    );
    if let Some(reader) = opened {
        // SAFETY: as above. Ownership goes to the caller, who gives it back to walrec_reader_close.
        unsafe { out.write(Box::into_raw(reader)) };
    }
    status
}

/// The next event.
///
/// OK. END: no more events now; while a recorder runs, OK may follow later (durable events only). GAP (with SALVAGE):
/// a damaged range was passed, see walrec_reader_gap; call again. CORRUPT: the message names the place. NOT_FOUND: the events to come were retired meanwhile. IO, ABI, NOMEM, INVALID
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
    let body = |reader: &mut Reader| {
        let event = match reader {
            Reader::Strict(manager) => manager.next().map_err(|error| refusal_of(NAME, &error))?.ok_or(WALREC_END),
            Reader::Salvage(salvage) => salvage.next(NAME)?,
        };
        let event = match event {
            Ok(event) => event,
            Err(status) => return Ok(status),
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
    let body = |reader: &mut Reader| {
        // SAFETY: not NULL, room for n aligned events by contract. An Event is integers: whatever bytes the caller's memory
        // holds are a value of it.
        let events: &mut [Event] = unsafe { core::slice::from_raw_parts_mut(out.cast(), n) };
        let mut count = 0;
        let status = match reader {
            Reader::Strict(manager) => {
                count = manager.read(events).map_err(|error| refusal_of(NAME, &error))?;
                if count == 0 { WALREC_END } else { WALREC_OK }
            }
            Reader::Salvage(salvage) => salvage.read(NAME, events, &mut count)?,
        };
        // SAFETY: as above.
        unsafe { got.write(count) };
        Ok(status)
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
    let body = |reader: &mut Reader| {
        match reader {
            Reader::Strict(manager) => manager.seek(event_id),
            Reader::Salvage(salvage) => salvage.salvager.seek(event_id).map(|()| salvage.moved()),
        }
        .map(|()| WALREC_OK)
        .map_err(|error| refusal_of(NAME, &error))
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
    let body = |reader: &mut Reader| {
        match reader {
            Reader::Strict(manager) => manager.seek_time(timestamp_ns),
            Reader::Salvage(salvage) => salvage.salvager.seek_time(timestamp_ns).map(|()| salvage.moved()),
        }
        .map(|()| WALREC_OK)
        .map_err(|error| refusal_of(NAME, &error))
    };
    // SAFETY: by contract reader is NULL or a live handle, and this thread alone uses it.
    unsafe { with_reader(NAME, reader, body) }
}

/// The range that the last WALREC_GAP passed. Writes gap->struct_size bytes and no more; the caller sets it before.
/// Fields that this library does not know become 0.
///
/// INVALID (NULL; struct_size below 8 or no multiple of 8), ABI (struct_size above 4096), NOT_FOUND (no range was
/// passed since the reader was opened or moved by a seek): nothing is written. PANIC, and FAILED ever after.
///
/// One thread at a time; never blocks.
///
/// # Safety
/// reader: a handle from walrec_reader_open; not NULL.
/// gap: gap->struct_size writable bytes; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_reader_gap(reader: *const walrec_reader_t, gap: *mut walrec_gap_t) -> walrec_status_t {
    const NAME: &str = "walrec_reader_gap";
    if gap.is_null() {
        return null(NAME, "gap").record();
    }
    let body = |reader: &Reader| {
        let passed = match reader {
            Reader::Salvage(salvage) => salvage.gap,
            Reader::Strict(_) => None,
        };
        let fill = |struct_size| {
            let passed =
                passed.ok_or_else(|| Refusal::new(WALREC_E_NOT_FOUND, format!("{NAME}: no range was passed")))?;
            Ok(walrec_gap_t {
                struct_size,
                segment: passed.segment,
                reason: passed.reason.as_u32(),
                reserved: 0,
                offset: passed.offset,
                length: passed.length,
                id_before: passed.id_before,
                id_after: passed.id_after,
            })
        };
        // SAFETY: not NULL, and struct_size bytes are writable by contract.
        unsafe { give_struct(NAME, gap, fill) }.map(|()| WALREC_OK)
    };
    // SAFETY: by contract reader is NULL or a live handle that nobody changes now.
    unsafe { look_at_reader(NAME, reader, body) }
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
