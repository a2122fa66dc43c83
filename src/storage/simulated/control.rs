//! What a test does to the simulated machine: crashes, faults, limits, and arranging its files.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::SimulatedSystem;
use super::crash::Snapshot;
use super::disk::Image;
use super::fault::{Effect, Fault, OperationKind, Repeat};
use super::random::SplitMix;
use super::world::{Body, MEMORY_DIRECTORY, ROOT, World};
use crate::format::Id128;

/// What a test asks for must make sense: else the test is wrong.
fn sensible<T>(result: io::Result<T>, what: &str, path: &Path) -> T {
    result.unwrap_or_else(|error| panic!("{what} {}: {error}", path.display()))
}

/// Crashes, faults and limits.
impl SimulatedSystem {
    /// A machine with an empty disk; its boot id and all random ids follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::of(World::new(seed))
    }

    /// The world as it is now; once the crash point was met, as it was then. Mapped pages are copied where they changed
    /// since the last snapshot, everything else is shared.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut world = self.world();
        world.at_crash.clone().unwrap_or_else(|| Snapshot::of(&mut world))
    }

    /// As [`Self::snapshot`], but without what lies in memory: cheaper, and good for power cuts only.
    #[must_use]
    pub fn snapshot_disk(&self) -> Snapshot {
        let mut world = self.world();
        world.at_crash.clone().unwrap_or_else(|| Snapshot::of_disk(&mut world))
    }

    /// Kills the process on this machine: all locks, open files and mappings are forgotten; changing calls through objects
    /// from before fail. (See [`Snapshot::process_crash`] for a new machine.)
    pub fn crash_process(&self) {
        self.world().kill_process();
    }

    /// Changing calls so far: everything of the three traits but opening, reading, listing, locking, mapping and hints.
    /// A call that fails counts, except those after the crash point.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Calls of this kind so far, whether a fault struck them or not.
    pub fn calls(&self, kind: OperationKind) -> u64 {
        self.world().calls[kind as usize]
    }

    /// From operation `operation` on (the first is 0) every changing call fails with an error for which
    /// [`is_machine_off`](super::is_machine_off) holds, and changes nothing. `u64::MAX` takes it back.
    pub fn set_crash_at(&self, operation: u64) {
        let mut world = self.world();
        world.crash_at = operation;
        world.at_crash = None;
    }

    /// Whether the crash point was met.
    pub fn is_off(&self) -> bool {
        self.world().at_crash.is_some()
    }

    /// Makes calls of a kind fail with `errno`, from the `nth` one on (1 is the next).
    pub fn fail_next(&self, kind: OperationKind, nth: u64, errno: i32, repeat: Repeat) {
        self.inject(Fault { kind, path_part: None, nth, effect: Effect::Errno(errno), repeat });
    }

    /// Makes writes short: at most `bytes` are written by the `nth` one.
    pub fn shorten_write(&self, nth: u64, bytes: usize, repeat: Repeat) {
        let effect = Effect::Short(bytes);
        self.inject(Fault { kind: OperationKind::Write, path_part: None, nth, effect, repeat });
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.world().faults.add(fault);
    }

    /// Takes back all faults that have not struck, or strike for ever.
    pub fn clear_faults(&self) {
        self.world().faults.clear();
    }

    /// The space of the disk in bytes; files may hold more than it already. Kept over crashes.
    pub fn set_space_limit(&self, bytes: Option<u64>) {
        self.world().disk_limit = bytes;
    }

    /// The same for all that lies in memory.
    pub fn set_memory_limit(&self, bytes: Option<u64>) {
        self.world().memory_limit = bytes;
    }

    /// Gives this boot another identity.
    pub fn set_boot_id(&self, boot_id: Id128) {
        self.world().boot_id = boot_id;
    }

    /// Sets the clock; each look at it adds 1,000 ns.
    pub fn set_realtime_ns(&self, nanoseconds: u64) {
        self.world().clock_ns = nanoseconds;
    }

    /// Drops clean pages from the cache: what a failed sync left clean-looking now reads as the disk has it.
    pub fn evict_cache(&self) {
        for node in self.world().nodes.values_mut() {
            if matches!(&node.body, Body::File(file) if !file.unsynced().is_empty())
                && let Body::File(file) = &mut Arc::make_mut(node).body
            {
                file.evict();
            }
        }
    }
}

/// Looking at the machine and arranging it.
impl SimulatedSystem {
    /// Makes a directory and those above it where they are missing.
    pub fn make_directories(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        sensible(self.world().make_directories(path), "make", path);
    }

    /// Makes a directory the top of another file system in memory, as `/dev/shm` is; it should be new.
    pub fn mount_memory(&self, path: impl AsRef<Path>) {
        self.world().mount_memory(path.as_ref());
    }

    /// Sets what [`attributes`](crate::storage::Directory::attributes) says of a directory.
    pub fn set_trust(&self, path: impl AsRef<Path>, mode: u32, owned: bool) {
        let path = path.as_ref();
        let mut world = self.world();
        let inode = sensible(world.resolve(path), "find", path);
        let directory = sensible(world.directory_mut(inode), "find", path);
        (directory.mode, directory.owned) = (mode, owned);
    }

