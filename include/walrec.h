/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * walrec.h: a write-ahead-log recorder for matching engines.
 *
 * The engine calls walrec_append once per incoming request and has the event recorded within nanoseconds.
 * Threads of the library make the log durable, bounded and recoverable behind it.
 *
 * Generated from src/ffi by `make header`. Do not edit: a test compares it byte for byte.
 *
 * CAVEATS
 *   - 64-bit little-endian Linux only. C99 or C++11 at least.
 *   - One recorder per log directory: a second opener gets WALREC_E_LOCKED. Readers need no lock.
 *   - One thread appends. The table below says which thread may call what.
 *   - Open after daemonizing. In a forked child every call on the parent's handle gives WALREC_E_FORKED, and
 *     walrec_close only frees memory.
 *   - "Appended" is not "durable". An appended event survives the death of the process at any later instant. Only
 *     a durable one survives the death of the machine. See DURABILITY below.
 *   - The library cannot be unloaded (it is linked with -z nodelete). It installs no atexit handler, no signal
 *     handler and no constructor, it prints nothing, and no panic or exception leaves it.
 *
 * VERSION
 *   WALREC_VERSION_* describe this header, walrec_version_number() and walrec_version_string() the library that was
 *   loaded. A program built with this header may use a library whose walrec_abi_version() equals
 *   WALREC_ABI_VERSION (the number in the SONAME) and, while the major version is 0, whose
 *   walrec_version_number() / 100 equals WALREC_VERSION_NUMBER / 100. Structs that may grow begin with struct_size.
 *
 * SIMPLE USE
 *     walrec_t *log;
 *     if (walrec_open("/var/lib/engine/wal", NULL, &log) != WALREC_OK) {
 *         char text[512];
 *         walrec_last_error(text, sizeof text);
 *         ...
 *     }
 *     walrec_event_t event = {0};
 *     event.event_id = walrec_last_event_id(log) + 1;
 *     ...
 *     walrec_append(log, &event);                    // appended: survives kill -9
 *     walrec_sync(log, event.event_id, 1000000000);  // durable: survives power loss
 *     walrec_close(log);
 *
 *   Reading it back:
 *     walrec_reader_t *reader;
 *     walrec_status_t s = walrec_reader_open("/var/lib/engine/wal", 0, 0, &reader);
 *     while (s == WALREC_OK && (s = walrec_reader_next(reader, &event)) == WALREC_OK) { ... }
 *     walrec_reader_close(reader);                   // s is WALREC_END when all went well
 *
 * STATUS
 *   Functions return walrec_status_t: 0 is success, above 0 is not an error, below 0 is an error. The numbers never
 *   change. The text of the calling thread's last failed call is at walrec_last_error. Every pointer that must not
 *   be NULL is checked: WALREC_E_INVALID, and the message names the argument. A panic inside the library is
 *   caught, poisons the recorder and gives WALREC_E_PANIC. Comments leave out WALREC_E_.
 *
 * THREADS
 *   append thread      walrec_append, walrec_append_batch, walrec_reserve, walrec_commit, walrec_abort,
 *                      walrec_rotate. The first of these calls after walrec_open makes its caller the append thread.
 *                      walrec_append, walrec_append_batch, walrec_reserve and walrec_commit look at it now and then,
 *                      at the latest at each new block; the others at each call.
 *   new append thread  walrec_attach_thread, once the old append thread has stopped calling.
 *   any thread         walrec_sync, walrec_shutdown (once appends stopped), walrec_last_event_id,
 *                      walrec_durable_event_id, walrec_watermarks, walrec_notify_durable, walrec_meta_state,
 *                      walrec_open_report, walrec_set_retention_floor, walrec_telemetry, walrec_telemetry_text,
 *                      walrec_cursor.
 *   walrec_close       any thread, but no other call on the handle may run beside it or follow it.
 *   walrec_reader_*    one thread at a time for each reader; different readers are independent.
 *   the rest           takes no handle: any thread.
 *   The library's own  walrec-prepare, walrec-flush, walrec-maint and walrec-meta leave a real-time policy that they have
 *                      from the thread that calls walrec_open; cpu_* in walrec_config_t says where they run.
 *
 *   Never blocking     walrec_append, walrec_append_batch, walrec_reserve, walrec_commit, walrec_abort: no system
 *                      call, no allocation, no lock (but the message of a first FAILED is allocated). With
 *                      WALREC_FULL_WAIT they spin, for wait_limit_us at the most, when no prepared segment is left.
 *   Blocking on disk   walrec_open, walrec_sync, walrec_shutdown, walrec_close, walrec_reader_*, walrec_verify.
 *
 * DURABILITY
 *   appended   accepted by walrec_append or walrec_commit. It lies in shared memory (the stage) and survives the
 *              process: the next walrec_open finds it there. It does not survive the machine, nor a container
 *              whose /dev/shm is thrown away with it (set stage_dir to a host tmpfs there).
 *   durable    written and synced; walrec_durable_event_id and walrec_sync speak of it. Normally an event is durable
 *              within a millisecond.
 *   poisoned   a write or sync failed, or a worker did. The durable position stays where it is for good, and appends
 *              give WALREC_E_FAILED. Close the recorder; a later walrec_open recovers what is there.
 */


#ifndef WALREC_H
#define WALREC_H

#include <stddef.h>
#include <stdint.h>

#define WALREC_VERSION_MAJOR 0
#define WALREC_VERSION_MINOR 1
#define WALREC_VERSION_PATCH 0
#define WALREC_VERSION_NUMBER (WALREC_VERSION_MAJOR * 10000 + WALREC_VERSION_MINOR * 100 + WALREC_VERSION_PATCH)
#define WALREC_VERSION_STRING "0.1.0"
#ifdef __cplusplus
#define WALREC_NOEXCEPT noexcept
#else
#define WALREC_NOEXCEPT
#endif


/** Number of the binary interface, also in the SONAME. It changes when a program has to be compiled again. */
#define WALREC_ABI_VERSION 0

/** Done. */
#define WALREC_OK 0

/** Reader: no more events now. While a recorder runs, OK may follow. */
#define WALREC_END 1

/** Reader with WALREC_FLAG_SALVAGE: a damaged range was passed, see walrec_reader_gap. */
#define WALREC_GAP 2

/** NULL, event_id 0, a bad configuration or a bad size. Nothing happened. */
#define WALREC_E_INVALID -1

/** event_id is not above the last one. Nothing was recorded. */
#define WALREC_E_ORDER -2

/** No prepared segment: the disk is slower than the engine. Nothing was recorded; try again later. */
#define WALREC_E_BACKPRESSURE -3

