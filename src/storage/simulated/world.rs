//! The state behind the simulated calls: nodes, entries, locks, faults, space.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::crash::Snapshot;
use super::disk::{FileNode, Image};
use super::entries::{self, Entries, EntryChange, Key, names_of, plain};
use super::fault::{self, Effect, Faults, OperationKind};
use super::random::SplitMix;
use crate::format::Id128;

/// The root directory's number, as ext4 has it.
pub(super) const ROOT: u64 = 2;
pub(super) const MEMORY_DIRECTORY: &str = "/dev/shm";
const DISK_DEVICE: u64 = 1;
const MEMORY_DEVICE: u64 = 2;
const CLOCK_STEP_NS: u64 = 1000;
const CLOCK_START_NS: u64 = 1_700_000_000_000_000_000;

pub(super) fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// A directory: its entries as calls see them, and as the disk holds them.
#[derive(Clone)]
pub(super) struct DirectoryNode {
    pub(super) entries: BTreeMap<String, u64>,
    pub(super) durable: BTreeMap<String, u64>,
    pub(super) mode: u32,
    pub(super) owned: bool,
    /// The top of a file system in memory: it is there after every boot, empty.
    pub(super) is_memory_mount: bool,
}

#[derive(Clone)]
pub(super) enum Body {
    File(FileNode),
    Directory(DirectoryNode),
}

/// A file or directory.
#[derive(Clone)]
pub(super) struct Node {
    /// Names that lead to it, as calls see them.
    pub(super) links: u64,
    pub(super) in_memory: bool,
    pub(super) body: Body,
}

impl Node {
    pub(super) fn file(file: FileNode, in_memory: bool) -> Self {
        Self { links: 1, in_memory, body: Body::File(file) }
    }

    pub(super) fn directory(in_memory: bool) -> Self {
        let directory = DirectoryNode {
            entries: BTreeMap::new(),
            durable: BTreeMap::new(),
            mode: 0o700,
            owned: true,
            is_memory_mount: false,
        };
        Self { links: 1, in_memory, body: Body::Directory(directory) }
    }

    pub(super) fn device(&self) -> u64 {
        if self.in_memory { MEMORY_DEVICE } else { DISK_DEVICE }
    }

    pub(super) fn as_directory(&self) -> Option<&DirectoryNode> {
        match &self.body {
            Body::Directory(directory) => Some(directory),
            Body::File(_) => None,
        }
    }

    pub(super) fn as_directory_mut(&mut self) -> Option<&mut DirectoryNode> {
        match &mut self.body {
            Body::Directory(directory) => Some(directory),
            Body::File(_) => None,
        }
    }
}

