//! What is measured: one line each.
//!
//! Each table is a macro that hands its lines to another one: the numbers of the cells, the names in the texts and the fields of
//! `walrec_telemetry_t` all come from here, so that something new is one line here and one field there.
//!
//! | column | meaning |
//! |---|---|
//! | variant | the name in the code |
//! | field | the name in `walrec_telemetry_t` |
//! | family | the name in Prometheus, without `walrec_` and with its unit; lines of one family stand together |
//! | label | what tells the lines of one family apart, `""` for a line alone |
//! | help | one sentence; of a family, the first line's |

/// Times in nanoseconds.
macro_rules! each_timing {
    ($then:ident) => {
        $then! {
            Append append "append_seconds" "" "One append in append_sample: its stores and their publication";
            Rotation rotation "rotation_seconds" "" "The append thread going over to the next segment, waiting included";
            PreparedWait prepared_wait "prepared_wait_seconds" "" "The append thread spinning for a prepared segment";
            DurableLag durable_lag "durable_lag_seconds" "" "From an append to the event being durable, sampled";
            Finalize finalize "block_finalize_seconds" "" "One block's checksums and header";
            Write write "write_seconds" "" "The flusher writing what one cycle covers";
            Sync sync "sync_seconds" "" "The flusher's sync of one cycle";
            OpenNew open_new "segment_open_seconds" "kind=\"new\"" "A segment's file made or taken over, header synced";
            OpenExisting open_existing "segment_open_seconds" "kind=\"existing\"" "";
            Prepare prepare "prepare_seconds" "" "One segment made ready: its file and its slot of the stage";
            Seal seal "seal_seconds" "" "One written segment sealed, synced and cut to its size";
            Freeze freeze "freeze_seconds" "" "One segment compressed, read again, and its .wal.lz4 durable";
            Deletion deletion "deletion_seconds" "" "One segment deleted: renamed, cut, removed, each durable";
            MetaFlush meta_flush "meta_flush_seconds" "" "wal_meta.dat replaced";
            RingPrepared ring_prepared "ring_wait_seconds" "ring=\"prepared\"" "What was taken from a ring had stood in it";
            RingActivated ring_activated "ring_wait_seconds" "ring=\"activated\"" "";
            RingWritten ring_written "ring_wait_seconds" "ring=\"written\"" "";
            RingFreed ring_freed "ring_wait_seconds" "ring=\"freed\"" "";
            LoopPrepare loop_prepare "worker_loop_seconds" "worker=\"prepare\"" "One duty cycle of a worker";
            LoopFlush loop_flush "worker_loop_seconds" "worker=\"flush\"" "";
            LoopMaintain loop_maintain "worker_loop_seconds" "worker=\"maintain\"" "";
            LoopMeta loop_meta "worker_loop_seconds" "worker=\"meta\"" "";
            SleepPrepare sleep_prepare "worker_sleep_seconds" "worker=\"prepare\"" "One sleep of a worker";
            SleepFlush sleep_flush "worker_sleep_seconds" "worker=\"flush\"" "";
            SleepMaintain sleep_maintain "worker_sleep_seconds" "worker=\"maintain\"" "";
            SleepMeta sleep_meta "worker_sleep_seconds" "worker=\"meta\"" "";
        }
    };
}

/// What only grows, from the open on.
macro_rules! each_count {
    ($then:ident) => {
        $then! {
            EventsAppended events_appended "events_appended_total" "" "Events appended since the open";
            EventsDurable events_durable "events_durable_total" "" "Events made durable since the open";
            BytesWritten bytes_written "written_bytes_total" "" "Bytes of blocks written to segments, whole pages";
            SegmentsPrepared segments_prepared "segments_total" "step=\"prepared\"" "Segments that came to a step of their life";
            SegmentsResumed segments_resumed "segments_total" "step=\"resumed\"" "";
            SegmentsActivated segments_activated "segments_total" "step=\"activated\"" "";
            SegmentsWritten segments_written "segments_total" "step=\"written\"" "";
            SegmentsSealed segments_sealed "segments_total" "step=\"sealed\"" "";
            SegmentsFrozen segments_frozen "segments_total" "step=\"frozen\"" "";
            SegmentsDeleted segments_deleted "segments_total" "step=\"deleted\"" "";
            FreezeBytesIn freeze_bytes_in "freeze_bytes_total" "side=\"in\"" "Bytes of frozen segments before and after they were compressed";
            FreezeBytesOut freeze_bytes_out "freeze_bytes_total" "side=\"out\"" "";
            RingFull ring_full "ring_full_total" "" "Pushes that found their ring full";
            Backpressure backpressure "appends_refused_total" "reason=\"backpressure\"" "Appends refused for want of a segment";
            NoSpace no_space "appends_refused_total" "reason=\"no_space\"" "";
            WriteRetries write_retries "write_retries_total" "" "Cycles of the flusher that the disk had no room for";
            WorkerErrors worker_errors "worker_errors_total" "" "Errors and panics of workers";
        }
    };
}

