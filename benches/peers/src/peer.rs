//! What a peer is to the benchmark, and what it says of itself.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use crate::child::{self, Act};
use crate::event::{self, Event};

/// A failure's text ends the child that measures; its row then says so.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// What an accepted event outlives, before any sync.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    /// It lies in memory of the process.
    Nothing,
    /// It lies in the page cache or in shared memory.
    Kill,
    /// It was synced before it was accepted.
    Power,
}

impl Survives {
    /// As the tables say it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Kill => "kill -9",
            Self::Power => "power loss",
        }
    }
}

/// What the log is opened for, where its settings differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Events are accepted one by one; whatever the peer does in the background runs.
    Accepting,
    /// A sync follows each few events: they may be gathered in memory until then, as one batch.
    Syncing,
}

/// The file of a log that is one.
pub fn log_in(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// A log that events are put into.
pub trait Peer: Sized {
    /// How `PEERS=` and the tables call it.
    const NAME: &'static str;
    /// What an event accepted with [`Purpose::Accepting`] outlives.
    const SURVIVES: Survives;
    /// Where such an event lies, and what becomes of it without a sync.
    const LIES_IN: &'static str;
    /// Settings that are not its defaults.
    const SETTINGS: &'static str;
    /// Its `sync` makes durable. Else it is in the first table alone, and `sync` only waits until nothing is pending.
    const SYNCS: bool = true;
    /// It can give back what it holds.
    const REPLAYS: bool = true;

    /// Its version; of what is nothing but calls to the kernel, the kernel's.
    fn version() -> String {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        format!("Linux {}", release.split(['-', '\n']).next().unwrap_or_default())
    }
    /// Opens a new log, in a directory that is there and empty.
    fn open(dir: &Path, purpose: Purpose) -> Outcome<Self>;
    /// Takes one event.
    fn append(&mut self, event: &Event) -> Outcome<()>;
    /// Everything appended is durable when it returns.
    fn sync(&mut self) -> Outcome<()>;
    /// Opens a log that a killed process left, and gives its records in order; of a bare file, up to the first that is zero.
    fn replay(dir: &Path, each: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let bytes = fs::read(log_in(dir))?;
        bytes.chunks(event::BYTES).take_while(|record| !record.starts_with(&[0; 8])).for_each(each);
        Ok(())
    }
}

/// A peer as the tables know it.
pub struct Row {
    /// [`Peer::NAME`].
    pub name: &'static str,
    /// [`Peer::version`].
    pub version: String,
    /// [`Peer::SURVIVES`].
    pub survives: Survives,
    /// [`Peer::LIES_IN`].
    pub lies_in: &'static str,
    /// [`Peer::SETTINGS`].
    pub settings: &'static str,
    /// [`Peer::SYNCS`].
    pub syncs: bool,
    /// [`Peer::REPLAYS`].
    pub replays: bool,
    /// Does one act with it, in a process of its own; or why it is not there.
    pub act: Result<fn(&Act) -> Outcome<()>, &'static str>,
}

impl Row {
    /// A peer that was built.
    pub fn of<P: Peer>() -> Self {
        Self {
            name: P::NAME,
            version: P::version(),
            survives: P::SURVIVES,
            lies_in: P::LIES_IN,
            settings: P::SETTINGS,
            syncs: P::SYNCS,
            replays: P::REPLAYS,
            act: Ok(child::perform::<P>),
        }
    }

    /// A peer that was not.
    #[allow(dead_code, reason = "unused where all are there")]
    pub fn absent(name: &'static str, why: &'static str) -> Self {
        let version = String::from("-");
        let (survives, lies_in, settings) = (Survives::Nothing, "-", "-");
        Self { name, version, survives, lies_in, settings, syncs: true, replays: true, act: Err(why) }
    }
}
