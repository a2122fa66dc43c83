//! What walrec writes, under many shapes, against FORMAT.md as the independent decoder reads it. The other direction, what
//! FORMAT.md allows against walrec's readers, is in `decoder/agreement.rs`.

#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

#[path = "decoder/agreement.rs"]
mod agreement;
mod decoder;
#[path = "decoder/encode.rs"]
mod encode;
#[path = "decoder/encode_frozen.rs"]
mod encode_frozen;
#[path = "decoder/with_library.rs"]
mod with_library;

use std::path::Path;

use decoder::fields::event as field;
use decoder::support::{Random, TempDir, check_formula, golden_event};
use decoder::{EventBytes, Log, Stored, check_closed, check_written_by_walrec, decode_log, id_of};
use walrec::recorder::{Config, Manager, SegmentWriter};
use with_library::{append, engine_event, keep_all, open, replay, replay_all, sync};

/// What a session does with the log, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// `append`, one by one.
    Append(u64),
    /// `append_batch`.
    Batch(u64),
    /// `reserve`, fill in place, `commit`; every third reservation is aborted first.
    InPlace(u64),
    /// Leaves out ids: they increase strictly, not by one.
    Skip(u64),
    /// Waits for durability, and has the decoder read the files beside the recorder.
    Sync,
    Rotate,
    /// Clean close, every check, and open again.
    Reopen,
}

/// A log under test, and the ids that it must hold.
struct Session {
    dir: TempDir,
    config: Config,
    recorder: Option<(SegmentWriter, Manager)>,
    ids: Vec<u64>,
    next_id: u64,
}

impl Session {
    fn new(config: Config) -> Self {
        let dir = TempDir::new("format");
        let recorder = Some(open(dir.path(), &config));
        Self { dir, config, recorder, ids: Vec::new(), next_id: 1 }
    }

    fn take_ids(&mut self, count: u64) -> std::ops::Range<u64> {
        let ids = self.next_id..self.next_id + count;
        self.ids.extend(ids.clone());
        self.next_id = ids.end;
        ids
    }

    fn last_id(&self) -> u64 {
        self.ids.last().copied().unwrap_or(0)
    }

    fn run(&mut self, step: Step) {
        let count = match step {
            Step::Append(count) | Step::Batch(count) | Step::InPlace(count) => count,
            _ => 0,
        };
        let ids = self.take_ids(count);
        let last_id = self.last_id();
        let (writer, manager) = self.recorder.as_mut().unwrap();
        match step {
            Step::Append(_) => append(writer, ids),
            Step::Batch(_) => {
                let events: Vec<_> = ids.map(engine_event).collect();
                let (done, result) = writer.append_batch(&events);
                assert_eq!((done, result.is_ok()), (events.len(), true), "{result:?}");
            }
            Step::InPlace(_) => ids.for_each(|id| append_in_place(writer, id)),
            Step::Skip(more) => self.next_id += more,
            Step::Sync => {
                sync(manager, last_id);
                self.check_beside_the_recorder();
            }
            Step::Rotate => writer.rotate().unwrap(),
            Step::Reopen => {
                self.close();
                self.check_closed_log();
                let (writer, manager) = open(self.dir.path(), &self.config);
                assert_eq!(manager.last_event_id(), self.last_id(), "after reopening");
                self.recorder = Some((writer, manager));
            }
        }
    }

    fn close(&mut self) {
        let (writer, manager) = self.recorder.take().unwrap();
        manager.shutdown().unwrap();
        drop((writer, manager));
    }

    /// Everything that is durable stands in the files, by the document's rules alone, while the recorder runs.
    fn check_beside_the_recorder(&self) {
        // The workers rename and cut files between the decoder's look at the names and at the contents.
        let mut tries = 0;
        let log = loop {
            match decode_log(self.dir.path()) {
                Ok(log) => break log,
                Err(why) if tries < 20 => {
                    eprintln!("read beside the workers, again: {why}");
                    tries += 1;
                }
                Err(why) => panic!("beside the recorder: {why}"),
            }
        };
        check_ids(&log.events, &self.ids).unwrap_or_else(|why| panic!("beside the recorder: {why}"));
        check_written_by_walrec(&log).unwrap_or_else(|why| panic!("beside the recorder: {why}"));
    }

