//! Write-ahead logs from crates.io.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use okaywal::{Configuration, LogManager, SegmentReader, WriteAheadLog};
use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use walrus_rust::{FsyncSchedule, ReadConsistency};

use crate::event::Event;
use crate::peer::{self, Outcome, Peer, Purpose, Survives};

const GROUP: u64 = 1;

/// Each event is an entry of one group, its index the event's id.
pub struct RaftEngine {
    engine: Engine,
    batch: LogBatch,
    entry: [BytesValue; 1],
    purpose: Purpose,
}

struct Entries;

impl MessageExt for Entries {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().copied().map_or(0, u64::from_le_bytes)
    }
}

impl RaftEngine {
    fn engine(dir: &Path) -> Outcome<Engine> {
        let dir = dir.to_str().ok_or("the path is not UTF-8")?.to_owned();
        let config = Config { dir, batch_compression_threshold: ReadableSize(0), ..Config::default() };
        Ok(Engine::open(config)?)
    }
}

impl Peer for RaftEngine {
    const NAME: &'static str = "raft-engine";
    const SURVIVES: Survives = Survives::Kill;
    const LIES_IN: &'static str = "page cache; synced when a file of 128 MB is full";
    const SETTINGS: &'static str = "no compression, nothing purged; one LogBatch each event, one for all of a sync";

    fn version() -> String {
        env!("VERSION_RAFT_ENGINE").into()
    }