/** walrec_shutdown was called. */
#define WALREC_E_CLOSED -4

/** Poisoned: an earlier write, sync or worker failed. Nothing more is recorded; close and open again. */
#define WALREC_E_FAILED -5

/** The operating system gave an error; walrec_last_error names it and the file. */
#define WALREC_E_IO -6

/**
 * No space left, no descriptor left to open a file with, or the segment numbers are used up. Appends go on when
 * there is space, or a descriptor, again.
 */
#define WALREC_E_NOSPACE -7

/** Another recorder has the log directory or the stage open. */
#define WALREC_E_LOCKED -8

/** No such log, or the event is older than the oldest one retained. */
#define WALREC_E_NOT_FOUND -9

/** Bytes that were durable do not verify. Nothing was changed. */
#define WALREC_E_CORRUPT -10

/** A struct_size, file version or stage layout that this library does not know. Nothing was changed. */
#define WALREC_E_ABI -11

/** The handle belongs to the parent process. */
#define WALREC_E_FORKED -12

/** A panic inside the library was caught. The handle is good for walrec_close or walrec_reader_close only. */
#define WALREC_E_PANIC -13

/** No memory. */
#define WALREC_E_NOMEM -14

/** The time is over; it may still happen. */
#define WALREC_E_TIMEOUT -15

/** Called by a thread that is not the append thread. Nothing happened. */
#define WALREC_E_THREAD -16

/** No limit, for max_segments and max_compressed_segments. */
#define WALREC_KEEP_ALL UINT32_MAX

/**
 * walrec_config_t.flags: the stage must lie in memory. Fail instead of keeping it in the log directory when the
 * default place in shared memory has no room, and refuse a stage_dir that is on a disk (INVALID).
 */
#define WALREC_FLAG_REQUIRE_SHM 1

/**
 * walrec_config_t.flags: never compress. Segments beyond the sum of max_segments and max_compressed_segments are
 * deleted as they are.
 */
#define WALREC_FLAG_NO_COMPRESS 2

/**
 * walrec_config_t.flags: open a log that has lost durable events. What cannot be read goes to quarantine/,
 * later opens pass over the gap, each reporting it. Flags of walrec_reader_open: pass over damage.
 */
#define WALREC_FLAG_SALVAGE 4

/**
 * walrec_config_t.full_policy: with no prepared segment left, an append spins until there is one, for
 * wait_limit_us at the most.
 */
#define WALREC_FULL_WAIT 0

/** walrec_config_t.full_policy: with no prepared segment left, an append gives WALREC_E_BACKPRESSURE at once. */
#define WALREC_FULL_FAIL 1

/** log_cb level: something failed. */
#define WALREC_LOG_ERROR 0

/** log_cb level: it goes on, but a promise is weaker than configured, or somebody should look. */
#define WALREC_LOG_WARNING 1

/** log_cb level: worth knowing. */
#define WALREC_LOG_INFO 2

/**
 * walrec_open_report_t.flags: walrec.stage says that a recorder of this boot was open, but its stage is gone.
 * Events that were appended and not yet durable are lost.
 */
#define WALREC_OPEN_STAGE_MISSING 1

/**
 * walrec_open_report_t.flags: the stage lies in the log directory and not in shared memory. "No page faults"
 * and "no SIGBUS" do not hold there.
 */
#define WALREC_OPEN_STAGE_ON_DISK 2

/** walrec_open_report_t.flags: a stage was found that does not continue the files. It was set aside whole. */
#define WALREC_OPEN_STAGE_SET_ASIDE 4

/** walrec_open_report_t.flags: a torn tail was cut, see bytes_cut, cut_segment, cut_offset, cut_reason. */
#define WALREC_OPEN_CUT 8

/** walrec_open_report_t.flags: the log has a gap that was salvaged, now or at an earlier open. */
#define WALREC_OPEN_SALVAGED 16

/** walrec_open_report_t.flags: the stage could not be locked in memory (RLIMIT_MEMLOCK): an append may fault. */
#define WALREC_OPEN_NOT_LOCKED_IN_MEMORY 32

/** walrec_telemetry_text: a table for a person. */
#define WALREC_TEXT_HUMAN 0

/** walrec_telemetry_text: Prometheus' text exposition format 0.0.4. */
#define WALREC_TEXT_PROMETHEUS 1

/** walrec_verify_report_t.fault_block: the fault lies in no block. */
#define WALREC_NO_BLOCK UINT32_MAX

/** Where the append thread stands: what the functions of walrec_inline.h work on. */
typedef struct walrec_cursor_t walrec_cursor_t;

/** A reader. One thread at a time. */
typedef struct walrec_reader_t walrec_reader_t;

/** A recorder. One append thread; the functions that take it as const may run on any thread at any time. */
typedef struct walrec_t walrec_t;

/**
 * What a function returns: 0 is success, above 0 is not an error, below 0 is an error. The numbers never
 * change.
 */
typedef int32_t walrec_status_t;

/**
 * Configuration of a recorder. Prepare it with walrec_config_init. A field of 0 means its default; reserved
 * fields must be 0. A struct_size below this library's is an older caller, whose missing fields take their
 * defaults; one above is a newer caller, and is refused with WALREC_E_ABI when it sets anything that this
 * library does not know.
 */
