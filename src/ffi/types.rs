//! The C structs and the numbers that go into them.
//!
//! Comments here are copied into `include/walrec.h`, so they speak to a reader of C. The layouts are
//! fixed: the assertions at the end of the file stop the build when one moves.

use core::ffi::{c_char, c_void};

/// No limit, for max_segments and max_compressed_segments.
pub const WALREC_KEEP_ALL: u32 = u32::MAX;

/// walrec_config_t.flags: the stage must lie in memory. Fail instead of keeping it in the log directory when the
/// default place in shared memory has no room, and refuse a stage_dir that is on a disk (INVALID).
pub const WALREC_FLAG_REQUIRE_SHM: u32 = 1;
/// walrec_config_t.flags: never compress. Segments beyond the sum of max_segments and max_compressed_segments are
/// deleted as they are.
pub const WALREC_FLAG_NO_COMPRESS: u32 = 2;
/// walrec_config_t.flags: open a log that has lost durable events. What cannot be read goes to quarantine/,
/// later opens pass over the gap, each reporting it. Flags of walrec_reader_open: pass over damage.
pub const WALREC_FLAG_SALVAGE: u32 = 4;

/// walrec_config_t.full_policy: with no prepared segment left, an append spins until there is one, for
/// wait_limit_us at the most.
pub const WALREC_FULL_WAIT: u32 = 0;
/// walrec_config_t.full_policy: with no prepared segment left, an append gives WALREC_E_BACKPRESSURE at once.
pub const WALREC_FULL_FAIL: u32 = 1;

/// log_cb level: something failed.
pub const WALREC_LOG_ERROR: i32 = 0;
/// log_cb level: it goes on, but a promise is weaker than configured, or somebody should look.
pub const WALREC_LOG_WARNING: i32 = 1;
/// log_cb level: worth knowing.
pub const WALREC_LOG_INFO: i32 = 2;

/// walrec_open_report_t.flags: walrec.stage says that a recorder of this boot was open, but its stage is gone.
/// Events that were appended and not yet durable are lost.
pub const WALREC_OPEN_STAGE_MISSING: u32 = 1;
/// walrec_open_report_t.flags: the stage lies in the log directory and not in shared memory. "No page faults"
/// and "no SIGBUS" do not hold there.
pub const WALREC_OPEN_STAGE_ON_DISK: u32 = 2;
/// walrec_open_report_t.flags: a stage was found that does not continue the files. It was set aside whole.
pub const WALREC_OPEN_STAGE_SET_ASIDE: u32 = 4;
/// walrec_open_report_t.flags: a torn tail was cut, see bytes_cut, cut_segment, cut_offset, cut_reason.
pub const WALREC_OPEN_CUT: u32 = 8;
/// walrec_open_report_t.flags: the log has a gap that was salvaged, now or at an earlier open.
pub const WALREC_OPEN_SALVAGED: u32 = 16;
/// walrec_open_report_t.flags: the stage could not be locked in memory (RLIMIT_MEMLOCK): an append may fault.
pub const WALREC_OPEN_NOT_LOCKED_IN_MEMORY: u32 = 32;

/// One event: 64 bytes, the record of the file format. Its address must be a multiple of 8.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct walrec_event_t {
    /// Identity: strictly increasing through the whole log, never 0.
    pub event_id: u64,
    /// The engine's own time in nanoseconds. Kept as given.
    pub timestamp_ns: u64,
    /// Signed, scaled by the engine. Kept as given.
    pub price: i64,
    /// Signed, scaled by the engine. Kept as given.
    pub quantity: i64,
    /// Kept as given.
    pub user_id: u32,
    /// Kept as given.
    pub order_id: u32,
    /// 0 new, 1 modify price, 2 modify quantity, 3 cancel. Kept, not validated.
    pub r#type: u8,
    /// 0 limit, 1 market. Kept, not validated.
    pub order_type: u8,
    /// 0 bid, 1 ask. Kept, not validated.
    pub side: u8,
    /// Free for the engine. Kept as given.
    pub user_bytes: [u8; 17],
    /// The library's: ignored on append; when read, a checksum of the event in its place, or 0.
    pub guard: u32,
}