    /// A file's bytes as calls see them; `None` when there is no such file.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let mut world = self.world();
        let inode = world.resolve(path.as_ref()).ok()?;
        Some(world.file_mut(inode).ok()?.current().to_vec())
    }

    /// A file's bytes as the disk holds them for certain, wherever its entry is; `None` when there is no such file.
    pub fn read_durable(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let world = self.world();
        let inode = world.resolve(path.as_ref()).ok()?;
        Some(world.file(inode).ok()?.durable().to_vec())
    }

    /// Puts a file there, whole; directories that are missing are made.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = path.as_ref();
        sensible(self.world().put_file(path, Image::from_bytes(bytes)), "write", path);
    }

    /// Inverts the bits of `mask` in one byte of a file.
    pub fn flip(&self, path: impl AsRef<Path>, offset: usize, mask: u8) {
        let path = path.as_ref();
        let mut bytes = sensible(self.read_file(path).ok_or(io::ErrorKind::NotFound.into()), "flip in", path);
        bytes[offset] ^= mask;
        self.write_file(path, &bytes);
    }

    /// The names in a directory, sorted; `None` when there is no such directory.
    pub fn list(&self, path: impl AsRef<Path>) -> Option<Vec<String>> {
        let world = self.world();
        let inode = world.resolve(path.as_ref()).ok()?;
        Some(world.directory(inode).ok()?.entries.keys().cloned().collect())
    }

    /// Whether a file or directory is there.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.world().resolve(path.as_ref()).is_ok()
    }

    /// Copies a file or a directory with all in it; the copies are new files and directories.
    pub fn copy_tree(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        self.copy_tree_from(self, from, to);
    }

    /// The same from another machine.
    pub fn copy_tree_from(&self, other: &Self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let (from, to) = (from.as_ref(), to.as_ref());
        let mut found = Vec::new();
        sensible(
            other.world().visit(from, &mut |path, image| found.push((path.to_owned(), image.cloned()))),
            "copy",
            from,
        );
        let mut world = self.world();
        for (path, image) in found {
            let target = if path.is_empty() { to.to_path_buf() } else { to.join(path) };
            match image {
                Some(image) => sensible(world.put_file(&target, image), "copy to", &target),
                None => drop(sensible(world.make_directories(&target), "copy to", &target)),
            }
        }
    }

    /// Removes a file or a directory with all in it.
    pub fn remove_tree(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        sensible(self.world().remove_tree(path), "remove", path);
    }

    /// Renames a file or directory to a name that is not taken; it keeps its identity.
    pub fn rename_tree(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let (from, to) = (from.as_ref(), to.as_ref());
        let mut world = self.world();
        let (from_parent, from_name) = sensible(world.resolve_parent(from), "find", from);
        let (to_parent, to_name) = sensible(world.resolve_parent(to), "find", to);
        sensible(world.relink((from_parent, &from_name), (to_parent, &to_name), false), "rename", from);
        sensible(world.settle_directory(from_parent), "sync", from);
        sensible(world.settle_directory(to_parent), "sync", to);
    }

    /// Removes everything in `/dev/shm`, as a careless cleaner does.
    pub fn empty_memory(&self) {
        for name in self.list(MEMORY_DIRECTORY).unwrap_or_default() {
            self.remove_tree(Path::new(MEMORY_DIRECTORY).join(name));
        }
    }

    /// Whether all names, sizes and bytes, as calls see them, are those of the snapshot. What both share is not read.
    pub fn is_as_in(&self, before: &Snapshot) -> bool {
        self.world().is_as(&before.world, ROOT, ROOT)
    }

    /// A number for all names, sizes and bytes of a tree as calls see them; `None` when it is not there.
    pub fn tree_hash(&self, path: impl AsRef<Path>) -> Option<u64> {
        let mut hash = Hash(0);
        let hash_one = &mut |path: &str, image: Option<&Image>| {
            hash.bytes(path.as_bytes());
            let Some(image) = image else { return hash.word(u64::MAX) };
            hash.word(image.bytes());
            for (index, page) in image.pages().filter(|(_, page)| page.iter().any(|&byte| byte != 0)) {
                hash.word(index as u64);
                hash.bytes(page);
            }
        };
        self.world().visit(path.as_ref(), hash_one).ok()?;
        Some(hash.0)
    }
}

struct Hash(u64);

impl Hash {
    fn word(&mut self, word: u64) {
        self.0 = SplitMix::new(self.0 ^ word).next();
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0 = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
}

impl World {
    /// Whether what `inode` leads to is what `old` leads to in `before`.
    fn is_as(&mut self, before: &Self, inode: u64, old: u64) -> bool {
        let (Some(node), Some(old)) = (self.nodes.get(&inode).cloned(), before.nodes.get(&old)) else { return false };
        match (&node.body, &old.body) {
            (Body::File(_), Body::File(_)) if Arc::ptr_eq(&node, old) => true,
            (Body::File(file), Body::File(old)) if !file.is_mapped() => file.image().is_same(old.image()),
            (Body::File(_), Body::File(old)) => {
                drop(node);
                self.file_mut(inode).is_ok_and(|file| file.current().is_same(old.image()))
            }
            (Body::Directory(now), Body::Directory(old)) => {
                now.entries.len() == old.entries.len()
                    && now
                        .entries
                        .iter()
                        .zip(&old.entries)
                        .all(|((name, &inode), (old_name, &old))| name == old_name && self.is_as(before, inode, old))
            }
            _ => false,
        }
    }

    /// Shows a tree in the order of its paths below `path`: files with their contents, directories without.
    fn visit(&mut self, path: &Path, found: &mut dyn FnMut(&str, Option<&Image>)) -> io::Result<()> {
        let mut rest = vec![(String::new(), self.resolve(path)?)];
        while let Some((path, inode)) = rest.pop() {
            if let Ok(file) = self.file_mut(inode) {
                found(&path, Some(file.current()));
                continue;
            }
            found(&path, None);
            let join = |name: &String| if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            rest.extend(self.directory(inode)?.entries.iter().rev().map(|(name, &inode)| (join(name), inode)));
        }
        Ok(())
    }
}