typedef struct walrec_config_t {
    /** sizeof(walrec_config_t) of the caller, in bytes. */
    uint32_t struct_size;
    /** WALREC_FLAG_*, or 0. */
    uint32_t flags;
    /** Blocks of 256 events in a segment: 16 to 131072, default 512 (131072 events, 8421440 bytes). */
    uint32_t num_blocks;
    /**
     * Segments kept as they are, the one being written included: 2 and up, default 32, or WALREC_KEEP_ALL. Beyond
     * it the oldest is compressed. Up to stage_slots more may stand for a while; then appends wait, see
     * full_policy.
     */
    uint32_t max_segments;
    /**
     * Segments kept compressed: 1 and up, default 128, or WALREC_KEEP_ALL. Beyond it the oldest is deleted. With
     * both defaults the log keeps 160 segments: 21 seconds at a million events a second. Nothing is compressed or
     * deleted before the first append after walrec_open.
     */
    uint32_t max_compressed_segments;
    /**
     * Segments that fit the stage in shared memory: 3 to 1024, default 6. Each takes two file descriptors:
     * walrec_open gives WALREC_E_INVALID when RLIMIT_NOFILE is below 2 * stage_slots + 32.
     */
    uint32_t stage_slots;
    /**
     * Microseconds from an append to the begin of the write that makes it durable, at the most: 1 to 1000000,
     * default 200. After a pause in the appends it may be 1 ms more: the thread walrec-flush looks once in 1 ms then,
     * as it does for 256 KiB that wait, which are written at once whatever the interval says.
     */
    uint32_t flush_interval_us;
    /** WALREC_FULL_WAIT (0) or WALREC_FULL_FAIL (1). */
    uint32_t full_policy;
    /**
     * With WALREC_FULL_WAIT: microseconds an append spins before it gives WALREC_E_BACKPRESSURE, default
     * 1000000.
     */
    uint32_t wait_limit_us;
    /**
     * One append in this many is timed: default 1024, UINT32_MAX = none. See
     * walrec_telemetry.
     */
    uint32_t append_sample;
    /**
     * CPU number + 1 for the thread walrec-prepare; 0 = not pinned: it may run where the thread that calls walrec_open
     * may then. When that is kept to one CPU of several, this is logged as a warning.
     */
    int32_t cpu_prepare;
    /** CPU number + 1 for the thread walrec-flush; 0 = not pinned. */
    int32_t cpu_flush;
    /** CPU number + 1 for the thread walrec-maint; 0 = not pinned. */
    int32_t cpu_maintain;
    /** CPU number + 1 for the thread walrec-meta; 0 = not pinned. */
    int32_t cpu_meta;
    /**
     * Directory for the stage: bytes, not kept after walrec_open. NULL = automatic, under /dev/shm. A given
     * one is never replaced by another: what fails there fails walrec_open.
     */
    const char *stage_dir;
    /**
     * Receives messages, or NULL. Called on the library's threads and on the thread inside walrec_open,
     * walrec_shutdown or walrec_close, possibly at once on several. message is valid during the call. It must
     * not throw and must not call walrec.
     */
    void (*log_cb)(void *user, int32_t level, const char *message);
    /** Given to log_cb. Must stay valid until walrec_close returned. */
    void *log_user;
    /**
     * Nothing that holds this event or a later one is deleted; 0 = no floor; the first deletion
     * is then logged as a warning. walrec_set_retention_floor changes it.
     */
    uint64_t retention_floor;
    /** Must be 0. */
    uint64_t reserved[7];
} walrec_config_t;

/** What walrec_open found and did. Set struct_size before the call. */
typedef struct walrec_open_report_t {
    /** sizeof(walrec_open_report_t) of the caller, in bytes. Not changed. */
    uint32_t struct_size;
    /** WALREC_OPEN_*, or 0. */
    uint32_t flags;
    /** First event of the whole log after the open; 0 = the log is empty. */
    uint64_t first_event_id;
    /** Last event of the whole log after the open; 0 = the log is empty. */
    uint64_t last_event_id;
    /** Events that only the stage still had. */
    uint64_t events_from_stage;
    /** Bytes of torn tail; 0 = none. */
    uint64_t bytes_cut;
    /** Offset of the torn tail in its segment, in bytes. */
    uint64_t cut_offset;
    /** Index of the segment with the torn tail. */
    uint32_t cut_segment;
    /** Why it was cut: a number for walrec_reason_str. */
    uint32_t cut_reason;
    /** Segments of the log, compressed ones included. */
    uint32_t segments;
    /** Compressed segments of the log. */
    uint32_t segments_compressed;
    /** Files in quarantine/. */
    uint32_t quarantined;
    /** Files in the log directory that are not the library's. They are left alone. */
    uint32_t foreign_files;
    /** Nanoseconds that walrec_open spent on recovery. */
    uint64_t recovery_ns;
    /** 0. */
    uint64_t reserved[6];
} walrec_open_report_t;

/** One event: 64 bytes, the record of the file format. Its address must be a multiple of 8. */
typedef struct walrec_event_t {
    /** Identity: strictly increasing through the whole log, never 0. */
    uint64_t event_id;
    /** The engine's own time in nanoseconds. Kept as given. */
    uint64_t timestamp_ns;
    /** Signed, scaled by the engine. Kept as given. */
    int64_t price;
    /** Signed, scaled by the engine. Kept as given. */
    int64_t quantity;
    /** Kept as given. */
    uint32_t user_id;
    /** Kept as given. */
    uint32_t order_id;
    /** 0 new, 1 modify price, 2 modify quantity, 3 cancel. Kept, not validated. */
    uint8_t type;
    /** 0 limit, 1 market. Kept, not validated. */
    uint8_t order_type;
    /** 0 bid, 1 ask. Kept, not validated. */
    uint8_t side;
    /** Free for the engine. Kept as given. */
    uint8_t user_bytes[17];
    /** The library's: ignored on append; when read, a checksum of the event in its place, or 0. */
    uint32_t guard;
} walrec_event_t;

/**
 * Where a log stands, to be looked at without a call; each word on cache lines of its own. Load each whole and with acquire, as by
 * __atomic_load_n(&w->durable_event_id, __ATOMIC_ACQUIRE).
 */
typedef struct walrec_watermarks_t {
    /** The last appended event; 0 = the log is empty. The append thread stores it: a poll takes the line from it for a moment. */
    uint64_t appended_event_id;
    /** 0. */
    uint64_t reserved_appended[15];
    /** The last durable event; 0 = none. The append thread never touches it. */
    uint64_t durable_event_id;
    /** 0. */
    uint64_t reserved_durable[7];
} walrec_watermarks_t;

/** The appended position, never torn. */
typedef struct walrec_meta_state_t {
    /** Index of the segment being appended to. */
    uint32_t last_segment_index;
    /** Offset in its file, in bytes, of the byte after the last event. */
    uint32_t last_offset;
    /** The last appended event; 0 = the log is empty. */
    uint64_t last_event_id;
} walrec_meta_state_t;

/** Times of one kind since the open, in nanoseconds. A quantile pNN is off by at most 1/32; all are 0 while count is 0. */
typedef struct walrec_times_t {
    /** How many. */
    uint64_t count;
    /** Their sum. */
    uint64_t sum_ns;
    /** The longest, exactly. */
    uint64_t max_ns;
    /** Half are not longer. */
    uint64_t p50_ns;
    /** 90 % are not longer. */
    uint64_t p90_ns;
    /** 99 % are not longer. */
    uint64_t p99_ns;
    /** 99.9 % are not longer. */
    uint64_t p999_ns;
    /** 99.99 % are not longer. */
    uint64_t p9999_ns;
} walrec_times_t;

/**
 * What a recorder measured about itself since walrec_open. Set struct_size before the call. Later versions use up reserved
 * and add fields at the end; nothing moves.
 */
