//! What a recorder measured about itself: as a structure, and as text.
//!
//! Without the feature `telemetry` the functions stay, check their arguments and say that the library was built without it.

use core::ffi::c_char;
use core::mem::size_of;

use super::last_error::Refusal;
use super::recorder::{null, walrec_t, with_recorder};
use super::sized::give_struct;
use super::status::{WALREC_E_INVALID, WALREC_OK, walrec_status_t};

/// walrec_telemetry_text: a table for a person.
pub const WALREC_TEXT_HUMAN: i32 = 0;
/// walrec_telemetry_text: Prometheus' text exposition format 0.0.4.
pub const WALREC_TEXT_PROMETHEUS: i32 = 1;

/// Times of one kind since the open, in nanoseconds. A quantile pNN is off by at most 1/32; all are 0 while count is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct walrec_times_t {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum_ns: u64,
    /// The longest, exactly.
    pub max_ns: u64,
    /// Half are not longer.
    pub p50_ns: u64,
    /// 90 % are not longer.
    pub p90_ns: u64,
    /// 99 % are not longer.
    pub p99_ns: u64,
    /// 99.9 % are not longer.
    pub p999_ns: u64,
    /// 99.99 % are not longer.
    pub p9999_ns: u64,
}

/// What a recorder measured about itself since walrec_open. Set struct_size before the call. Later versions use up reserved
/// and add fields at the end; nothing moves.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct walrec_telemetry_t {
    /// sizeof(walrec_telemetry_t) of the caller, in bytes. Not changed.
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// The last appended event.
    pub last_event_id: u64,
    /// The last durable event.
    pub durable_event_id: u64,
    /// Segments ready for the append thread.
    pub prepared_now: u64,
    /// Segments being appended to or made durable.
    pub active_now: u64,
    /// Segments waiting for their seal.
    pub written_now: u64,
    /// Segments sealed since the open.
    pub sealed_now: u64,
    /// Free bytes where the log is; UINT64_MAX = not known.
    pub free_bytes: u64,
    /// Events appended a second, over the last second or longer.
    pub append_rate: u64,
    /// Events that fit what is prepared and the rest of the active segment.
    pub stage_room_events: u64,
    /// So many seconds until no prepared segment is left, at append_rate and without the disk; UINT64_MAX = no end.
    pub stage_seconds: u64,
    /// So many seconds until free_bytes are used up, at append_rate; UINT64_MAX = no end.
    pub log_seconds: u64,
    /// 1: the stage does not lie in memory.
    pub stage_on_disk: u64,
    /// 1: the stage is not locked in memory.
    pub stage_not_locked: u64,
    /// 1: a slot of the stage was removed from outside.
    pub stage_unlinked: u64,
    /// 1: a worker waits for space.
    pub out_of_space: u64,
    /// 1: a write, a sync or a worker failed; nothing is recorded any more.
    pub poisoned: u64,
    /// Events appended since the open.
    pub events_appended: u64,
    /// Events made durable since the open.
    pub events_durable: u64,
    /// Bytes of blocks written to segments, whole pages.
    pub bytes_written: u64,
    /// Segments made ready.
    pub segments_prepared: u64,
    /// Segments that the open goes on in: 0 or 1.
    pub segments_resumed: u64,
    /// Segments that the append thread went over to.
    pub segments_activated: u64,
    /// Segments of which all is durable.
    pub segments_written: u64,
    /// Segments sealed.
    pub segments_sealed: u64,
    /// Pushes that found their ring full.
    pub ring_full: u64,
    /// Appends refused with WALREC_E_BACKPRESSURE.
    pub backpressure: u64,
    /// Appends refused with WALREC_E_NOSPACE for want of a prepared segment.
    pub no_space: u64,
    /// Cycles of the flusher that the disk had no room for.
    pub write_retries: u64,
    /// Errors and panics of workers.
    pub worker_errors: u64,
    /// Bytes that did not verify, each time they were met, by the number that walrec_reason_str names.
    pub checksum_failures: [u64; 32],
    /// Segments made into .wal.lz4.
    pub segments_frozen: u64,
    /// Segments deleted, for max_compressed_segments or max_segments.
    pub segments_deleted: u64,
    /// Bytes of the frozen segments, headers and blocks.
    pub freeze_bytes_in: u64,
    /// Bytes of the files that they became.
    pub freeze_bytes_out: u64,
    /// 0.
    pub reserved: [u64; 12],
    /// One append in append_sample: its stores and their publication.
    pub append: walrec_times_t,
    /// The append thread going over to the next segment, waiting included.
    pub rotation: walrec_times_t,
    /// The append thread spinning for a prepared segment.
    pub prepared_wait: walrec_times_t,
    /// From an append to the event being durable, sampled.
    pub durable_lag: walrec_times_t,
    /// One block's checksums and header.
    pub finalize: walrec_times_t,
    /// The flusher writing what one cycle covers.
    pub write: walrec_times_t,
    /// The flusher's sync of one cycle.
    pub sync: walrec_times_t,
    /// A segment's file made or taken over, header synced.
    pub open_new: walrec_times_t,
    /// A segment loaded to be written on in place.
    pub open_existing: walrec_times_t,
    /// One segment made ready: its file and its slot of the stage.
    pub prepare: walrec_times_t,
    /// One written segment sealed, synced and cut to its size.
    pub seal: walrec_times_t,
    /// wal_meta.dat replaced.
    pub meta_flush: walrec_times_t,
    /// Segments in the ring from walrec-prepare to the append thread.
    pub ring_prepared: walrec_times_t,
    /// Segments in the ring from the append thread to walrec-flush.
    pub ring_activated: walrec_times_t,
    /// Segments in the ring from walrec-flush to walrec-maint.
    pub ring_written: walrec_times_t,
    /// Slots of the stage in the ring from walrec-flush to walrec-prepare.
    pub ring_freed: walrec_times_t,
    /// Duty cycles of walrec-prepare.
    pub loop_prepare: walrec_times_t,
    /// Duty cycles of walrec-flush.
    pub loop_flush: walrec_times_t,
    /// Duty cycles of walrec-maint.
    pub loop_maintain: walrec_times_t,
    /// Duty cycles of walrec-meta.
    pub loop_meta: walrec_times_t,
    /// Sleeps of walrec-prepare.
    pub sleep_prepare: walrec_times_t,
    /// Sleeps of walrec-flush.
    pub sleep_flush: walrec_times_t,
    /// Sleeps of walrec-maint.
    pub sleep_maintain: walrec_times_t,
    /// Sleeps of walrec-meta.
    pub sleep_meta: walrec_times_t,
    /// One segment compressed, read again, and its .wal.lz4 durable.
    pub freeze: walrec_times_t,
    /// One segment deleted: renamed, cut, removed, each durable.
    pub deletion: walrec_times_t,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<walrec_times_t>() == 64);
    assert!(size_of::<walrec_telemetry_t>() == 2288);
    assert!(offset_of!(walrec_telemetry_t, events_appended) == 136);
    assert!(offset_of!(walrec_telemetry_t, checksum_failures) == 240);
    assert!(offset_of!(walrec_telemetry_t, append) == 624);
    assert!(crate::format::Reason::ALL.len() <= 32);
};

