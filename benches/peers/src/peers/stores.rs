//! Stores whose log is part of them: LMDB and SQLite, by crates that bring their C sources.

use std::path::Path;

use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use heed::{Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RwTxn};
use rusqlite::{Connection, Statement, params};

use crate::event::Event;
use crate::peer::{Outcome, Peer, Purpose, Survives};

type Events = Database<U64<BigEndian>, Bytes>;

/// A B-tree, appended to at its end; no log at all.
pub struct Lmdb {
    env: &'static Env,
    events: Events,
    open: Option<RwTxn<'static>>,
    purpose: Purpose,
}

impl Lmdb {
    fn env(dir: &Path, flags: EnvFlags) -> Outcome<Env> {
        // SAFETY: one process at a time has the directory, and once only. The flags give up power loss, which is said.
        unsafe { Ok(EnvOpenOptions::new().map_size(8 << 30).flags(flags).open(dir)?) }
    }
}

impl Peer for Lmdb {
    const NAME: &'static str = "LMDB";
    const SURVIVES: Survives = Survives::Kill;
    const LIES_IN: &'static str = "page cache; nothing syncs it behind";
    const SETTINGS: &'static str =
        "MDB_APPEND; a transaction with MDB_NOSYNC and MDB_WRITEMAP each event, a synced one for all of a sync";

    fn version() -> String {
        let version = heed::lmdb_version();
        format!("{}.{}.{}", version.major, version.minor, version.patch)
    }

    fn open(dir: &Path, purpose: Purpose) -> Outcome<Self> {
        let flags = match purpose {
            Purpose::Accepting => EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP,
            Purpose::Syncing => EnvFlags::empty(),
        };
        let env: &'static Env = Box::leak(Box::new(Self::env(dir, flags)?));
        let mut begin = env.write_txn()?;
        let events = env.create_database(&mut begin, None)?;
        begin.commit()?;
        Ok(Self { env, events, open: None, purpose })
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        let mut transaction = match self.open.take() {
            Some(open) => open,
            None => self.env.write_txn()?,
        };
        self.events.put_with_flags(&mut transaction, PutFlags::APPEND, &event.event_id, event.bytes())?;
        match self.purpose {
            Purpose::Accepting => transaction.commit()?,
            Purpose::Syncing => self.open = Some(transaction),
        }
        Ok(())
    }

    fn sync(&mut self) -> Outcome<()> {
        match self.open.take() {
            Some(open) => open.commit()?,
            None => self.env.force_sync()?,
        }
        Ok(())
    }

    fn replay(dir: &Path, each: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let env = Self::env(dir, EnvFlags::empty())?;
        let read = env.read_txn()?;
        let Some(events) = env.open_database::<U64<BigEndian>, Bytes>(&read, None)? else { return Ok(()) };
        for record in events.iter(&read)? {
            each(record?.1);
        }
        Ok(())
    }
}

/// A table, behind SQLite's write-ahead log.
pub struct Sqlite {
    connection: &'static Connection,
    insert: Statement<'static>,
    in_transaction: bool,
    purpose: Purpose,
}

impl Sqlite {
    fn connection(dir: &Path, synchronous: &str) -> Outcome<Connection> {
        let connection = Connection::open(dir.join("log.db"))?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        Ok(connection)
    }
}

impl Peer for Sqlite {
    const NAME: &'static str = "SQLite";
    const SURVIVES: Survives = Survives::Kill;
    const LIES_IN: &'static str = "page cache; synced at each checkpoint";
    const SETTINGS: &'static str = "WAL, exclusive locking, prepared insert; a transaction with synchronous=NORMAL each event, \
         one with FULL for all of a sync";

    fn version() -> String {
        rusqlite::version().into()
    }

    fn open(dir: &Path, purpose: Purpose) -> Outcome<Self> {
        let synchronous = if purpose == Purpose::Accepting { "NORMAL" } else { "FULL" };
        let connection: &'static Connection = Box::leak(Box::new(Self::connection(dir, synchronous)?));
        connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, event BLOB NOT NULL)", [])?;
        let insert = connection.prepare("INSERT INTO events VALUES (?1, ?2)")?;
        Ok(Self { connection, insert, in_transaction: false, purpose })
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        if self.purpose == Purpose::Syncing && !self.in_transaction {
            self.connection.execute_batch("BEGIN")?;
            self.in_transaction = true;
        }
        self.insert.execute(params![event.event_id as i64, &event.bytes()[..]])?;
        Ok(())
    }

    fn sync(&mut self) -> Outcome<()> {
        if self.in_transaction {
            self.connection.execute_batch("COMMIT")?;
            self.in_transaction = false;
        } else {
            self.connection.query_row("PRAGMA wal_checkpoint", [], |_| Ok(()))?;
        }
        Ok(())
    }

    fn replay(dir: &Path, each: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let connection = Self::connection(dir, "FULL")?;
        let mut select = connection.prepare("SELECT event FROM events ORDER BY id")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            each(row.get_ref(0)?.as_blob()?);
        }
        Ok(())
    }
}