typedef struct walrec_telemetry_t {
    /** sizeof(walrec_telemetry_t) of the caller, in bytes. Not changed. */
    uint32_t struct_size;
    /** 0. */
    uint32_t flags;
    /** The last appended event. */
    uint64_t last_event_id;
    /** The last durable event. */
    uint64_t durable_event_id;
    /** Segments ready for the append thread. */
    uint64_t prepared_now;
    /** Segments being appended to or made durable. */
    uint64_t active_now;
    /** Segments waiting for their seal. */
    uint64_t written_now;
    /** Segments sealed since the open. */
    uint64_t sealed_now;
    /** Free bytes where the log is; UINT64_MAX = not known. */
    uint64_t free_bytes;
    /** Events appended a second, over the last second or longer. */
    uint64_t append_rate;
    /** Events that fit what is prepared and the rest of the active segment. */
    uint64_t stage_room_events;
    /** So many seconds until no prepared segment is left, at append_rate and without the disk; UINT64_MAX = no end. */
    uint64_t stage_seconds;
    /** So many seconds until free_bytes are used up, at append_rate; UINT64_MAX = no end. */
    uint64_t log_seconds;
    /** 1: the stage does not lie in memory. */
    uint64_t stage_on_disk;
    /** 1: the stage is not locked in memory. */
    uint64_t stage_not_locked;
    /** 1: a slot of the stage was removed from outside. */
    uint64_t stage_unlinked;
    /** 1: a worker waits for space. */
    uint64_t out_of_space;
    /** 1: a write, a sync or a worker failed; nothing is recorded any more. */
    uint64_t poisoned;
    /** Events appended since the open. */
    uint64_t events_appended;
    /** Events made durable since the open. */
    uint64_t events_durable;
    /** Bytes of blocks written to segments, whole pages. */
    uint64_t bytes_written;
    /** Segments made ready. */
    uint64_t segments_prepared;
    /** Segments that the open goes on in: 0 or 1. */
    uint64_t segments_resumed;
    /** Segments that the append thread went over to. */
    uint64_t segments_activated;
    /** Segments of which all is durable. */
    uint64_t segments_written;
    /** Segments sealed. */
    uint64_t segments_sealed;
    /** Pushes that found their ring full. */
    uint64_t ring_full;
    /** Appends refused with WALREC_E_BACKPRESSURE. */
    uint64_t backpressure;
    /** Appends refused with WALREC_E_NOSPACE for want of a prepared segment. */
    uint64_t no_space;
    /** Cycles of the flusher that the disk had no room for. */
    uint64_t write_retries;
    /** Errors and panics of workers. */
    uint64_t worker_errors;
    /** Bytes that did not verify, each time they were met, by the number that walrec_reason_str names. */
    uint64_t checksum_failures[32];
    /** Segments made into .wal.lz4. */
    uint64_t segments_frozen;
    /** Segments deleted, for max_compressed_segments or max_segments. */
    uint64_t segments_deleted;
    /** Bytes of the frozen segments, headers and blocks. */
    uint64_t freeze_bytes_in;
    /** Bytes of the files that they became. */
    uint64_t freeze_bytes_out;
    /** 0. */
    uint64_t reserved[12];
    /** One append in append_sample: its stores and their publication. */
    struct walrec_times_t append;
    /** The append thread going over to the next segment, waiting included. */
    struct walrec_times_t rotation;
    /** The append thread spinning for a prepared segment. */
    struct walrec_times_t prepared_wait;
    /** From an append to the event being durable, sampled. */
    struct walrec_times_t durable_lag;
    /** One block's checksums and header. */
    struct walrec_times_t finalize;
    /** The flusher writing what one cycle covers. */
    struct walrec_times_t write;
    /** The flusher's sync of one cycle. */
    struct walrec_times_t sync;
    /** A segment's file made or taken over, header synced. */
    struct walrec_times_t open_new;
    /** A segment loaded to be written on in place. */
    struct walrec_times_t open_existing;
    /** One segment made ready: its file and its slot of the stage. */
    struct walrec_times_t prepare;
    /** One written segment sealed, synced and cut to its size. */
    struct walrec_times_t seal;
    /** wal_meta.dat replaced. */
    struct walrec_times_t meta_flush;
    /** Segments in the ring from walrec-prepare to the append thread. */
    struct walrec_times_t ring_prepared;
    /** Segments in the ring from the append thread to walrec-flush. */
    struct walrec_times_t ring_activated;
    /** Segments in the ring from walrec-flush to walrec-maint. */
    struct walrec_times_t ring_written;
    /** Slots of the stage in the ring from walrec-flush to walrec-prepare. */
    struct walrec_times_t ring_freed;
    /** Duty cycles of walrec-prepare. */
    struct walrec_times_t loop_prepare;
    /** Duty cycles of walrec-flush. */
    struct walrec_times_t loop_flush;
    /** Duty cycles of walrec-maint. */
    struct walrec_times_t loop_maintain;
    /** Duty cycles of walrec-meta. */
    struct walrec_times_t loop_meta;
    /** Sleeps of walrec-prepare. */
    struct walrec_times_t sleep_prepare;
    /** Sleeps of walrec-flush. */
    struct walrec_times_t sleep_flush;
    /** Sleeps of walrec-maint. */
    struct walrec_times_t sleep_maintain;
    /** Sleeps of walrec-meta. */
    struct walrec_times_t sleep_meta;
    /** One segment compressed, read again, and its .wal.lz4 durable. */
    struct walrec_times_t freeze;
    /** One segment deleted: renamed, cut, removed, each durable. */
    struct walrec_times_t deletion;
} walrec_telemetry_t;

/** A range that a reader with WALREC_FLAG_SALVAGE passed. Set struct_size before the call. */
typedef struct walrec_gap_t {
    /** sizeof(walrec_gap_t) of the caller, in bytes. Not changed. */
    uint32_t struct_size;
    /** Index of the segment; where segments are missing, of the first of them. */
    uint32_t segment;
    /** Why the bytes were not accepted: a number for walrec_reason_str. */
    uint32_t reason;
    /** 0. */
    uint32_t reserved;
    /** Offset of the range in the uncompressed segment, in bytes. */
    uint64_t offset;
    /** Bytes of the range; where segments are missing, how many. */
    uint64_t length;
    /** Last event before the range; 0 = none was read. */
    uint64_t id_before;
    /** First event behind the range; 0 = none. */
    uint64_t id_after;
} walrec_gap_t;

/**
 * What a reader measured about itself since walrec_reader_open. Set struct_size before the call. Later versions use up reserved
 * and add fields at the end; nothing moves.
 */