/// Configuration of a recorder. Prepare it with walrec_config_init. A field of 0 means its default; reserved
/// fields must be 0. A struct_size below this library's is an older caller, whose missing fields take their
/// defaults; one above is a newer caller, and is refused with WALREC_E_ABI when it sets anything that this
/// library does not know.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct walrec_config_t {
    /// sizeof(walrec_config_t) of the caller, in bytes.
    pub struct_size: u32,
    /// WALREC_FLAG_*, or 0.
    pub flags: u32,
    /// Blocks of 256 events in a segment: 16 to 131072, default 512 (131072 events, 8421440 bytes).
    pub num_blocks: u32,
    /// Segments kept as they are, the one being written included: 2 and up, default 32, or WALREC_KEEP_ALL. Beyond
    /// it the oldest is compressed. Up to stage_slots more may stand for a while; then appends wait, see
    /// full_policy.
    pub max_segments: u32,
    /// Segments kept compressed: 1 and up, default 128, or WALREC_KEEP_ALL. Beyond it the oldest is deleted. With
    /// both defaults the log keeps 160 segments: 21 seconds at a million events a second. Nothing is compressed or
    /// deleted before the first append after walrec_open.
    pub max_compressed_segments: u32,
    /// Segments that fit the stage in shared memory: 3 to 1024, default 6. Each takes two file descriptors:
    /// walrec_open gives WALREC_E_INVALID when RLIMIT_NOFILE is below 2 * stage_slots + 32.
    pub stage_slots: u32,
    /// Microseconds from an append to the begin of the write that makes it durable, at the most: 1 to 1000000,
    /// default 200. After a pause in the appends it may be 1 ms more: the thread walrec-flush looks once in 1 ms then,
    /// as it does for 256 KiB that wait, which are written at once whatever the interval says.
    pub flush_interval_us: u32,
    /// WALREC_FULL_WAIT (0) or WALREC_FULL_FAIL (1).
    pub full_policy: u32,
    /// With WALREC_FULL_WAIT: microseconds an append spins before it gives WALREC_E_BACKPRESSURE, default
    /// 1000000.
    pub wait_limit_us: u32,
    /// One append in this many is timed: default 1024, UINT32_MAX = none. See
    /// walrec_telemetry.
    pub append_sample: u32,
    /// CPU number + 1 for the thread walrec-prepare; 0 = not pinned: it may run where the thread that calls walrec_open
    /// may then. When that is kept to one CPU of several, this is logged as a warning.
    pub cpu_prepare: i32,
    /// CPU number + 1 for the thread walrec-flush; 0 = not pinned.
    pub cpu_flush: i32,
    /// CPU number + 1 for the thread walrec-maint; 0 = not pinned.
    pub cpu_maintain: i32,
    /// CPU number + 1 for the thread walrec-meta; 0 = not pinned.
    pub cpu_meta: i32,
    /// Directory for the stage: bytes, not kept after walrec_open. NULL = automatic, under /dev/shm. A given
    /// one is never replaced by another: what fails there fails walrec_open.
    pub stage_dir: *const c_char,
    /// Receives messages, or NULL. Called on the library's threads and on the thread inside walrec_open,
    /// walrec_shutdown or walrec_close, possibly at once on several. message is valid during the call. It must
    /// not throw and must not call walrec.
    pub log_cb: Option<unsafe extern "C" fn(user: *mut c_void, level: i32, message: *const c_char)>,
    /// Given to log_cb. Must stay valid until walrec_close returned.
    pub log_user: *mut c_void,
    /// Nothing that holds this event or a later one is deleted; 0 = no floor; the first deletion
    /// is then logged as a warning. walrec_set_retention_floor changes it.
    pub retention_floor: u64,
    /// Must be 0.
    pub reserved: [u64; 7],
}