    fn open(dir: &Path, purpose: Purpose) -> Outcome<Self> {
        let engine = Self::engine(dir)?;
        Ok(Self { engine, batch: LogBatch::with_capacity(1024), entry: [BytesValue::new()], purpose })
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        self.entry[0].value.clear();
        self.entry[0].value.extend_from_slice(event.bytes());
        self.batch.add_entries::<Entries>(GROUP, &self.entry)?;
        if self.purpose == Purpose::Accepting {
            self.engine.write(&mut self.batch, false)?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Outcome<()> {
        if self.batch.is_empty() {
            // An empty batch is not even synced.
            self.batch.put(GROUP, b"sync".to_vec(), Vec::new())?;
        }
        self.engine.write(&mut self.batch, true)?;
        Ok(())
    }

    fn replay(dir: &Path, each: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let engine = Self::engine(dir)?;
        let Some(last) = engine.last_index(GROUP) else { return Ok(()) };
        for index in engine.first_index(GROUP).unwrap_or(1)..=last {
            let entry = engine.get_entry::<Entries>(GROUP, index)?;
            each(entry.as_ref().map_or(&[], |entry| &entry.value));
        }
        Ok(())
    }
}

/// Commits are synced: there is nothing else.
pub struct OkayWal {
    log: WriteAheadLog,
    gathered: Vec<Event>,
    purpose: Purpose,
}

/// Keeps what recovery gives.
#[derive(Debug, Default, Clone)]
struct Recovered(Arc<Mutex<Vec<Vec<u8>>>>);

impl LogManager for Recovered {
    fn recover(&mut self, entry: &mut okaywal::Entry<'_>) -> io::Result<()> {
        if let Some(chunks) = entry.read_all_chunks()? {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(chunks);
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: okaywal::EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

impl OkayWal {
    fn log(dir: &Path, manager: Recovered) -> io::Result<WriteAheadLog> {
        let config = Configuration::default_for(dir);
        config.preallocate_bytes(64 << 20).checkpoint_after_bytes(60 << 20).open(manager)
    }
}

impl Peer for OkayWal {
    const NAME: &'static str = "okaywal";
    const SURVIVES: Survives = Survives::Power;
    const LIES_IN: &'static str = "the disk, synced";
    const SETTINGS: &'static str =
        "64 MiB a file, checkpoint after 60; one entry each event, one of many chunks for all of a sync";

    fn version() -> String {
        env!("VERSION_OKAYWAL").into()
    }

    fn open(dir: &Path, purpose: Purpose) -> Outcome<Self> {
        Ok(Self { log: Self::log(dir, Recovered::default())?, gathered: Vec::new(), purpose })
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        if self.purpose == Purpose::Syncing {
            self.gathered.push(*event);
            return Ok(());
        }
        let mut entry = self.log.begin_entry()?;
        entry.write_chunk(event.bytes())?;
        entry.commit()?;
        Ok(())
    }

    fn sync(&mut self) -> Outcome<()> {
        if !self.gathered.is_empty() {
            let mut entry = self.log.begin_entry()?;
            for event in self.gathered.drain(..) {
                entry.write_chunk(event.bytes())?;
            }
            entry.commit()?;
        }
        Ok(())
    }

    fn replay(dir: &Path, each: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let recovered = Recovered::default();
        let _log = Self::log(dir, recovered.clone())?;
        recovered.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|record| each(record));
        Ok(())
    }
}

/// Appends gather in memory until a commit.
pub struct OpenWal(open_wal::Wal);

impl Peer for OpenWal {
    const NAME: &'static str = "open-wal";
    const SURVIVES: Survives = Survives::Nothing;
    const LIES_IN: &'static str = "memory of the process, until a commit";
    const SETTINGS: &'static str = "defaults; append, and commit for a sync";

    fn version() -> String {
        env!("VERSION_OPEN_WAL").into()
    }

    fn open(dir: &Path, _: Purpose) -> Outcome<Self> {
        Ok(Self(open_wal::Wal::open(dir, open_wal::WalConfig::default())?.0))
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        self.0.append(event.bytes())?;
        Ok(())
    }

    fn sync(&mut self) -> Outcome<()> {
        self.0.commit()?;
        Ok(())
    }

    fn replay(dir: &Path, each: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let wal = Self::open(dir, Purpose::Accepting)?.0;
        let mut reader = wal.reader_from(open_wal::Lsn(0))?;
        while let Some(record) = reader.next() {
            each(record?.1);
        }
        Ok(())
    }
}

/// A write for each append, into one file.
pub struct WalDb(wal_db::Wal);

impl Peer for WalDb {
    const NAME: &'static str = "wal-db";
    const SURVIVES: Survives = Survives::Kill;
    const LIES_IN: &'static str = "page cache; nothing syncs it behind";
    const SETTINGS: &'static str = "defaults, one file; append, and sync";

    fn version() -> String {
        env!("VERSION_WAL_DB").into()
    }

    fn open(dir: &Path, _: Purpose) -> Outcome<Self> {
        Ok(Self(wal_db::Wal::open(peer::log_in(dir))?))
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        let _lsn = self.0.append(event.bytes())?;
        Ok(())
    }

    fn sync(&mut self) -> Outcome<()> {
        Ok(self.0.sync()?)
    }

    fn replay(dir: &Path, each: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let wal = Self::open(dir, Purpose::Accepting)?.0;
        for record in wal.iter()? {
            each(record?.data());
        }
        Ok(())
    }
}

/// A write for each append; a batch is synced, and is the only thing that is.
pub struct Walrus {
    log: walrus_rust::Walrus,
    gathered: Vec<Event>,
    purpose: Purpose,
}

impl Walrus {
    const TOPIC: &'static str = "events";
    /// More are refused.
    const MOST: usize = 2000;

    fn log(dir: &Path) -> Outcome<walrus_rust::Walrus> {
        // SAFETY: no other thread of this process runs yet.
        unsafe {
            std::env::set_var("WALRUS_DATA_DIR", dir);
            std::env::set_var("WALRUS_QUIET", "1");
        }
        let consistency = ReadConsistency::AtLeastOnce { persist_every: u32::MAX };
        Ok(walrus_rust::Walrus::with_consistency_and_schedule(consistency, FsyncSchedule::Milliseconds(200))?)
    }
}

impl Peer for Walrus {
    const NAME: &'static str = "walrus-rust";
    const SURVIVES: Survives = Survives::Kill;
    const LIES_IN: &'static str = "page cache; synced behind each 200 ms";
    const SETTINGS: &'static str =
        "its default file backend, synced each 200 ms behind; a synced batch for all of a sync; WALRUS_QUIET";

    fn version() -> String {
        env!("VERSION_WALRUS_RUST").into()
    }

    fn open(dir: &Path, purpose: Purpose) -> Outcome<Self> {
        Ok(Self { log: Self::log(dir)?, gathered: Vec::new(), purpose })
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        match self.purpose {
            Purpose::Accepting => self.log.append_for_topic(Self::TOPIC, event.bytes())?,
            Purpose::Syncing => self.gathered.push(*event),
        }
        Ok(())
    }

    fn sync(&mut self) -> Outcome<()> {
        // There is no call that syncs what was appended, but a batch syncs its whole file.
        let batch: Vec<&[u8]> = self.gathered.iter().map(|event| &event.bytes()[..]).collect();
        let batch = if batch.is_empty() { vec![&b"sync"[..]] } else { batch };
        for portion in batch.chunks(Self::MOST) {
            self.log.batch_append_for_topic(Self::TOPIC, portion)?;
        }
        self.gathered.clear();
        Ok(())
    }

    fn replay(dir: &Path, each: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let log = Self::log(dir)?;
        loop {
            let records = log.batch_read_for_topic(Self::TOPIC, 1 << 20, true)?;
            if records.is_empty() {
                return Ok(());
            }
            records.iter().for_each(|record| each(&record.data));
        }
    }
}
