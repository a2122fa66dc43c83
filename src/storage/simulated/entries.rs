//! Changes of directory entries that are not yet durable, and which of them stand or fall together.
//!
//! One list for the whole world, in the order of the calls, as a journal has it. A rename is one change: no state holds
//! half of it. What is durable of a file's bytes does not matter here: a name can be durable and lead to an empty file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::world::errno;

/// A directory's number, and a name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) directory: u64,
    pub(super) name: String,
}

/// One change: a creation only adds, a removal only removes, a rename does both at once.
#[derive(Clone, Debug)]
pub(super) struct EntryChange {
    /// What the entry leads to.
    pub(super) inode: u64,
    pub(super) removes: Option<Key>,
    pub(super) adds: Option<Key>,
}

impl EntryChange {
    pub(super) fn touches(&self, directory: u64) -> bool {
        self.keys().any(|key| key.directory == directory)
    }

    /// The directories with an entry in this change.
    pub(super) fn directories(&self) -> impl Iterator<Item = u64> {
        self.keys().map(|key| key.directory)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.removes.iter().chain(&self.adds)
    }

    fn is_rename(&self) -> bool {
        self.removes.is_some() && self.adds.is_some()
    }

    /// Whether this change on the disk means that `earlier` is there too, in any sensible file system.
    fn needs(&self, earlier: &Self) -> bool {
        let same_inode_renamed = earlier.is_rename() && earlier.inode == self.inode;
        // Else the new entry would overwrite the only name of the one that had moved away.
        let name_was_vacated = earlier.is_rename() && self.adds.is_some() && self.adds == earlier.removes;
        // Else the move would take a file out of the tree.
        let makes_target = self.is_rename()
            && earlier.adds.is_some()
            && self.adds.as_ref().is_some_and(|key| key.directory == earlier.inode);
        same_inode_renamed || name_was_vacated || makes_target
    }

    fn shares_a_name_with(&self, other: &Self) -> bool {
        self.keys().any(|key| other.keys().any(|another| key == another))
    }

    fn apply(&self, entries: &mut Entries) {
        // Another inode there came with a change that this one is not the inverse of.
        if let Some(Key { directory, name }) = &self.removes
            && let Some(names) = entries.get_mut(directory)
            && names.get(name) == Some(&self.inode)
        {
            names.remove(name);
        }
        if let Some(Key { directory, name }) = &self.adds
            && let Some(names) = entries.get_mut(directory)
        {
            names.insert(name.clone(), self.inode);
        }
    }
}

/// Durable entries by directory.
pub(super) type Entries = BTreeMap<u64, BTreeMap<String, u64>>;

/// Applies the chosen changes in their order; directories that are not in `entries` are passed over.
pub(super) fn apply_chosen(changes: &[EntryChange], chosen: &[bool], entries: &mut Entries) {
    for (change, _) in changes.iter().zip(chosen).filter(|(_, chosen)| **chosen) {
        change.apply(entries);
    }
}

/// Adds to the chosen changes those that they cannot be on the disk without.
pub(super) fn choose_needed(changes: &[EntryChange], chosen: &mut [bool]) {
    choose_back(changes, chosen, EntryChange::needs);
}

/// The changes that a sync of `directory` makes durable: its own and what they stand on.
///
/// Stricter than [`choose_needed`]: earlier changes of the same names come along, so that none is left to undo a later one.
pub(super) fn chosen_by_sync(changes: &[EntryChange], directory: u64) -> Vec<bool> {
    let mut chosen: Vec<bool> = changes.iter().map(|change| change.touches(directory)).collect();
    choose_back(changes, &mut chosen, |change, earlier| change.needs(earlier) || change.shares_a_name_with(earlier));
    chosen
}

fn choose_back(changes: &[EntryChange], chosen: &mut [bool], needs: impl Fn(&EntryChange, &EntryChange) -> bool) {
    for later in (0..changes.len()).rev() {
        if chosen[later] {
            for earlier in 0..later {
                chosen[earlier] |= needs(&changes[later], &changes[earlier]);
            }
        }
    }
}

/// A plain name: no path may sneak in.
pub(super) fn plain(name: &str) -> io::Result<&str> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(errno(libc::EINVAL));
    }
    Ok(name)
}

/// The names on the way from the root; a path that does not begin there is taken as if it did.
pub(super) fn names_of(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                // All names here are text, so there is no other.
                names.push(name.to_str().ok_or_else(|| errno(libc::ENOENT))?.to_owned());
            }
            Component::ParentDir => drop(names.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(names)
}

/// The path with those names.
pub(super) fn path_of(names: &[String]) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(names);
    path
}
