//! `walrec_verify` and its report.

use core::ffi::c_char;

use super::config::read_path;
use super::fence::{fence, install_hook};
use super::last_error::Refusal;
use super::recorder::null;
use super::sized::give_struct;
use super::status::{WALREC_E_CORRUPT, WALREC_OK, refusal_of, walrec_status_t};
use crate::recovery::{self, VerifyReport};

/// walrec_verify_report_t.fault_block: the fault lies in no block.
pub const WALREC_NO_BLOCK: u32 = u32::MAX;

/// What walrec_verify found. Set struct_size before the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct walrec_verify_report_t {
    /// sizeof(walrec_verify_report_t) of the caller, in bytes. Not changed.
    pub struct_size: u32,
    /// Of the first fault: a number for walrec_reason_str; 0 = there is no fault.
    pub fault_reason: u32,
    /// Segments of the log, compressed ones included.
    pub segments: u64,
    /// Compressed segments of the log.
    pub segments_compressed: u64,
    /// Segments that are missing.
    pub segments_missing: u64,
    /// Segments that an earlier salvage recorded as lost. They are no fault.
    pub segments_lost: u64,
    /// Blocks that hold; one that is still being filled counts.
    pub blocks: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of the segments' files, as they lie on the disk.
    pub bytes: u64,
    /// First event that holds; 0 = none.
    pub first_event_id: u64,
    /// Last event that holds; 0 = none.
    pub last_event_id: u64,
    /// Of the first fault: index of its segment; with a missing segment, of that one.
    pub fault_segment: u32,
    /// Of the first fault: its block, or WALREC_NO_BLOCK.
    pub fault_block: u32,
    /// Of the first fault: offset of the header or block that does not hold, in bytes of the uncompressed segment.
    pub fault_offset: u64,
    /// Of the first fault: the number that must be there (a stored checksum, a count, an id), for reasons that
    /// compare two; else 0.
    pub fault_expected: u64,
    /// Of the first fault: the number that is there (a computed checksum, a count, an id); else 0.
    pub fault_actual: u64,
    /// Of the first fault: name of the file in the log directory, terminated; empty = there is no fault.
    pub fault_file: [c_char; 64],
    /// 0.
    pub reserved: [u64; 8],
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<walrec_verify_report_t>() == 240);
    assert!(offset_of!(walrec_verify_report_t, fault_segment) == 80);
    assert!(offset_of!(walrec_verify_report_t, fault_file) == 112);
};

/// Reads the whole log in dir, compressed segments included, checks every block, and fills the report: counts of what
/// holds, and the first fault. Goes on after a fault. Changes nothing and takes no lock; beside a live recorder it
/// goes to what is durable. Writes report->struct_size bytes and no more; the caller sets it before. Fields that this
/// library does not know become 0.
///
/// OK: no fault. CORRUPT: the report has the first fault, and the message tells it. NOT_FOUND (no log there), INVALID
/// (NULL; struct_size below 8 or no multiple of 8), ABI (struct_size above 4096; a newer format), IO, NOMEM, PANIC:
/// the report is not written.
///
/// Any thread; blocks on the disk, for as long as reading the log takes.
///
/// # Safety
/// dir: a path, bytes, terminated; not NULL, not kept.
/// report: report->struct_size writable bytes; not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_verify(dir: *const c_char, report: *mut walrec_verify_report_t) -> walrec_status_t {
    const NAME: &str = "walrec_verify";
    if report.is_null() {
        return null(NAME, "report").record();
    }
    install_hook();
    fence(
        |_| (),
        || {
            // SAFETY: by contract dir is NULL or a terminated string.
            let dir = unsafe { read_path("walrec_verify: dir", dir) }?.ok_or_else(|| null(NAME, "dir"))?;
            let mut fault = None;
            let verify = |struct_size| {
                let found = recovery::verify(&dir).map_err(|error| refusal_of(NAME, &error))?;
                let filled = fill(&found, struct_size);
                fault = found.fault;
                Ok(filled)
            };
            // SAFETY: not NULL, and struct_size bytes are writable by contract.
            unsafe { give_struct(NAME, report, verify) }?;
            match fault {
                None => Ok(WALREC_OK),
                Some(fault) => Err(Refusal::new(WALREC_E_CORRUPT, format!("{NAME}: {}", fault.corruption))),
            }
        },
    )
}

fn fill(found: &VerifyReport, struct_size: u32) -> walrec_verify_report_t {
    let mut filled = walrec_verify_report_t {
        struct_size,
        fault_reason: 0,
        segments: found.segments,
        segments_compressed: found.segments_compressed,
        segments_missing: found.segments_missing,
        segments_lost: found.segments_lost,
        blocks: found.blocks,
        events: found.events,
        bytes: found.bytes,
        first_event_id: found.first_event_id,
        last_event_id: found.last_event_id,
        fault_segment: 0,
        fault_block: 0,
        fault_offset: 0,
        fault_expected: 0,
        fault_actual: 0,
        fault_file: [0; 64],
        reserved: [0; 8],
    };
    if let Some(fault) = &found.fault {
        let corruption = &fault.corruption;
        filled.fault_reason = corruption.reason.as_u32();
        filled.fault_segment = corruption.segment_index;
        filled.fault_block = corruption.block.unwrap_or(WALREC_NO_BLOCK);
        filled.fault_offset = corruption.offset;
        filled.fault_expected = fault.expected;
        filled.fault_actual = fault.actual;
        let name = corruption.path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let room = filled.fault_file.len() - 1; // the last one stays 0
        for (to, byte) in filled.fault_file[..room].iter_mut().zip(name.bytes()) {
            *to = byte.cast_signed();
        }
    }
    filled
}