/// Everything there is. Cloning shares the nodes; the copy must hold no mapped file (see [`World::captured`]).
#[derive(Clone)]
pub(super) struct World {
    pub(super) nodes: BTreeMap<u64, Arc<Node>>,
    pub(super) pending: Vec<EntryChange>,
    pub(super) boot_id: Id128,
    pub(super) random: SplitMix,
    pub(super) clock_ns: u64,
    pub(super) faults: Faults,
    pub(super) disk_limit: Option<u64>,
    pub(super) memory_limit: Option<u64>,
    pub(super) operations: u64,
    /// Calls by kind, those that change nothing included.
    pub(super) calls: [u64; OperationKind::COUNT],
    pub(super) crash_at: u64,
    /// The world as it was when the crash point was met.
    pub(super) at_crash: Option<Snapshot>,
    /// Objects opened by a process that is gone have another number.
    pub(super) process: u64,
    /// Holder of the lock of a directory.
    pub(super) locks: BTreeMap<u64, u64>,
    /// File objects open on a node.
    pub(super) opens: BTreeMap<u64, u64>,
    next_inode: u64,
    next_holder: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = SplitMix::new(seed);
        let boot_id = Id128(random.sixteen());
        let mut world = Self {
            nodes: BTreeMap::from([(ROOT, Arc::new(Node::directory(false)))]),
            pending: Vec::new(),
            boot_id,
            random,
            clock_ns: CLOCK_START_NS,
            faults: Faults::default(),
            disk_limit: None,
            memory_limit: None,
            operations: 0,
            calls: [0; OperationKind::COUNT],
            crash_at: u64::MAX,
            at_crash: None,
            process: 0,
            locks: BTreeMap::new(),
            opens: BTreeMap::new(),
            next_inode: ROOT + 1,
            next_holder: 0,
        };
        world.mount_memory(Path::new(MEMORY_DIRECTORY));
        world
    }

    // Nodes and paths.

    pub(super) fn node(&self, inode: u64) -> io::Result<&Node> {
        self.nodes.get(&inode).map(|node| &**node).ok_or_else(|| errno(libc::ENOENT))
    }

    pub(super) fn node_mut(&mut self, inode: u64) -> io::Result<&mut Node> {
        self.nodes.get_mut(&inode).map(Arc::make_mut).ok_or_else(|| errno(libc::ENOENT))
    }

    pub(super) fn directory(&self, inode: u64) -> io::Result<&DirectoryNode> {
        self.node(inode)?.as_directory().ok_or_else(|| errno(libc::ENOTDIR))
    }

    pub(super) fn directory_mut(&mut self, inode: u64) -> io::Result<&mut DirectoryNode> {
        self.node_mut(inode)?.as_directory_mut().ok_or_else(|| errno(libc::ENOTDIR))
    }

    pub(super) fn file(&self, inode: u64) -> io::Result<&FileNode> {
        match &self.node(inode)?.body {
            Body::File(file) => Ok(file),
            Body::Directory(_) => Err(errno(libc::EISDIR)),
        }
    }

    pub(super) fn file_mut(&mut self, inode: u64) -> io::Result<&mut FileNode> {
        match &mut self.node_mut(inode)?.body {
            Body::File(file) => Ok(file),
            Body::Directory(_) => Err(errno(libc::EISDIR)),
        }
    }

    pub(super) fn lookup(&self, directory: u64, name: &str) -> io::Result<u64> {
        self.directory(directory)?.entries.get(name).copied().ok_or_else(|| errno(libc::ENOENT))
    }

    pub(super) fn resolve(&self, path: &Path) -> io::Result<u64> {
        names_of(path)?.iter().try_fold(ROOT, |directory, name| self.lookup(directory, name))
    }

    /// The directory that holds `path`, and the name there.
    pub(super) fn resolve_parent(&self, path: &Path) -> io::Result<(u64, String)> {
        let mut names = names_of(path)?;
        let name = names.pop().ok_or_else(|| errno(libc::EBUSY))?;
        let parent = names.iter().try_fold(ROOT, |directory, name| self.lookup(directory, name))?;
        Ok((parent, name))
    }

    pub(super) fn random_id(&mut self) -> Id128 {
        Id128(self.random.sixteen())
    }

    pub(super) fn tick(&mut self) -> u64 {
        self.clock_ns = self.clock_ns.saturating_add(CLOCK_STEP_NS);
        self.clock_ns
    }

    pub(super) fn new_holder(&mut self) -> u64 {
        self.next_holder += 1;
        self.next_holder
    }

    // Counting, faults, space.

    /// Counts a changing call, unless the crash point is met.
    pub(super) fn step(&mut self) -> io::Result<()> {
        if self.operations >= self.crash_at {
            if self.at_crash.is_none() {
                self.at_crash = Some(Snapshot::of(self));
            }
            return Err(fault::machine_off());
        }
        self.operations += 1;
        Ok(())
    }

    /// What a fault cuts the call to, if one strikes that does not fail it.
    pub(super) fn strike(&mut self, kind: OperationKind, path: &Path) -> io::Result<Option<usize>> {
        self.calls[kind as usize] += 1;
        match self.faults.strike(kind, &path.to_string_lossy()) {
            Some(Effect::Errno(number)) => Err(errno(number)),
            Some(Effect::Short(bytes)) => Ok(Some(bytes)),
            None => Ok(None),
        }
    }

    pub(super) fn begin(&mut self, kind: OperationKind, path: &Path) -> io::Result<Option<usize>> {
        self.step()?;
        self.strike(kind, path)
    }

    /// Bytes left on the device.
    pub(super) fn room(&self, in_memory: bool) -> u64 {
        let Some(limit) = (if in_memory { self.memory_limit } else { self.disk_limit }) else { return u64::MAX };
        let used = self.nodes.iter().filter_map(|(inode, node)| match &node.body {
            Body::File(file) if node.in_memory == in_memory && (node.links > 0 || self.opens.contains_key(inode)) => {
                Some(file.charged)
            }
            _ => None,
        });
        limit.saturating_sub(used.sum())
    }

    /// Forgets nodes that nothing leads to any more, in memory or on the disk.
    pub(super) fn collect(&mut self) {
        let loose = |(inode, node): (&u64, &Arc<Node>)| {
            (node.links == 0 && *inode != ROOT && !self.opens.contains_key(inode)).then_some(*inode)
        };
        let mut loose: BTreeSet<u64> = self.nodes.iter().filter_map(loose).collect();
        if loose.is_empty() {
            return;
        }
        for change in &self.pending {
            loose.remove(&change.inode);
            for directory in change.directories() {
                loose.remove(&directory);
            }
        }
        for directory in self.nodes.values().filter_map(|node| node.as_directory()) {
            for inode in directory.durable.values() {
                loose.remove(inode);
            }
        }
        self.nodes.retain(|inode, _| !loose.contains(inode));
    }

    // Entries.

    fn change_entries(&mut self, change: EntryChange) -> io::Result<()> {
        let in_memory = self.node(change.inode)?.in_memory;
        if let Some(key) = &change.removes {
            self.directory_mut(key.directory)?.entries.remove(&key.name);
        }
        let mut replaced = None;
        if let Some(key) = &change.adds {
            replaced = self.directory_mut(key.directory)?.entries.insert(key.name.clone(), change.inode);
        }
        match (&change.removes, &change.adds) {
            (None, _) => self.node_mut(change.inode)?.links = 1,
            (_, None) => self.node_mut(change.inode)?.links = 0,
            _ => {}
        }
        if let Some(replaced) = replaced {
            self.node_mut(replaced)?.links = 0;
        }
        if !in_memory {
            self.pending.push(change);
        }
        self.collect();
        Ok(())
    }

    /// Makes the changes of a directory, and what they stand on, durable.
    pub(super) fn settle_directory(&mut self, inode: u64) -> io::Result<()> {
        self.directory(inode)?;
        let chosen = entries::chosen_by_sync(&self.pending, inode);
        self.settle_chosen(&chosen)
    }

    fn settle_chosen(&mut self, chosen: &[bool]) -> io::Result<()> {
        let mut durable = Entries::new();
        for (change, _) in self.pending.iter().zip(chosen).filter(|(_, chosen)| **chosen) {
            for directory in change.directories() {
                // A directory that is gone for good keeps nothing.
                if let Ok(node) = self.directory(directory) {
                    durable.entry(directory).or_insert_with(|| node.durable.clone());
                }
            }
        }
        entries::apply_chosen(&self.pending, chosen, &mut durable);
        for (directory, names) in durable {
            self.directory_mut(directory)?.durable = names;
        }
        let mut chosen = chosen.iter();
        self.pending.retain(|_| chosen.next() != Some(&true));
        self.collect();
        Ok(())
    }

    /// Adds a new node under a name that is free.
    pub(super) fn add(&mut self, directory: u64, name: &str, node: impl FnOnce(bool) -> Node) -> io::Result<u64> {
        let name = plain(name)?.to_owned();
        if self.directory(directory)?.entries.contains_key(&name) {
            return Err(errno(libc::EEXIST));
        }
        if directory != ROOT && self.node(directory)?.links == 0 {
            return Err(errno(libc::ENOENT));
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        let in_memory = self.node(directory)?.in_memory;
        self.nodes.insert(inode, Arc::new(node(in_memory)));
        self.change_entries(EntryChange { inode, removes: None, adds: Some(Key { directory, name }) })?;
        Ok(inode)
    }

    /// Renames without a step or a fault; `replace` only for files.
    pub(super) fn relink(&mut self, from: (u64, &str), to: (u64, &str), replace: bool) -> io::Result<()> {
        let from = Key { directory: from.0, name: plain(from.1)?.to_owned() };
        let to = Key { directory: to.0, name: plain(to.1)?.to_owned() };
        let inode = self.lookup(from.directory, &from.name)?;
        if let Some(&taken) = self.directory(to.directory)?.entries.get(&to.name) {
            if !replace {
                return Err(errno(libc::EEXIST));
            }
            if self.node(taken)?.as_directory().is_some() {
                return Err(errno(libc::EISDIR));
            }
            if taken == inode {
                return Ok(());
            }
        }
        if self.node(inode)?.device() != self.node(to.directory)?.device() {
            return Err(errno(libc::EXDEV));
        }
        self.change_entries(EntryChange { inode, removes: Some(from), adds: Some(to) })
    }

    pub(super) fn unlink(&mut self, directory: u64, name: &str) -> io::Result<()> {
        let inode = self.lookup(directory, plain(name)?)?;
        let removes = Some(Key { directory, name: name.to_owned() });
        self.change_entries(EntryChange { inode, removes, adds: None })
    }

    // The world as a whole.

    /// Tops a new file system in memory; missing directories are made, durable.
    pub(super) fn mount_memory(&mut self, path: &Path) {
        let Ok(inode) = self.make_directories(path) else { return };
        if let Ok(node) = self.node_mut(inode) {
            node.in_memory = true;
            if let Some(directory) = node.as_directory_mut() {
                directory.is_memory_mount = true;
                directory.mode = 0o1777;
            }
        }
    }

    /// Makes a directory and those above it, durable, where they are missing.
    pub(super) fn make_directories(&mut self, path: &Path) -> io::Result<u64> {
        let mut directory = ROOT;
        for name in names_of(path)? {
            directory = match self.lookup(directory, &name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let made = self.add(directory, &name, Node::directory)?;
                    self.settle_directory(directory)?;
                    made
                }
                found => found?,
            };
        }
        Ok(directory)
    }

    /// Puts a file there, every byte and its entry durable; one that is there keeps its number.
    pub(super) fn put_file(&mut self, path: &Path, image: Image) -> io::Result<()> {
        let (parent, name) = match self.resolve_parent(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_directories(path.parent().unwrap_or(Path::new("/")))?;
                self.resolve_parent(path)?
            }
            found => found?,
        };
        let in_memory = self.node(parent)?.in_memory;
        let file = FileNode::settled(in_memory, image);
        if let Ok(inode) = self.lookup(parent, &name) {
            *self.file_mut(inode)? = file;
        } else {
            self.add(parent, &name, |in_memory| Node::file(file, in_memory))?;
        }
        self.settle_directory(parent)
    }

    /// Takes away a file or a directory with all that is in it, durably.
    pub(super) fn remove_tree(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.resolve_parent(path)?;
        let top = self.lookup(parent, &name)?;
        let below: BTreeSet<u64> = self.tree_below(top);
        self.unlink(parent, &name)?;
        self.settle_directory(parent)?;
        self.pending.retain(|change| !change.directories().any(|directory| below.contains(&directory)));
        for inode in below {
            if let Ok(node) = self.node_mut(inode) {
                node.links = 0;
                if let Some(directory) = node.as_directory_mut() {
                    directory.entries.clear();
                    directory.durable.clear();
                }
            }
        }
        self.collect();
        Ok(())
    }

    fn tree_below(&self, top: u64) -> BTreeSet<u64> {
        let mut found = BTreeSet::from([top]);
        let mut rest = vec![top];
        while let Some(inode) = rest.pop() {
            if let Ok(directory) = self.directory(inode) {
                rest.extend(directory.entries.values().filter(|inode| found.insert(**inode)));
            }
        }
        found
    }

    /// A copy that no later call and no store through a mapping changes.
    pub(super) fn captured(&mut self, with_memory: bool) -> Self {
        let mut copies = Vec::new();
        for (&inode, node) in &mut self.nodes {
            match &node.body {
                Body::File(file) if file.is_mapped() && (with_memory || !node.in_memory) => {}
                _ => continue,
            }
            let (links, in_memory) = (node.links, node.in_memory);
            if let Body::File(file) = &mut Arc::make_mut(node).body {
                let body = Body::File(file.unmapped());
                copies.push((inode, Arc::new(Node { links, in_memory, body })));
            }
        }
        let mut copy = self.clone();
        if !with_memory {
            copy.nodes.retain(|_, node| match &node.body {
                Body::File(_) => !node.in_memory,
                Body::Directory(_) => true,
            });
        }
        copy.nodes.extend(copies);
        copy.locks.clear();
        copy.opens.clear();
        copy.faults.clear();
        copy.crash_at = u64::MAX;
        copy.at_crash = None;
        copy.process += 1;
        copy
    }

    /// Kills the process: locks, open files, mappings and the claims of its objects are gone, the contents stay.
    pub(super) fn kill_process(&mut self) {
        for node in self.nodes.values_mut() {
            if matches!(&node.body, Body::File(file) if file.is_mapped())
                && let Body::File(file) = &mut Arc::make_mut(node).body
            {
                *file = file.unmapped();
            }
        }
        self.locks.clear();
        self.opens.clear();
        self.process += 1;
        self.collect();
    }
}