typedef struct walrec_reader_telemetry_t {
    /** sizeof(walrec_reader_telemetry_t) of the caller, in bytes. Not changed. */
    uint32_t struct_size;
    /** 0. */
    uint32_t flags;
    /** Events given. */
    uint64_t events;
    /** Bytes of blocks read, after decompression; those that were read ahead and not used are in it. */
    uint64_t bytes;
    /** Blocks that hold, read to their end. */
    uint64_t blocks;
    /** Segments that reading came to as a .wal. */
    uint64_t segments_hot;
    /** Segments that reading came to as a .wal.lz4. */
    uint64_t segments_frozen;
    /** Of both, those of which pieces were read ahead on a thread of their own. */
    uint64_t segments_preloaded;
    /** Damaged .wal that were left for their .wal.lz4. */
    uint64_t form_switches;
    /** Ranges passed over: recorded as lost by an earlier salvage, or damaged and passed with WALREC_FLAG_SALVAGE. */
    uint64_t gaps;
    /** Bytes that did not verify, each time they were met, by the number that walrec_reason_str names. */
    uint64_t checksum_failures[32];
    /** 0. */
    uint64_t reserved[16];
    /** The log opened, and the way to the first event. */
    struct walrec_times_t open;
    /** One segment opened and its header judged. */
    struct walrec_times_t open_segment;
    /** One block judged: 1 in 16 of those judged alone, the mean of those judged together. */
    struct walrec_times_t verify;
    /** One seek, by id or by time. */
    struct walrec_times_t seek;
    /** One call in 4 of those that go for more events, over a block or more; the others copy an event that was read. */
    struct walrec_times_t next;
    /** One piece of a segment read and judged ahead. */
    struct walrec_times_t preload;
    /** The reader waiting for a piece that is being read ahead. */
    struct walrec_times_t preload_wait;
} walrec_reader_telemetry_t;

/** What walrec_verify found. Set struct_size before the call. */
typedef struct walrec_verify_report_t {
    /** sizeof(walrec_verify_report_t) of the caller, in bytes. Not changed. */
    uint32_t struct_size;
    /** Of the first fault: a number for walrec_reason_str; 0 = there is no fault. */
    uint32_t fault_reason;
    /** Segments of the log, compressed ones included. */
    uint64_t segments;
    /** Compressed segments of the log. */
    uint64_t segments_compressed;
    /** Segments that are missing. */
    uint64_t segments_missing;
    /** Segments that an earlier salvage recorded as lost. They are no fault. */
    uint64_t segments_lost;
    /** Blocks that hold; one that is still being filled counts. */
    uint64_t blocks;
    /** Events in them. */
    uint64_t events;
    /** Bytes of the segments' files, as they lie on the disk. */
    uint64_t bytes;
    /** First event that holds; 0 = none. */
    uint64_t first_event_id;
    /** Last event that holds; 0 = none. */
    uint64_t last_event_id;
    /** Of the first fault: index of its segment; with a missing segment, of that one. */
    uint32_t fault_segment;
    /** Of the first fault: its block, or WALREC_NO_BLOCK. */
    uint32_t fault_block;
    /** Of the first fault: offset of the header or block that does not hold, in bytes of the uncompressed segment. */
    uint64_t fault_offset;
    /**
     * Of the first fault: the number that must be there (a stored checksum, a count, an id), for reasons that
     * compare two; else 0.
     */
    uint64_t fault_expected;
    /** Of the first fault: the number that is there (a computed checksum, a count, an id); else 0. */
    uint64_t fault_actual;
    /** Of the first fault: name of the file in the log directory, terminated; empty = there is no fault. */
    char fault_file[64];
    /** 0. */
    uint64_t reserved[8];
} walrec_verify_report_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Version of the loaded library: major * 10000 + minor * 100 + patch, as WALREC_VERSION_NUMBER is for the
 * header.
 *
 * Any thread; never blocks.
 */
uint32_t walrec_version_number(void) WALREC_NOEXCEPT;

/**
 * Version of the loaded library as text, like "0.1.0". Static, never NULL.
 *
 * Any thread; never blocks.
 */
const char *walrec_version_string(void) WALREC_NOEXCEPT;

/**
 * WALREC_ABI_VERSION of the loaded library.
 *
 * Any thread; never blocks.
 */
uint32_t walrec_abi_version(void) WALREC_NOEXCEPT;

/**
 * Short text for a status. Static, never NULL, for any value.
 *
 * Any thread; never blocks.
 */
const char *walrec_status_str(walrec_status_t status) WALREC_NOEXCEPT;

/**
 * Short text for the number of a verdict, as in walrec_open_report_t.cut_reason. Static, never NULL, for any
 * value.
 *
 * Any thread; never blocks.
 */
const char *walrec_reason_str(uint32_t reason) WALREC_NOEXCEPT;

/**
 * Copies the text of the calling thread's last failed call to buf: what failed, where, and the operating
 * system's words. At most n bytes, always terminated when n > 0. A call that succeeds does not change the
 * text; before the first failure it is empty.
 *
 * Returns the bytes needed for the whole text, the terminator included. (NULL, 0) asks for just that.
 *
 * Any thread; never blocks.
 *
 * Pointers:
 * buf: n writable bytes; may be NULL, then nothing is copied.
 */
size_t walrec_last_error(char *buf, size_t n) WALREC_NOEXCEPT;

/**
 * Zeroes struct_size bytes at config and sets config->struct_size. Call it with sizeof(walrec_config_t).
 *
 * INVALID: config is NULL, or struct_size is below 8, above 4096 or no multiple of 8; then nothing is written.
 *
 * Any thread; never blocks.
 *
 * Pointers:
 * config: struct_size writable bytes; not NULL.
 */
walrec_status_t walrec_config_init(struct walrec_config_t *config,
                                   size_t struct_size) WALREC_NOEXCEPT;

/**
 * Opens the log in dir for recording, recovers what a crash left, and starts the worker threads. When it
 * returns OK, every recovered event is durable. dir is created if it is missing (mode 0700).
 *
 * Segments that are sealed or compressed are not read, so damage in one is no error here: the strict reader and
 * walrec_verify find it. WALREC_FLAG_SALVAGE is the way out: then the whole log is read, which takes as long as
 * walrec_verify, and each segment that would stop the strict reader is set aside.
 *
 * INVALID (the message names the field and its range), LOCKED, CORRUPT, ABI, IO, NOSPACE, NOMEM, PANIC: *out
 * is NULL, and after LOCKED, CORRUPT and ABI nothing in the log was changed.
 *
 * Any thread; blocks on the disk. Open after daemonizing.
 *
 * Pointers:
 * dir: a path, bytes, terminated; not NULL, not kept.
 * config: NULL = defaults; else at least config->struct_size bytes. Not kept, but log_cb and log_user are.
 * out: receives a handle that the caller owns and gives to walrec_close; not NULL.
 */