/// What the recorder has measured since walrec_open. Writes out->struct_size bytes and no more; the caller sets it before. Fields
/// that this library does not know become 0. Counters and times only grow; taken while appends run, one of them may be a moment
/// older than another.
///
/// INVALID (NULL; struct_size below 8 or no multiple of 8; a library that was built without telemetry, which the message says),
/// ABI (struct_size above 4096), FORKED, PANIC: nothing is written.
///
/// Any thread; one system call, for the free space of the log's file system. The append thread is not disturbed.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
/// out: out->struct_size writable bytes; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_telemetry(walrec: *const walrec_t, out: *mut walrec_telemetry_t) -> walrec_status_t {
    const NAME: &str = "walrec_telemetry";
    if out.is_null() {
        return null(NAME, "out").record();
    }
    let body = |walrec: &walrec_t| {
        // SAFETY: not NULL, and struct_size bytes are writable by contract.
        unsafe { give_struct(NAME, out, |struct_size| with::filled(NAME, walrec, struct_size)) }.map(|()| WALREC_OK)
    };
    // SAFETY: by contract walrec is NULL or a live handle.
    unsafe { with_recorder(NAME, walrec, body) }
}

/// The same as text: format 0 (WALREC_TEXT_HUMAN) is a table for a person, whose layout may change; format 1
/// (WALREC_TEXT_PROMETHEUS) is for a scrape: names begin with walrec_, times are histograms in seconds. ASCII, terminated when n is
/// not 0. A text longer than n - 1 bytes is cut there, and the status is still OK: compare needed with n.
///
/// INVALID (NULL; an unknown format; a library that was built without telemetry), FORKED, PANIC: buf is not
/// written, and *needed is 0.
///
/// Any thread; allocates; one system call, as walrec_telemetry.
///
/// # Safety
/// walrec: a handle from walrec_open; not NULL.
/// buf: n writable bytes; may be NULL if n is 0.
/// needed: receives the bytes of the whole text with its terminator; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_telemetry_text(
    walrec: *const walrec_t,
    format: i32,
    buf: *mut c_char,
    n: usize,
    needed: *mut usize,
) -> walrec_status_t {
    const NAME: &str = "walrec_telemetry_text";
    // SAFETY: n bytes are writable at buf if it is not NULL, and one number at needed if it is not NULL, by contract.
    let text = match unsafe { TextPlace::begin(NAME, buf, n, needed) } {
        Ok(place) => place,
        Err(refusal) => return refusal.record(),
    };
    // SAFETY: by contract walrec is NULL or a live handle.
    unsafe { with_recorder(NAME, walrec, |walrec| text.give(format, |format| with::text(NAME, walrec, format))) }
}