/// What stands at the moment.
macro_rules! each_gauge {
    ($then:ident) => {
        $then! {
            last_event_id "last_event_id" "" "The last appended event";
            durable_event_id "durable_event_id" "" "The last durable event";
            prepared_now "segments" "state=\"prepared\"" "Segments in a state; sealed ones since the open";
            active_now "segments" "state=\"active\"" "";
            written_now "segments" "state=\"written\"" "";
            sealed_now "segments" "state=\"sealed\"" "";
            free_bytes "log_free_bytes" "" "Free bytes where the log is; the largest number when not known";
            append_rate "append_rate_events_per_second" "" "Events appended a second, over the last second or longer";
            stage_room_events "stage_room_events" "" "Events that fit what is prepared and the rest of the active segment";
            stage_seconds "stage_room_seconds" "" "So long until no prepared segment is left, at the present rate and with no disk";
            log_seconds "log_room_seconds" "" "So long until free_bytes are used up, at the present rate";
            stage_on_disk "stage_on_disk" "" "1: the stage does not lie in memory";
            stage_not_locked "stage_not_locked" "" "1: the stage is not locked in memory";
            stage_unlinked "stage_unlinked" "" "1: a slot of the stage was removed from outside";
            out_of_space "out_of_space" "" "1: a worker waits for space";
            poisoned "poisoned" "" "1: a write, a sync or a worker failed; nothing is recorded any more";
        }
    };
}

macro_rules! number_timings {
    ($($variant:ident $field:ident $family:literal $label:literal $help:literal;)*) => {
        /// A time that is measured; see the table in `telemetry/table.rs`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Timing { $(#[doc = concat!($family, " ", $label, ": ", $help)] $variant,)* }

        impl Timing {
            /// All of them, in the table's order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Name in the C structure, family, label, help.
            #[must_use]
            pub const fn texts(self) -> (&'static str, &'static str, &'static str, &'static str) {
                match self { $(Self::$variant => (stringify!($field), $family, $label, $help),)* }
            }
        }
    };
}
each_timing!(number_timings);

macro_rules! number_counts {
    ($($variant:ident $field:ident $family:literal $label:literal $help:literal;)*) => {
        /// Something that is counted; see the table in `telemetry/table.rs`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Count { $(#[doc = concat!($family, " ", $label, ": ", $help)] $variant,)* }

        impl Count {
            /// All of them, in the table's order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Name in the C structure, family, label, help.
            #[must_use]
            pub const fn texts(self) -> (&'static str, &'static str, &'static str, &'static str) {
                match self { $(Self::$variant => (stringify!($field), $family, $label, $help),)* }
            }
        }
    };
}
each_count!(number_counts);

macro_rules! define_gauges {
    ($($field:ident $family:literal $label:literal $help:literal;)*) => {
        /// What stands at the moment; see the table in `telemetry/table.rs`. `u64::MAX` is "not known" or "for ever".
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Gauges { $(#[doc = concat!($family, " ", $label, ": ", $help)] pub $field: u64,)* }

        impl Gauges {
            /// Name in the C structure, family, label, help and value of each, in the table's order.
            #[must_use]
            pub fn each(&self) -> Vec<([&'static str; 4], u64)> {
                vec![$(([stringify!($field), $family, $label, $help], self.$field)),*]
            }
        }
    };
}
each_gauge!(define_gauges);

#[cfg(feature = "telemetry")]
pub(crate) use {each_count, each_gauge, each_timing};
