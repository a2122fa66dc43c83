//! What a peer is to the benchmark, and what it says of itself.

use std::error::Error;
use std::path::Path;

use crate::child::{self, Act};
use crate::event::Event;

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

    /// Its version.
    fn version() -> String;
    /// Opens a new log, in a directory that is there and empty.
    fn open(dir: &Path, purpose: Purpose) -> Outcome<Self>;
    /// Takes one event.
    fn append(&mut self, event: &Event) -> Outcome<()>;
    /// Everything appended is durable when it returns.
    fn sync(&mut self) -> Outcome<()>;
    /// Opens a log that a killed process left, and gives its records in order.
    fn replay(dir: &Path, each: &mut dyn FnMut(&[u8])) -> Outcome<()>;
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