/// Where a text goes: n bytes, of which the last that is used is 0, and the place for its whole length.
pub(super) struct TextPlace<'name> {
    name: &'name str,
    buf: *mut c_char,
    n: usize,
    needed: *mut usize,
}

impl<'name> TextPlace<'name> {
    /// Sets `*needed` to 0, and refuses a NULL `buf` with room.
    ///
    /// # Safety
    /// `buf` is NULL or has n writable bytes; `needed` is NULL or writable; both for as long as the value lives.
    pub(super) unsafe fn begin(
        name: &'name str,
        buf: *mut c_char,
        n: usize,
        needed: *mut usize,
    ) -> Result<Self, Refusal> {
        let place = Self { name, buf, n, needed };
        place.give_needed(0);
        if buf.is_null() && n > 0 { Err(null(name, "buf")) } else { Ok(place) }
    }

    fn give_needed(&self, bytes: usize) {
        if !self.needed.is_null() {
            // SAFETY: not NULL, and writable by the contract of `begin`.
            unsafe { self.needed.write(bytes) };
        }
    }

    /// Writes what `text` makes in a known format, cut to the room.
    pub(super) fn give(
        self,
        format: i32,
        text: impl FnOnce(i32) -> Result<String, Refusal>,
    ) -> Result<walrec_status_t, Refusal> {
        if format != WALREC_TEXT_HUMAN && format != WALREC_TEXT_PROMETHEUS {
            return Err(Refusal::new(WALREC_E_INVALID, format!("{}: format {format} is not 0 or 1", self.name)));
        }
        let text = text(format)?;
        if let Some(room) = self.n.checked_sub(1) {
            let copied = text.len().min(room);
            // SAFETY: not NULL since n > 0, and n bytes are writable by the contract of `begin`.
            unsafe {
                self.buf.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), copied);
                self.buf.add(copied).write(0);
            }
        }
        self.give_needed(text.len() + 1);
        Ok(WALREC_OK)
    }
}

#[cfg(feature = "telemetry")]
pub(super) mod with {
    //! The feature is on.

