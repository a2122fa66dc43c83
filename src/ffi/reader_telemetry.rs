//! What a reader measured about itself: as a structure, and as text.
//!
//! Without the feature `telemetry` the functions stay, check their arguments and say that the library was built without it.

use core::ffi::c_char;
use core::mem::size_of;

use super::reader::{look_at_reader, walrec_reader_t};
use super::recorder::null;
use super::sized::give_struct;
use super::status::{WALREC_OK, walrec_status_t};
use super::telemetry::{TextPlace, walrec_times_t};

/// What a reader measured about itself since walrec_reader_open. Set struct_size before the call. Later versions use up reserved
/// and add fields at the end; nothing moves.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct walrec_reader_telemetry_t {
    /// sizeof(walrec_reader_telemetry_t) of the caller, in bytes. Not changed.
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// Events given.
    pub events: u64,
    /// Bytes of blocks read, after decompression; those that were read ahead and not used are in it.
    pub bytes: u64,
    /// Blocks that hold, read to their end.
    pub blocks: u64,
    /// Segments that reading came to as a .wal.
    pub segments_hot: u64,
    /// Segments that reading came to as a .wal.lz4.
    pub segments_frozen: u64,
    /// Of both, those of which pieces were read ahead on a thread of their own.
    pub segments_preloaded: u64,
    /// Damaged .wal that were left for their .wal.lz4.
    pub form_switches: u64,
    /// Ranges passed over: recorded as lost by an earlier salvage, or damaged and passed with WALREC_FLAG_SALVAGE.
    pub gaps: u64,
    /// Bytes that did not verify, each time they were met, by the number that walrec_reason_str names.
    pub checksum_failures: [u64; 32],
    /// 0.
    pub reserved: [u64; 16],
    /// The log opened, and the way to the first event.
    pub open: walrec_times_t,
    /// One segment opened and its header judged.
    pub open_segment: walrec_times_t,
    /// One block judged: 1 in 16 of those judged alone, the mean of those judged together.
    pub verify: walrec_times_t,
    /// One seek, by id or by time.
    pub seek: walrec_times_t,
    /// One call in 4 of those that go for more events, over a block or more; the others copy an event that was read.
    pub next: walrec_times_t,
    /// One piece of a segment read and judged ahead.
    pub preload: walrec_times_t,
    /// The reader waiting for a piece that is being read ahead.
    pub preload_wait: walrec_times_t,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<walrec_reader_telemetry_t>() == 904);
    assert!(offset_of!(walrec_reader_telemetry_t, checksum_failures) == 72);
    assert!(offset_of!(walrec_reader_telemetry_t, open) == 456);
    assert!(crate::format::Reason::ALL.len() <= 32);
};

/// What the reader has measured since walrec_reader_open. Writes out->struct_size bytes and no more; the caller sets it before.
/// Fields that this library does not know become 0. Counters and times only grow.
///
/// INVALID (NULL; struct_size below 8 or no multiple of 8; a library that was built without telemetry, which the message says),
/// ABI (struct_size above 4096), PANIC: nothing is written. FAILED after a panic in this reader.
///
/// One thread at a time, as all functions of a reader; never blocks.
///
/// # Safety
/// reader: a handle from walrec_reader_open; not NULL.
/// out: out->struct_size writable bytes; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_reader_telemetry(
    reader: *const walrec_reader_t,
    out: *mut walrec_reader_telemetry_t,
) -> walrec_status_t {
    const NAME: &str = "walrec_reader_telemetry";
    if out.is_null() {
        return null(NAME, "out").record();
    }
    // SAFETY: out is not NULL, and struct_size bytes are writable there; reader is NULL or a live handle that nobody changes now;
    // both by contract.
    unsafe {
        look_at_reader(NAME, reader, |reader| {
            give_struct(NAME, out, |struct_size| with::filled(NAME, reader, struct_size)).map(|()| WALREC_OK)
        })
    }
}

/// The same as text: format 0 (WALREC_TEXT_HUMAN) is a table for a person, whose layout may change; format 1
/// (WALREC_TEXT_PROMETHEUS) is for a scrape: names begin with walrec_reader_, times are histograms in seconds. Several readers of a
/// process are told apart by labels that the scrape adds. ASCII, terminated when n is not 0. A text longer than n - 1 bytes is cut
/// there, and the status is still OK: compare needed with n.
///
/// INVALID (NULL; an unknown format; a library that was built without telemetry), PANIC; FAILED after a panic in this reader: buf
/// is not written, and *needed is 0.
///
/// One thread at a time, as all functions of a reader; allocates; never blocks.
///
/// # Safety
/// reader: a handle from walrec_reader_open; not NULL.
/// buf: n writable bytes; may be NULL if n is 0.
/// needed: receives the bytes of the whole text with its terminator; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_reader_telemetry_text(
    reader: *const walrec_reader_t,
    format: i32,
    buf: *mut c_char,
    n: usize,
    needed: *mut usize,
) -> walrec_status_t {
    const NAME: &str = "walrec_reader_telemetry_text";
    // SAFETY: n bytes are writable at buf if it is not NULL, and one number at needed if it is not NULL, by contract.
    let text = match unsafe { TextPlace::begin(NAME, buf, n, needed) } {
        Ok(place) => place,
        Err(refusal) => return refusal.record(),
    };
    // SAFETY: by contract reader is NULL or a live handle that nobody changes now.
    unsafe { look_at_reader(NAME, reader, |reader| text.give(format, |format| with::text(NAME, reader, format))) }
}

#[cfg(feature = "telemetry")]
mod with {
    //! The feature is on.

    use super::walrec_reader_telemetry_t;
    use crate::ffi::last_error::Refusal;
    use crate::ffi::reader::Reader;
    use crate::ffi::telemetry::with::{failures, fill_counts, fill_times, in_format};
    use crate::telemetry::{ReaderCount, ReaderTiming, each_reader_count, each_reader_timing};

    #[allow(clippy::unnecessary_wraps, reason = "it fails without the feature")]
    pub(super) fn filled(_: &str, reader: &Reader, struct_size: u32) -> Result<walrec_reader_telemetry_t, Refusal> {
        let from = reader.telemetry();
        // SAFETY: the structure is integers alone; all of them are valid as 0.
        let zeros: walrec_reader_telemetry_t = unsafe { core::mem::zeroed() };
        let mut to = walrec_reader_telemetry_t { struct_size, checksum_failures: failures(&from), ..zeros };
        each_reader_count!(fill_counts to from ReaderCount);
        each_reader_timing!(fill_times to from ReaderTiming);
        Ok(to)
    }

    #[allow(clippy::unnecessary_wraps, reason = "it fails without the feature")]
    pub(super) fn text(_: &str, reader: &Reader, format: i32) -> Result<String, Refusal> {
        Ok(in_format(&reader.telemetry(), format))
    }
}

#[cfg(not(feature = "telemetry"))]
mod with {
    //! The feature is off.

    use super::walrec_reader_telemetry_t;
    use crate::ffi::last_error::Refusal;
    use crate::ffi::reader::Reader;
    use crate::ffi::telemetry::with::absent;

    pub(super) fn filled(name: &str, _: &Reader, _: u32) -> Result<walrec_reader_telemetry_t, Refusal> {
        Err(absent(name))
    }

    pub(super) fn text(name: &str, _: &Reader, _: i32) -> Result<String, Refusal> {
        Err(absent(name))
    }
}