walrec_status_t walrec_open(const char *dir,
                            const struct walrec_config_t *config,
                            struct walrec_t **out) WALREC_NOEXCEPT;

/**
 * What walrec_open found. Writes report->struct_size bytes and no more; the caller sets it before. Fields that
 * this library does not know become 0.
 *
 * INVALID (NULL; struct_size below 8 or no multiple of 8), ABI (struct_size above 4096), FORKED, PANIC:
 * nothing is written.
 *
 * Any thread; never blocks.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 * report: report->struct_size writable bytes; not NULL.
 */
walrec_status_t walrec_open_report(const struct walrec_t *walrec,
                                   struct walrec_open_report_t *report) WALREC_NOEXCEPT;

/**
 * Ends recording: refuses appends, wakes waiting syncs, makes everything appended durable, seals the segments
 * and joins the threads. Later calls give CLOSED; the handle is still to be closed.
 *
 * FAILED, IO, NOSPACE, PANIC: the first error of the recorder's life. Not everything is durable then; what was
 * appended is in the stage for the next walrec_open of this boot. CLOSED: it was shut down before. INVALID
 * (NULL), FORKED.
 *
 * Any thread, once appends stopped; blocks on the disk.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 */
walrec_status_t walrec_shutdown(struct walrec_t *walrec) WALREC_NOEXCEPT;

/**
 * Shuts down if that was not done, then frees the handle: always, whatever it returns. In a forked child it
 * frees memory and nothing else. Returns OK, or what walrec_shutdown would have; OK after an earlier
 * walrec_shutdown and for NULL.
 *
 * Any thread; blocks on the disk. No other call on the handle may run beside it or follow it.
 *
 * Pointers:
 * walrec: a handle from walrec_open, freed by this call; or NULL.
 */
walrec_status_t walrec_close(struct walrec_t *walrec) WALREC_NOEXCEPT;

/**
 * Appends one event: a copy of 64 bytes and a store. No system call, no allocation, no lock.
 *
 * OK: the event is appended; from here on it survives kill -9 of the process. For power loss see walrec_sync.
 * INVALID (NULL, event_id 0), ORDER (event_id not above the last one), BACKPRESSURE, NOSPACE, CLOSED, FAILED,
 * FORKED, THREAD: nothing was recorded; after FAILED the message tells the first error. An open reservation is
 * dropped, also by a refused call; not by THREAD.
 *
 * Append thread; never blocks; with WALREC_FULL_WAIT it may spin for wait_limit_us.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 * event: aligned to 8, not NULL, not kept; guard is ignored.
 */
walrec_status_t walrec_append(struct walrec_t *walrec,
                              const struct walrec_event_t *event) WALREC_NOEXCEPT;

/**
 * Appends n events in their order, up to the first that is refused: a prefix is appended, and the status is what
 * walrec_append gives for the first event that is not. n = 0 is OK.
 *
 * Append thread; never blocks; spins like walrec_append.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 * events: n events, aligned to 8; not NULL unless n is 0; not kept.
 * done: receives the number of events appended, on error too; may be NULL.
 */
walrec_status_t walrec_append_batch(struct walrec_t *walrec,
                                    const struct walrec_event_t *events,
                                    size_t n,
                                    size_t *done) WALREC_NOEXCEPT;

/**
 * Gives the place of the next event, to build it there: the fastest way. Fill bytes 0 to 59 (every field but
 * guard; what is in them before is unspecified), then call walrec_commit. Nothing is recorded before that. One
 * reservation at a time.
 *
 * BACKPRESSURE, NOSPACE, CLOSED, FAILED, FORKED, THREAD, INVALID (NULL): *slot is NULL.
 *
 * Append thread; never blocks; spins like walrec_append.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 * slot: receives the place. It stays the library's, and may be written until the next call of the append
 * thread on this handle; not NULL.
 */
walrec_status_t walrec_reserve(struct walrec_t *walrec,
                               struct walrec_event_t **slot) WALREC_NOEXCEPT;

/**
 * Appends the event built in the reserved place. OK means what it means for walrec_append.
 *
 * INVALID (nothing is reserved; event_id 0; NULL), ORDER, FAILED, CLOSED, FORKED, THREAD: nothing was
 * recorded, and the reservation is dropped; not by THREAD.
 *
 * Append thread; never blocks.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL. After the call the reserved place is not to be written any
 * more.
 */
walrec_status_t walrec_commit(struct walrec_t *walrec) WALREC_NOEXCEPT;

/**
 * Drops the reservation; what was written into it never appears.
 *
 * INVALID, or FAILED or CLOSED (nothing is reserved); INVALID (NULL), FORKED, THREAD: nothing happened.
 *
 * Append thread; never blocks.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL. After the call the reserved place is not to be written any
 * more.
 */
walrec_status_t walrec_abort(struct walrec_t *walrec) WALREC_NOEXCEPT;

/**
 * Gives the cursor for walrec_inline.h, valid until walrec_close. See there; that header calls this.
 *
 * ABI (the library's cursor is of another layout), INVALID (NULL), FORKED, PANIC: *cursor is NULL.
 *
 * Any thread; never blocks.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 * layout: WALREC_CURSOR_LAYOUT of walrec_inline.h.
 * cursor: receives the cursor, which stays the library's; not NULL.
 */
walrec_status_t walrec_cursor(struct walrec_t *walrec,
                              uint32_t layout,
                              struct walrec_cursor_t **cursor) WALREC_NOEXCEPT;

/**
 * Closes the active segment early: the next event goes into a new one. Nothing happens while the active
 * segment holds no event. An open reservation is dropped.
 *
 * BACKPRESSURE, NOSPACE, CLOSED, FAILED, FORKED, THREAD, INVALID (NULL), PANIC: the segment stays active.
 *
 * Append thread; never blocks; spins like walrec_append.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 */
walrec_status_t walrec_rotate(struct walrec_t *walrec) WALREC_NOEXCEPT;

/**
 * Makes the caller the append thread. The old append thread has stopped calling, and the caller knows it by
 * its own means (a join, a lock). An open reservation is dropped.
 *
 * CLOSED, FAILED, FORKED, INVALID (NULL), PANIC: the append thread is the one it was.
 *
 * The new append thread; never blocks.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 */
walrec_status_t walrec_attach_thread(struct walrec_t *walrec) WALREC_NOEXCEPT;