    fn check_closed_log(&self) -> Log {
        let check = || {
            let log = decode_log(self.dir.path())?;
            check_ids(&log.events, &self.ids).map_err(|why| format!("decoder: {why}"))?;
            check_written_by_walrec(&log)?;
            check_closed(&log)?;
            check_ids(&replay_all(self.dir.path()), &self.ids).map_err(|why| format!("replay: {why}"))?;
            Ok::<_, String>(log)
        };
        check().unwrap_or_else(|why| panic!("{}: {why}", self.dir.path().display()))
    }
}

fn append_in_place(writer: &mut SegmentWriter, id: u64) {
    if id.is_multiple_of(3) {
        writer.reserve().unwrap();
        writer.abort().unwrap();
    }
    let slot = writer.reserve().unwrap();
    fill(slot, id);
    writer.commit().unwrap();
}

#[allow(unsafe_code, reason = "a reserved slot is filled through its pointer")]
fn fill(slot: std::ptr::NonNull<walrec::format::Event>, id: u64) {
    // SAFETY: the slot was reserved by this thread and not yet committed: 64 writable, aligned bytes, nobody else's.
    unsafe { slot.write(engine_event(id)) };
}

/// These ids in this order, with the formula's bytes.
fn check_ids(events: &[EventBytes], ids: &[u64]) -> Result<(), String> {
    if events.len() != ids.len() {
        return Err(format!("events: expected {}, actual {}", ids.len(), events.len()));
    }
    for (id, event) in ids.iter().zip(events) {
        if event[..field::GUARD.off] != golden_event(*id)[..field::GUARD.off] {
            return Err(format!("event {id}: expected {:02x?}, actual {event:02x?}", golden_event(*id)));
        }
    }
    Ok(())
}

/// Runs the steps in one log, closes it, and checks everything.
fn run(config: Config, steps: &[Step]) -> Log {
    let mut session = Session::new(config);
    for step in steps {
        session.run(*step);
    }
    session.close();
    session.check_closed_log()
}

#[test]
fn every_size_is_written_by_the_document() {
    for count in [1, 255, 256, 257, 4095, 4096, 4097, 10_000] {
        for step in [Step::Append(count), Step::Batch(count), Step::InPlace(count)] {
            let log = run(keep_all(16), &[step]);
            assert_eq!(log.segments.len() as u64, count.div_ceil(4096), "{step:?}");
        }
    }
}

#[test]
fn an_empty_log_is_closed_without_a_segment_and_opened_again() {
    let log = run(keep_all(16), &[]);
    assert_eq!((log.segments.len(), log.events.len()), (0, 0));
    run(keep_all(16), &[Step::Reopen, Step::Reopen, Step::Append(10), Step::Reopen, Step::Reopen]);
    run(keep_all(16), &[Step::Sync, Step::Rotate, Step::Rotate, Step::Reopen, Step::Append(1)]);
}

#[test]
fn early_rotation_is_written_by_the_document() {
    for count in [1, 255, 256, 257, 300, 4095, 4096, 4097] {
        let steps = [Step::Append(count), Step::Rotate, Step::Append(1), Step::Rotate, Step::Rotate, Step::Append(300)];
        let log = run(keep_all(16), &steps);
        let holding = log.segments.iter().filter(|segment| !segment.events.is_empty()).count() as u64;
        assert_eq!(holding, count.div_ceil(4096) + 2, "{count}");
    }
}

/// A clean close at 300, and on and around block and segment boundaries, then more of each kind.
#[test]
fn resuming_after_a_clean_close_is_written_by_the_document() {
    for first in [1, 255, 256, 257, 300, 512, 3840, 4095, 4096, 4097, 4352, 8192] {
        for second in [1, 212, 256, 4096] {
            let steps = [Step::Append(first), Step::Reopen, Step::Append(second), Step::Sync, Step::Reopen];
            run(keep_all(16), &[&steps[..], &[Step::InPlace(45), Step::Reopen, Step::Batch(500)]].concat());
        }
    }
}

/// Taken up again, a partial segment goes on in its file: no segment per open.
#[test]
fn a_partial_segment_is_taken_up_again() {
    let steps = [Step::Append(300), Step::Reopen].repeat(6);
    let log = run(keep_all(16), &steps);
    assert_eq!(log.segments.len(), 1, "six sessions of 300 events fit one segment");
}

