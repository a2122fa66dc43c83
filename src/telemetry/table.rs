//! What is measured: one line each.
//!
//! Each table is a macro that hands its lines to another one: the numbers of the cells, the names in the texts and the fields of
//! `walrec_telemetry_t` and `walrec_reader_telemetry_t` all come from here, so that something new is one line here and one field
//! there. What is given to a table's macro after the other one's name comes back in front of the lines, in brackets.
//!
//! | column | meaning |
//! |---|---|
//! | variant | the name in the code |
//! | field | the name in the C structure |
//! | family | the name in Prometheus, without `walrec_` and with its unit; lines of one family stand together |
//! | label | what tells the lines of one family apart, `""` for a line alone |
//! | help | one sentence; of a family, the first line's |

/// What one kind of thing measures about itself.
pub trait Table: Sized + 'static {
    /// Its times.
    type Timing: Line;
    /// What it counts.
    type Count: Line;
    /// What stands in it at the moment.
    type Gauges: Standing;
    /// Above the text for a person.
    const TITLE: &'static str;
    /// The family of what did not verify.
    const FAILURES: &'static str;
}

/// Name in the C structure, family, label, help.
pub type Texts = [&'static str; 4];

/// A line of a table, by its number.
pub trait Line: Copy + 'static {
    /// All of them, in the table's order.
    const LINES: &'static [Self];
    /// Its texts.
    fn line(self) -> Texts;
    /// Its place in the table.
    fn place(self) -> usize;
}

/// Values that stand at a moment.
pub trait Standing: Clone + Default + std::fmt::Debug {
    /// The texts and the value of each, in the table's order.
    fn each(&self) -> Vec<(Texts, u64)>;
}

/// What a recorder measures.
#[derive(Clone, Copy, Debug)]
pub struct Recorder;

impl Table for Recorder {
    type Timing = Timing;
    type Count = Count;
    type Gauges = Gauges;
    const TITLE: &'static str = "walrec telemetry, since the open";
    const FAILURES: &'static str = "checksum_failures_total";
}

/// What a reader of a log measures. Nothing stands in it: whoever reads knows where he is.
#[derive(Clone, Copy, Debug)]
pub struct Reader;

impl Table for Reader {
    type Timing = ReaderTiming;
    type Count = ReaderCount;
    type Gauges = ();
    const TITLE: &'static str = "walrec telemetry of a reader, since its open";
    const FAILURES: &'static str = "reader_checksum_failures_total";
}

impl Standing for () {
    fn each(&self) -> Vec<(Texts, u64)> {
        Vec::new()
    }
}

/// A recorder's times in nanoseconds.
macro_rules! each_timing {
    ($then:ident $($with:tt)*) => {
        $then! { [$($with)*]
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

/// What only grows in a recorder, from the open on.
macro_rules! each_count {
    ($then:ident $($with:tt)*) => {
        $then! { [$($with)*]
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

/// What stands in a recorder at the moment.
macro_rules! each_gauge {
    ($then:ident $($with:tt)*) => {
        $then! { [$($with)*]
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

/// A reader's times in nanoseconds.
macro_rules! each_reader_timing {
    ($then:ident $($with:tt)*) => {
        $then! { [$($with)*]
            Open open "reader_open_seconds" "" "The log opened, and the way to the first event";
            OpenSegment open_segment "reader_segment_open_seconds" "" "One segment opened and its header judged";
            Verify verify "reader_block_verify_seconds" "" "One block judged: 1 in 16 of those judged alone, the mean of those judged together";
            Seek seek "reader_seek_seconds" "" "One seek, by id or by time";
            Next next "reader_next_seconds" "" "One call in 4 of those that go for more events, over a block or more";
            Preload preload "reader_preload_seconds" "" "One piece of a segment read and judged ahead";
            PreloadWait preload_wait "reader_preload_wait_seconds" "" "The reader waiting for a piece that is being read ahead";
        }
    };
}

/// What only grows in a reader, from the open on.
macro_rules! each_reader_count {
    ($then:ident $($with:tt)*) => {
        $then! { [$($with)*]
            Events events "reader_events_total" "" "Events given";
            Bytes bytes "reader_bytes_total" "" "Bytes of blocks read, after decompression";
            Blocks blocks "reader_blocks_verified_total" "" "Blocks that hold, read to their end";
            SegmentsHot segments_hot "reader_segments_total" "form=\"hot\"" "Segments that reading came to, by the form that was read";
            SegmentsFrozen segments_frozen "reader_segments_total" "form=\"frozen\"" "";
            SegmentsPreloaded segments_preloaded "reader_segments_preloaded_total" "" "Of those, the ones of which pieces were read ahead";
            FormSwitches form_switches "reader_form_switches_total" "" "Damaged .wal that were left for their .wal.lz4";
            Gaps gaps "reader_gaps_total" "" "Ranges passed over: recorded as lost, or damaged and passed with SALVAGE";
        }
    };
}

macro_rules! number {
    ([$(#[$doc:meta])* $name:ident] $($variant:ident $field:ident $family:literal $label:literal $help:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $(#[doc = concat!($family, " ", $label, ": ", $help)] $variant,)* }

        impl $name {
            /// All of them, in the table's order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Name in the C structure, family, label, help.
            #[must_use]
            pub const fn texts(self) -> (&'static str, &'static str, &'static str, &'static str) {
                match self { $(Self::$variant => (stringify!($field), $family, $label, $help),)* }
            }
        }

        impl Line for $name {
            const LINES: &'static [Self] = Self::ALL;

            fn line(self) -> Texts {
                self.texts().into()
            }

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}
each_timing!(number
    /// A time that a recorder measures; see the table in `telemetry/table.rs`.
    Timing);
each_count!(number
    /// Something that a recorder counts; see the table in `telemetry/table.rs`.
    Count);
each_reader_timing!(number
    /// A time that a reader measures; see the table in `telemetry/table.rs`.
    ReaderTiming);
each_reader_count!(number
    /// Something that a reader counts; see the table in `telemetry/table.rs`.
    ReaderCount);

macro_rules! define_gauges {
    ([] $($field:ident $family:literal $label:literal $help:literal;)*) => {
        /// What stands at the moment; see the table in `telemetry/table.rs`. `u64::MAX` is "not known" or "for ever".
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Gauges { $(#[doc = concat!($family, " ", $label, ": ", $help)] pub $field: u64,)* }

        impl Standing for Gauges {
            fn each(&self) -> Vec<(Texts, u64)> {
                vec![$(([stringify!($field), $family, $label, $help], self.$field)),*]
            }
        }
    };
}
each_gauge!(define_gauges);

#[cfg(feature = "telemetry")]
pub(crate) use {each_count, each_gauge, each_reader_count, each_reader_timing, each_timing};