/**
 * The last appended event; 0 = the log is empty, or walrec is NULL. One atomic load.
 *
 * Any thread; never blocks.
 *
 * Pointers:
 * walrec: a handle from walrec_open, or NULL.
 */
uint64_t walrec_last_event_id(const struct walrec_t *walrec) WALREC_NOEXCEPT;

/**
 * The last durable event; 0 = none, or walrec is NULL. It only grows. One atomic load; polling it does not
 * disturb the append thread.
 *
 * Any thread; never blocks.
 *
 * Pointers:
 * walrec: a handle from walrec_open, or NULL.
 */
uint64_t walrec_durable_event_id(const struct walrec_t *walrec) WALREC_NOEXCEPT;

/**
 * Waits until event_id is durable; 0 = everything appended so far. timeout_ns: 0 = wake the flusher and
 * return, UINT64_MAX = no limit.
 *
 * OK: it is durable, whatever else happened. TIMEOUT: not yet. FAILED: poisoned before it was durable; the
 * message tells the first error. CLOSED: shut down before it was durable. INVALID (NULL; from the append
 * thread also an id above the last appended one, which could never come), FORKED, PANIC. Before its first call
 * no thread is the append thread yet: such a wait is one for the events of another, and without a limit it ends
 * with them alone.
 *
 * Any thread; blocks, unless timeout_ns is 0.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 */
walrec_status_t walrec_sync(struct walrec_t *walrec,
                            uint64_t event_id,
                            uint64_t timeout_ns) WALREC_NOEXCEPT;

/**
 * The two ids above by address, for a loop that looks at them often: valid until walrec_close, and after a fork zeros in the child.
 * NULL when walrec is NULL.
 *
 * Any thread; never blocks.
 *
 * Pointers:
 * walrec: a handle from walrec_open, or NULL. What is returned stays the library's, and is only read.
 */
const struct walrec_watermarks_t *walrec_watermarks(const struct walrec_t *walrec) WALREC_NOEXCEPT;

/**
 * Writes the number 1, eight bytes, to fd, once: when event_id is durable, 0 = everything appended so far; at once if it is already;
 * and when it cannot become durable any more (poisoned, shut down). So what was reached is to be looked at then. For an engine that
 * waits in epoll: fd is an eventfd made with EFD_NONBLOCK, or the writing end of a pipe that does not block. Any number of
 * notices may be waiting.
 *
 * INVALID (NULL; fd cannot be written to, or could block), IO (fd is not open, no more descriptors), FORKED, PANIC: nothing is
 * written, now or later.
 *
 * Any thread; never blocks.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 * fd: duplicated; it stays the caller's, and may be closed at any time.
 */
walrec_status_t walrec_notify_durable(struct walrec_t *walrec,
                                      uint64_t event_id,
                                      int32_t fd) WALREC_NOEXCEPT;

/**
 * Nothing that holds event_id or a later event is deleted from now on; 0 = no floor. It replaces the floor that was
 * set before, also a higher one. A deletion that has begun is finished.
 *
 * A floor that is never raised lets the log grow until the disk is full.
 *
 * INVALID (NULL), CLOSED, FORKED, PANIC: nothing is changed.
 *
 * Any thread; never blocks.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 */
walrec_status_t walrec_set_retention_floor(struct walrec_t *walrec,
                                           uint64_t event_id) WALREC_NOEXCEPT;

/**
 * The appended position, never torn.
 *
 * INVALID (NULL), FORKED, PANIC: nothing is written.
 *
 * Any thread; never blocks.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 * state: not NULL.
 */
walrec_status_t walrec_meta_state(const struct walrec_t *walrec,
                                  struct walrec_meta_state_t *state) WALREC_NOEXCEPT;

/**
 * What the recorder has measured since walrec_open. Writes out->struct_size bytes and no more; the caller sets it before. Fields
 * that this library does not know become 0. Counters and times only grow; taken while appends run, one of them may be a moment
 * older than another.
 *
 * INVALID (NULL; struct_size below 8 or no multiple of 8; a library that was built without telemetry, which the message says),
 * ABI (struct_size above 4096), FORKED, PANIC: nothing is written.
 *
 * Any thread; one system call, for the free space of the log's file system. The append thread is not disturbed.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 * out: out->struct_size writable bytes; not NULL.
 */
walrec_status_t walrec_telemetry(const struct walrec_t *walrec,
                                 struct walrec_telemetry_t *out) WALREC_NOEXCEPT;

/**
 * The same as text: format 0 (WALREC_TEXT_HUMAN) is a table for a person, whose layout may change; format 1
 * (WALREC_TEXT_PROMETHEUS) is for a scrape: names begin with walrec_, times are histograms in seconds. ASCII, terminated when n is
 * not 0. A text longer than n - 1 bytes is cut there, and the status is still OK: compare needed with n.
 *
 * INVALID (NULL; an unknown format; a library that was built without telemetry), FORKED, PANIC: buf is not
 * written, and *needed is 0.
 *
 * Any thread; allocates; one system call, as walrec_telemetry.
 *
 * Pointers:
 * walrec: a handle from walrec_open; not NULL.
 * buf: n writable bytes; may be NULL if n is 0.
 * needed: receives the bytes of the whole text with its terminator; may be NULL.
 */
walrec_status_t walrec_telemetry_text(const struct walrec_t *walrec,
                                      int32_t format,
                                      char *buf,
                                      size_t n,
                                      size_t *needed) WALREC_NOEXCEPT;

/**
 * Opens the log in dir for reading from from_event_id on, or from the first event after it; 0 = from the
 * oldest there is. Works beside a live recorder, in another process too, and on its own. Takes no lock and
 * changes nothing.
 *
 * flags: 0 is strict: bytes that do not verify are CORRUPT, and nothing behind them is given. WALREC_FLAG_SALVAGE
 * passes over damage, with WALREC_GAP for each range, and gives every event behind it that proves itself, also single
 * ones out of a bad block; never a wrong one.
 *
 * INVALID (also for other flags), NOT_FOUND (no log there,
 * or from_event_id is older than the oldest event retained), CORRUPT, ABI, IO, NOMEM, PANIC: *out is NULL.
 *
 * Any thread; blocks on the disk.
 *
 * Pointers:
 * dir: a path, bytes, terminated; not NULL, not kept.
 * out: receives a handle that the caller owns and gives to walrec_reader_close; not NULL.
 */
walrec_status_t walrec_reader_open(const char *dir,
                                   uint64_t from_event_id,
                                   uint32_t flags,
                                   struct walrec_reader_t **out) WALREC_NOEXCEPT;