#[test]
fn syncs_after_every_few_events_are_written_by_the_document() {
    let steps: Vec<Step> =
        [1, 7, 56, 63, 64, 65, 255, 256, 257, 1000, 4096].iter().flat_map(|n| [Step::Append(*n), Step::Sync]).collect();
    run(keep_all(16), &steps);
    run(keep_all(17), &steps);
}

#[test]
fn every_geometry_is_written_by_the_document() {
    for num_blocks in [16, 17, 31, 64, 65, 100, 512] {
        let per_segment = u64::from(num_blocks) * 256;
        let steps = [Step::Batch(per_segment + 300), Step::Sync, Step::Reopen, Step::Batch(per_segment), Step::Rotate];
        let log = run(keep_all(num_blocks), &steps);
        for segment in &log.segments {
            assert_eq!(segment.capacity, num_blocks as usize);
        }
    }
}

/// More hot segments than wanted: the oldest are frozen, in frames of 64 blocks, and stay readable from any event.
#[test]
fn frozen_segments_are_written_by_the_document() {
    for num_blocks in [16, 64, 65, 130] {
        let per_segment = u64::from(num_blocks) * 256;
        let config = Config { max_segments: 2, ..keep_all(num_blocks) };
        let mut session = Session::new(config);
        for _ in 0..5 {
            session.run(Step::Batch(per_segment));
        }
        session.run(Step::Reopen);
        session.run(Step::Batch(per_segment + 44));
        session.close();
        let log = session.check_closed_log();
        let frozen = log.segments.iter().filter(|segment| segment.stored == Stored::FrozenInManyFrames).count();
        assert!(frozen >= 3, "{num_blocks} blocks: {frozen} of {} segments are frozen", log.segments.len());
        for from in [1, 2, 256, 257, per_segment, per_segment + 1, 2 * per_segment + 16_385] {
            let (events, fault) = replay(session.dir.path(), from);
            assert_eq!(fault, None, "from {from}");
            check_formula(&events, from, session.last_id()).unwrap_or_else(|why| panic!("from {from}: {why}"));
        }
    }
}

/// Retired segments leave a log that begins later, and is right from there.
#[test]
fn retention_leaves_a_log_by_the_document() {
    let config = Config { max_segments: 2, max_compressed_segments: 2, ..keep_all(16) };
    let mut session = Session::new(config);
    for _ in 0..30 {
        session.run(Step::Batch(4096));
    }
    session.close();
    let log = decode_log(session.dir.path()).unwrap();
    check_written_by_walrec(&log).unwrap();
    check_closed(&log).unwrap();
    let first = id_of(&log.events[0]);
    eprintln!("retention: {} segments left, from event {first}", log.segments.len());
    assert!(first > 1 && log.segments.len() < 30, "nothing was retired");
    check_formula(&log.events, first, 30 * 4096).unwrap();
    check_formula(&replay_all(session.dir.path()), first, 30 * 4096).unwrap();
}

#[test]
fn random_sessions_are_written_by_the_document() {
    let mut random = Random::new("random_sessions_are_written_by_the_document");
    for round in 0..40 {
        let num_blocks = u32::try_from(16 + random.below(4)).unwrap();
        let max_segments = if random.below(4) == 0 { 2 } else { u32::MAX };
        let mut steps = Vec::new();
        for _ in 0..3 + random.below(20) {
            let few = 1 + random.below(600);
            steps.push(match random.below(12) {
                0..3 => Step::Append(few),
                3..5 => Step::Batch(few),
                5..7 => Step::InPlace(few),
                7 => Step::Batch(few * 10),
                8 => Step::Skip(few),
                9 => Step::Rotate,
                10 => Step::Reopen,
                // Beside freezing the files change too often to be read.
                _ if max_segments == 2 => Step::Append(1),
                _ => Step::Sync,
            });
        }
        eprintln!("round {round}: {num_blocks} blocks, max_segments {max_segments}: {steps:?}");
        run(Config { max_segments, ..keep_all(num_blocks) }, &steps);
    }
}

#[test]
fn the_log_directory_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let parent = TempDir::new("private");
    let dir = parent.path().join("log");
    let (mut writer, manager) = open(&dir, &keep_all(16));
    append(&mut writer, 1..=10);
    manager.shutdown().unwrap();
    drop((writer, manager));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for name in ["FS.00000000.wal", "wal_meta.dat", "walrec.id", "walrec.stage"] {
        assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
    }
}