/// The appended position, never torn.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct walrec_meta_state_t {
    /// Index of the segment being appended to.
    pub last_segment_index: u32,
    /// Offset in its file, in bytes, of the byte after the last event.
    pub last_offset: u32,
    /// The last appended event; 0 = the log is empty.
    pub last_event_id: u64,
}

/// Where a log stands, to be looked at without a call; each word on cache lines of its own. Load each whole and with acquire, as by
/// __atomic_load_n(&w->durable_event_id, __ATOMIC_ACQUIRE).
#[repr(C)]
#[derive(Debug)]
pub struct walrec_watermarks_t {
    /// The last appended event; 0 = the log is empty. The append thread stores it: a poll takes the line from it for a moment.
    pub appended_event_id: u64,
    /// 0.
    pub reserved_appended: [u64; 15],
    /// The last durable event; 0 = none. The append thread never touches it.
    pub durable_event_id: u64,
    /// 0.
    pub reserved_durable: [u64; 7],
}

/// What walrec_open found and did. Set struct_size before the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct walrec_open_report_t {
    /// sizeof(walrec_open_report_t) of the caller, in bytes. Not changed.
    pub struct_size: u32,
    /// WALREC_OPEN_*, or 0.
    pub flags: u32,
    /// First event of the whole log after the open; 0 = the log is empty.
    pub first_event_id: u64,
    /// Last event of the whole log after the open; 0 = the log is empty.
    pub last_event_id: u64,
    /// Events that only the stage still had.
    pub events_from_stage: u64,
    /// Bytes of torn tail; 0 = none.
    pub bytes_cut: u64,
    /// Offset of the torn tail in its segment, in bytes.
    pub cut_offset: u64,
    /// Index of the segment with the torn tail.
    pub cut_segment: u32,
    /// Why it was cut: a number for walrec_reason_str.
    pub cut_reason: u32,
    /// Segments of the log, compressed ones included.
    pub segments: u32,
    /// Compressed segments of the log.
    pub segments_compressed: u32,
    /// Files in quarantine/.
    pub quarantined: u32,
    /// Files in the log directory that are not the library's. They are left alone.
    pub foreign_files: u32,
    /// Nanoseconds that walrec_open spent on recovery.
    pub recovery_ns: u64,
    /// 0.
    pub reserved: [u64; 6],
}

/// A range that a reader with WALREC_FLAG_SALVAGE passed. Set struct_size before the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct walrec_gap_t {
    /// sizeof(walrec_gap_t) of the caller, in bytes. Not changed.
    pub struct_size: u32,
    /// Index of the segment; where segments are missing, of the first of them.
    pub segment: u32,
    /// Why the bytes were not accepted: a number for walrec_reason_str.
    pub reason: u32,
    /// 0.
    pub reserved: u32,
    /// Offset of the range in the uncompressed segment, in bytes.
    pub offset: u64,
    /// Bytes of the range; where segments are missing, how many.
    pub length: u64,
    /// Last event before the range; 0 = none was read.
    pub id_before: u64,
    /// First event behind the range; 0 = none.
    pub id_after: u64,
}

const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<walrec_event_t>() == 64 && align_of::<walrec_event_t>() == 8);
    assert!(offset_of!(walrec_event_t, r#type) == 40);
    assert!(offset_of!(walrec_event_t, user_bytes) == 43);
    assert!(offset_of!(walrec_event_t, guard) == 60);
    assert!(size_of::<walrec_config_t>() == 144);
    assert!(offset_of!(walrec_config_t, stage_dir) == 56);
    assert!(offset_of!(walrec_config_t, reserved) == 88);
    assert!(size_of::<walrec_gap_t>() == 48 && offset_of!(walrec_gap_t, offset) == 16);
    assert!(size_of::<walrec_meta_state_t>() == 16);
    assert!(size_of::<walrec_watermarks_t>() == 192 && offset_of!(walrec_watermarks_t, durable_event_id) == 128);
    assert!(size_of::<walrec_open_report_t>() == 128);
    assert!(offset_of!(walrec_open_report_t, recovery_ns) == 72);
};
