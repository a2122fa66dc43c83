//! Readers that stay open while recorders close, open, and go on: every event once, in order, no fault and no range.
//!
//! A sealed last segment is written on by the next recorder, and sealed anew; an empty prepared one is removed and prepared anew. What a
//! reader knew of either is then of another segment.

use std::path::Path;

use crate::decoder::support::TempDir;
use crate::with_library::{append, keep_all, open, sync};
use walrec::recorder::{Config, Manager as Recorder, SegmentWriter};
use walrec::recovery::{Error, Item, Manager, Salvager, verify};

/// Both ways of reading.
enum Reader {
    Strict(Manager),
    Salvaging(Salvager),
}

impl Reader {
    fn both(dir: &Path, from: u64) -> [Self; 2] {
        [Self::Strict(Manager::open(dir, from).unwrap()), Self::Salvaging(Salvager::open(dir, from).unwrap())]
    }

    fn next(&mut self) -> Result<Option<u64>, Error> {
        match self {
            Self::Strict(reader) => Ok(reader.next()?.map(|event| event.event_id)),
            Self::Salvaging(reader) => match reader.next()? {
                Item::Event(event) => Ok(Some(event.event_id)),
                Item::End => Ok(None),
                Item::Gap(gap) => panic!("a range in a sound log: {gap:?}"),
            },
        }
    }

    /// Gives all from `first` to `last`, and then the end, twice.
    fn gives(&mut self, first: u64, last: u64, what: &str) {
        for id in (first..=last).map(Some).chain([None, None]) {
            assert_eq!(self.next().unwrap_or_else(|why| panic!("{what}, for {id:?}: {why}")), id, "{what}");
        }
    }
}

fn session(dir: &Path, config: &Config, ids: std::ops::RangeInclusive<u64>) -> (SegmentWriter, Recorder) {
    let (mut writer, recorder) = open(dir, config);
    append(&mut writer, ids.clone());
    sync(&recorder, *ids.end());
    (writer, recorder)
}

fn close((writer, recorder): (SegmentWriter, Recorder)) {
    recorder.shutdown().unwrap();
    drop((writer, recorder));
}

/// The reader stands inside the sealed segment, or at its end; the recorder writes on in it, into further segments, freezes them, and is
/// still running or closed again.
#[test]
fn a_sealed_segment_that_is_written_on_under_a_reader() {
    let frozen = Config { max_segments: 2, ..keep_all(16) };
    for (given, last) in [(1, 5_010), (1, 40_000), (5_000, 5_010), (5_000, 8_000), (5_000, 60_000)] {
        for (config, closes) in [(keep_all(16), true), (keep_all(16), false), (frozen.clone(), true)] {
            let dir = TempDir::new("reopened");
            close(session(dir.path(), &config, 1..=5_000));
            let mut readers = Reader::both(dir.path(), 0);
            for reader in &mut readers {
                for id in 1..=given {
                    assert_eq!(reader.next().unwrap(), Some(id));
                }
                if given == 5_000 {
                    assert_eq!(reader.next().unwrap(), None);
                }
            }
            let mut running = Some(session(dir.path(), &config, 5_001..=last));
            if closes && let Some(running) = running.take() {
                close(running);
            }
            let what = format!("{given} given, then up to {last}, closed: {closes}, {} hot", config.max_segments);
            for reader in &mut readers {
                reader.gives(given + 1, last, &what);
            }
            assert!(verify(dir.path()).unwrap().fault.is_none(), "{what}");
            if let Some(running) = running {
                close(running);
            }
        }
    }
}

#[test]
fn a_log_that_was_empty_when_it_was_opened() {
    for blocks in [16, 32] {
        let dir = TempDir::new("empty");
        let first = open(dir.path(), &keep_all(16));
        let mut readers = Reader::both(dir.path(), 0);
        for reader in &mut readers {
            assert_eq!(reader.next().unwrap(), None);
        }
        close(first);
        let second = session(dir.path(), &keep_all(blocks), 1..=100);
        for reader in &mut readers {
            reader.gives(1, 100, "empty, then another recorder");
        }
        close(second);
    }
}

/// A follower beside recorders that open, append a little, and close, again and again.
#[test]
fn a_follower_through_many_recorders() {
    const EACH: u64 = 700;
    const RECORDERS: u64 = 40;
    let dir = TempDir::new("through");
    close(session(dir.path(), &keep_all(16), 1..=EACH));
    let last = RECORDERS * EACH;
    std::thread::scope(|scope| {
        let followers: Vec<_> = Reader::both(dir.path(), 0)
            .into_iter()
            .map(|mut reader| {
                scope.spawn(move || {
                    let mut ends = 0_u64;
                    let mut expected = 1;
                    while expected <= last {
                        match reader.next().unwrap_or_else(|why| panic!("after {}: {why}", expected - 1)) {
                            Some(id) => {
                                assert_eq!(id, expected);
                                expected += 1;
                            }
                            None => ends += 1,
                        }
                    }
                    ends
                })
            })
            .collect();
        let verified = scope.spawn(|| {
            let mut events = 0;
            let mut rounds = 0_u64;
            while events < last {
                let report = verify(dir.path()).unwrap();
                assert!(report.fault.is_none(), "{:?}", report.fault);
                (events, rounds) = (report.events, rounds + 1);
            }
            rounds
        });
        for round in 1..RECORDERS {
            close(session(dir.path(), &keep_all(16), round * EACH + 1..=(round + 1) * EACH));
        }
        let ends: Vec<u64> = followers.into_iter().map(|follower| follower.join().unwrap()).collect();
        let rounds = verified.join().unwrap();
        eprintln!(
            "FIGURE followers through {RECORDERS} recorders: {last} events once each, {ends:?} ends, {rounds} verifications beside"
        );
    });
}

/// What the file holds may not be durable yet, while the first event that is asked for is already written.
#[test]
fn a_reader_from_an_event_that_is_not_durable_yet() {
    let dir = TempDir::new("not-durable");
    let mut config = keep_all(16);
    config.stage_dir = Some(dir.path().join("unseen"));
    std::fs::create_dir(dir.path().join("unseen")).unwrap();
    let log = dir.path().join("log");
    let running = session(&log, &config, 1..=4_096);
    // The durable position is what wal_meta.dat last said, where the stage cannot be seen.
    let meta = || std::fs::read(log.join("wal_meta.dat")).unwrap_or_default();
    let begin = std::time::Instant::now();
    while !meta().ends_with(&4_096_u64.to_le_bytes()) {
        assert!(begin.elapsed().as_secs() < 60, "wal_meta.dat does not move");
        std::thread::yield_now();
    }
    let stage = std::fs::read_dir(dir.path().join("unseen")).unwrap().next().unwrap().unwrap().path();
    let hidden = dir.path().join("hidden");
    std::fs::rename(&stage, &hidden).unwrap();
    let (mut writer, recorder) = running;
    append(&mut writer, 4_097..=4_300);
    sync(&recorder, 4_300);
    for from in [4_097, 4_200] {
        for reader in &mut Reader::both(&log, from) {
            // Unless the position has moved meanwhile, once each second.
            match reader.next().unwrap_or_else(|why| panic!("from {from}: {why}")) {
                None => {}
                Some(id) => assert_eq!(id, from),
            }
        }
    }
    std::fs::rename(&hidden, &stage).unwrap();
    for from in [4_097, 4_200] {
        for reader in &mut Reader::both(&log, from) {
            reader.gives(from, 4_300, "durable by now");
        }
    }
    close((writer, recorder));
}