    use super::{Refusal, WALREC_TEXT_HUMAN, walrec_t, walrec_telemetry_t, walrec_times_t};
    use crate::ffi::status::refusal_of;
    use crate::telemetry::histogram::HistogramSnapshot;
    use crate::telemetry::{Count, Snapshot, Table, Timing, each_count, each_gauge, each_timing, text};

    fn snapshot(name: &str, walrec: &walrec_t) -> Result<Snapshot, Refusal> {
        walrec.manager.telemetry().map_err(|error| refusal_of(name, &error))
    }

    pub(super) fn filled(name: &str, walrec: &walrec_t, struct_size: u32) -> Result<walrec_telemetry_t, Refusal> {
        let from = snapshot(name, walrec)?;
        // SAFETY: the structure is integers alone; all of them are valid as 0.
        let zeros: walrec_telemetry_t = unsafe { core::mem::zeroed() };
        let mut to = walrec_telemetry_t { struct_size, checksum_failures: failures(&from), ..zeros };
        each_gauge!(fill_gauges to from);
        each_count!(fill_counts to from Count);
        each_timing!(fill_times to from Timing);
        Ok(to)
    }

    pub(super) fn text(name: &str, walrec: &walrec_t, format: i32) -> Result<String, Refusal> {
        snapshot(name, walrec).map(|snapshot| in_format(&snapshot, format))
    }

    pub(in crate::ffi) fn in_format<T: Table>(snapshot: &Snapshot<T>, format: i32) -> String {
        if format == WALREC_TEXT_HUMAN { text::human(snapshot) } else { text::prometheus(snapshot) }
    }

    pub(in crate::ffi) fn failures<T: Table>(from: &Snapshot<T>) -> [u64; 32] {
        let mut failures = [0; 32];
        for (to, from) in failures.iter_mut().zip(&from.checksum_failures) {
            *to = *from;
        }
        failures
    }

    macro_rules! fill_gauges {
        ([$to:ident $from:ident] $($field:ident $family:literal $label:literal $help:literal;)*) => {
            $($to.$field = $from.gauges.$field;)*
        };
    }
    use fill_gauges;

    macro_rules! fill_counts {
        ([$to:ident $from:ident $count:ident]
         $($variant:ident $field:ident $family:literal $label:literal $help:literal;)*) => {
            $($to.$field = $from.count($count::$variant);)*
        };
    }
    pub(in crate::ffi) use fill_counts;

    macro_rules! fill_times {
        ([$to:ident $from:ident $timing:ident]
         $($variant:ident $field:ident $family:literal $label:literal $help:literal;)*) => {
            $($crate::ffi::telemetry::with::fill($from.timing($timing::$variant), &mut $to.$field);)*
        };
    }
    pub(in crate::ffi) use fill_times;

    /// Called for each kind of time: one body, and not one in each place.
    #[inline(never)]
    pub(in crate::ffi) fn fill(histogram: &HistogramSnapshot, times: &mut walrec_times_t) {
        let [p50_ns, p90_ns, p99_ns, p999_ns, p9999_ns] =
            [500_000, 900_000, 990_000, 999_000, 999_900].map(|part| histogram.quantile(part));
        let (count, sum_ns, max_ns) = (histogram.count(), histogram.sum(), histogram.max());
        *times = walrec_times_t { count, sum_ns, max_ns, p50_ns, p90_ns, p99_ns, p999_ns, p9999_ns };
    }
}

#[cfg(not(feature = "telemetry"))]
pub(super) mod with {
    //! The feature is off.

    use super::{Refusal, WALREC_E_INVALID, walrec_t, walrec_telemetry_t};

    pub(in crate::ffi) fn absent(name: &str) -> Refusal {
        Refusal::new(WALREC_E_INVALID, format!("{name}: this library was built without the feature telemetry"))
    }

    pub(super) fn filled(name: &str, _: &walrec_t, _: u32) -> Result<walrec_telemetry_t, Refusal> {
        Err(absent(name))
    }

    pub(super) fn text(name: &str, _: &walrec_t, _: i32) -> Result<String, Refusal> {
        Err(absent(name))
    }
}
