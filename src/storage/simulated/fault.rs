//! Faults that a test asks for, one kind of call at a time.

use std::io;

const MACHINE_OFF: &str = "simulated: machine is off";
const PROCESS_GONE: &str = "simulated: process is gone";

/// A kind of call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Opening a file or a directory that is there.
    Open,
    /// `File::read_at`.
    Read,
    /// `File::write_at`.
    Write,
    /// `File::sync_data`.
    SyncData,
    /// `Directory::sync`, also the one inside `System::create_directory`.
    SyncDirectory,
    /// Every rename: `rename`, `rename_new`, `move_into`, `rename_directory`.
    Rename,
    /// Creating a file or a directory.
    Create,
    /// Removing a file or a directory.
    Remove,
    /// `File::allocate`.
    Allocate,
    /// `File::set_len`.
    SetLen,
    /// `File::map`.
    Map,
    /// `Directory::names`.
    List,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Open,
        Self::Read,
        Self::Write,
        Self::SyncData,
        Self::SyncDirectory,
        Self::Rename,
        Self::Create,
        Self::Remove,
        Self::Allocate,
        Self::SetLen,
        Self::Map,
        Self::List,
    ];
    pub(super) const COUNT: usize = Self::ALL.len();
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Once; the calls after it succeed.
    Once,
    /// At that call and every one after it.
    Forever,
}

/// What a fault does to its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The call fails with this errno and changes nothing; a failing sync loses its claim on the unsynced pages.
    Errno(i32),
    /// A write writes, or a read reads, at most this many bytes; no other call is changed by it.
    Short(usize),
}

/// A fault to come.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The calls it counts.
    pub kind: OperationKind,
    /// Counts only calls on files or directories whose path contains this text; all when `None`.
    pub path_part: Option<String>,
    /// Which of those calls is the first to be struck; 1 is the next one, 0 counts as 1.
    pub nth: u64,
    /// What happens to it.
    pub effect: Effect,
    /// Whether it happens again.
    pub repeat: Repeat,
}

/// The faults to come, each counting for itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts a call; gives what strikes it. When two do, the one asked for first wins.
    pub(super) fn strike(&mut self, kind: OperationKind, path: &str) -> Option<Effect> {
        let mut effect = None;
        self.0.retain_mut(|fault| {
            if fault.kind != kind || fault.path_part.as_ref().is_some_and(|part| !path.contains(part)) {
                return true;
            }
            if fault.nth > 1 {
                fault.nth -= 1;
                return true;
            }
            effect = effect.or(Some(fault.effect));
            fault.repeat == Repeat::Forever
        });
        effect
    }
}

/// The error of every changing call from the crash point on.
pub(super) fn machine_off() -> io::Error {
    io::Error::other(MACHINE_OFF)
}

/// The error of a changing call through an object of a killed process.
pub(super) fn process_gone() -> io::Error {
    io::Error::other(PROCESS_GONE)
}

/// Whether this error means that the simulated machine or process had ended: the recorder is to be dropped, not judged.
#[must_use]
pub fn is_machine_off(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Other
        && error.get_ref().is_some_and(|inner| {
            let text = inner.to_string();
            text == MACHINE_OFF || text == PROCESS_GONE
        })
}