/**
 * The next event.
 *
 * OK. END: no more events now; while a recorder runs, OK may follow later (durable events only). GAP (with SALVAGE):
 * a damaged range was passed, see walrec_reader_gap; call again. CORRUPT: the message names the place. NOT_FOUND: the events to come were retired meanwhile. IO, ABI, NOMEM, INVALID
 * (NULL). PANIC, and FAILED ever after.
 *
 * One thread at a time; blocks on the disk.
 *
 * Pointers:
 * reader: a handle from walrec_reader_open; not NULL.
 * out: receives the event with OK and is left alone otherwise; aligned to 8, not NULL.
 */
walrec_status_t walrec_reader_next(struct walrec_reader_t *reader,
                                   struct walrec_event_t *out) WALREC_NOEXCEPT;

/**
 * Up to n events at once. OK whenever *got > 0, else what walrec_reader_next gives.
 *
 * One thread at a time; blocks on the disk.
 *
 * Pointers:
 * reader: a handle from walrec_reader_open; not NULL.
 * out: room for n events, aligned to 8, not NULL. Unspecified beyond *got.
 * n: 1 and up, else INVALID.
 * got: receives the number of events, 0 on error; not NULL.
 */
walrec_status_t walrec_reader_read(struct walrec_reader_t *reader,
                                   struct walrec_event_t *out,
                                   size_t n,
                                   size_t *got) WALREC_NOEXCEPT;

/**
 * Goes to event_id or the first event after it, forwards or backwards; 0 = the oldest there is. NOT_FOUND
 * (older than the oldest event retained), and the errors of walrec_reader_next.
 *
 * One thread at a time; blocks on the disk.
 *
 * Pointers:
 * reader: a handle from walrec_reader_open; not NULL.
 */
walrec_status_t walrec_reader_seek(struct walrec_reader_t *reader, uint64_t event_id) WALREC_NOEXCEPT;

/**
 * Goes to the first event there at or after timestamp_ns, forwards or backwards. Timestamps are taken as
 * non-decreasing from block to block; within a block their order does not matter. Where older segments were
 * retired, the search begins with the oldest event retained. A timestamp after the last event's: the next call
 * gives END, and OK once such an event is durable. The errors of walrec_reader_next.
 *
 * One thread at a time; blocks on the disk.
 *
 * Pointers:
 * reader: a handle from walrec_reader_open; not NULL.
 */
walrec_status_t walrec_reader_seek_time(struct walrec_reader_t *reader,
                                        uint64_t timestamp_ns) WALREC_NOEXCEPT;

/**
 * The range that the last WALREC_GAP passed. Writes gap->struct_size bytes and no more; the caller sets it before.
 * Fields that this library does not know become 0.
 *
 * INVALID (NULL; struct_size below 8 or no multiple of 8), ABI (struct_size above 4096), NOT_FOUND (no range was
 * passed since the reader was opened or moved by a seek): nothing is written. PANIC, and FAILED ever after.
 *
 * One thread at a time; never blocks.
 *
 * Pointers:
 * reader: a handle from walrec_reader_open; not NULL.
 * gap: gap->struct_size writable bytes; not NULL.
 */
walrec_status_t walrec_reader_gap(const struct walrec_reader_t *reader,
                                  struct walrec_gap_t *gap) WALREC_NOEXCEPT;

/**
 * Frees the reader. NULL is allowed.
 *
 * Any thread; no other call on the handle may run beside it or follow it.
 *
 * Pointers:
 * reader: a handle from walrec_reader_open, freed by this call; or NULL.
 */
void walrec_reader_close(struct walrec_reader_t *reader) WALREC_NOEXCEPT;

/**
 * What the reader has measured since walrec_reader_open. Writes out->struct_size bytes and no more; the caller sets it before.
 * Fields that this library does not know become 0. Counters and times only grow.
 *
 * INVALID (NULL; struct_size below 8 or no multiple of 8; a library that was built without telemetry, which the message says),
 * ABI (struct_size above 4096), PANIC: nothing is written. FAILED after a panic in this reader.
 *
 * One thread at a time, as all functions of a reader; never blocks.
 *
 * Pointers:
 * reader: a handle from walrec_reader_open; not NULL.
 * out: out->struct_size writable bytes; not NULL.
 */
walrec_status_t walrec_reader_telemetry(const struct walrec_reader_t *reader,
                                        struct walrec_reader_telemetry_t *out) WALREC_NOEXCEPT;

/**
 * The same as text: format 0 (WALREC_TEXT_HUMAN) is a table for a person, whose layout may change; format 1
 * (WALREC_TEXT_PROMETHEUS) is for a scrape: names begin with walrec_reader_, times are histograms in seconds. Several readers of a
 * process are told apart by labels that the scrape adds. ASCII, terminated when n is not 0. A text longer than n - 1 bytes is cut
 * there, and the status is still OK: compare needed with n.
 *
 * INVALID (NULL; an unknown format; a library that was built without telemetry), PANIC; FAILED after a panic in this reader: buf
 * is not written, and *needed is 0.
 *
 * One thread at a time, as all functions of a reader; allocates; never blocks.
 *
 * Pointers:
 * reader: a handle from walrec_reader_open; not NULL.
 * buf: n writable bytes; may be NULL if n is 0.
 * needed: receives the bytes of the whole text with its terminator; may be NULL.
 */
walrec_status_t walrec_reader_telemetry_text(const struct walrec_reader_t *reader,
                                             int32_t format,
                                             char *buf,
                                             size_t n,
                                             size_t *needed) WALREC_NOEXCEPT;

/**
 * Reads the whole log in dir, compressed segments included, checks every block, and fills the report: counts of what
 * holds, and the first fault. Goes on after a fault. Changes nothing and takes no lock; beside a live recorder it
 * goes to what is durable. Writes report->struct_size bytes and no more; the caller sets it before. Fields that this
 * library does not know become 0.
 *
 * OK: no fault. CORRUPT: the report has the first fault, and the message tells it. NOT_FOUND (no log there), INVALID
 * (NULL; struct_size below 8 or no multiple of 8), ABI (struct_size above 4096; a newer format), IO, NOMEM, PANIC:
 * the report is not written.
 *
 * Any thread; blocks on the disk, for as long as reading the log takes.
 *
 * Pointers:
 * dir: a path, bytes, terminated; not NULL, not kept.
 * report: report->struct_size writable bytes; not NULL.
 */
walrec_status_t walrec_verify(const char *dir,
                              struct walrec_verify_report_t *report) WALREC_NOEXCEPT;

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WALREC_H */
