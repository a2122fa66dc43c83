//! Worlds after a crash, made from one point of a run.
//!
//! A power cut leaves of each file the durable bytes and any part of what was written since, of the entry changes since
//! their directory's sync any sensible subset, and of memory nothing. Everything is decided by the seed, in an order that
//! depends on the world alone, so that a state can be had again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use super::SimulatedSystem;
use super::disk::{Change, FileNode, Image, PageSlot, SECTOR_BYTES, Unsynced, page_of};
use super::entries::{self, Entries};
use super::random::SplitMix;
use super::world::{Body, Node, ROOT, World};
use crate::format::{Id128, PAGE_BYTES};

const SECTORS_PER_PAGE: usize = PAGE_BYTES / SECTOR_BYTES;
const BOOT_TAKES_NS: u64 = 1_000_000_000;

/// Which of the unsynced bytes reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sectors {
    /// None: bytes and sizes as of the last sync.
    Nothing,
    /// All.
    Everything,
    /// Each sector of each write with a probability drawn for the file.
    Random,
    /// The first writes whole, one in part, the last not at all.
    Prefix,
    /// The last writes, but not the first.
    Suffix,
}

/// Which of the unsynced entry changes reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryChanges {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// The first ones, as with a journal.
    Prefix,
    /// Any that can stand without the others.
    Subset,
}

/// Says whether a sector may be trashed: the file's absolute path, and the offset of the sector's first byte in it.
pub type MayTrash = Box<dyn Fn(&str, u64) -> bool + Send + Sync>;

/// How a power cut goes; by default everything is left to the seed and no sector is trashed.
#[derive(Default)]
pub struct CrashOptions {
    /// Sectors for which this says true, among those whose unsynced bytes differ from the durable ones, may hold anything
    /// after the cut. The path is the one the file had at the cut.
    pub trash: Option<MayTrash>,
    /// The same for all files, with the sizes that belong to it, instead of a choice by seed for each file.
    pub sectors: Option<Sectors>,
    /// Instead of a choice by seed.
    pub entries: Option<EntryChanges>,
}

impl fmt::Debug for CrashOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CrashOptions")
            .field("trash", &self.trash.is_some())
            .field("sectors", &self.sectors)
            .field("entries", &self.entries)
            .finish()
    }
}

/// A world as it was at one moment; any number of crashes can be played from it, from several threads too.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) world: Arc<World>,
    with_memory: bool,
    paths: Arc<OnceLock<BTreeMap<u64, String>>>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Snapshot(at operation {})", self.world.operations)
    }
}

impl Snapshot {
    pub(super) fn of(world: &mut World) -> Self {
        Self::new(world.captured(true), true)
    }

    pub(super) fn of_disk(world: &mut World) -> Self {
        Self::new(world.captured(false), false)
    }

    fn new(world: World, with_memory: bool) -> Self {
        Self { world: Arc::new(world), with_memory, paths: Arc::default() }
    }

    /// Changing calls that had been made.
    pub fn operations(&self) -> u64 {
        self.world.operations
    }

    /// Whether the disk holds all that calls see, so that every power cut leaves the same.
    pub fn is_settled(&self) -> bool {
        let is_settled = |node: &Arc<Node>| match &node.body {
            Body::File(file) => file.unsynced().is_empty(),
            Body::Directory(_) => true,
        };
        self.world.pending.is_empty() && self.world.nodes.values().all(is_settled)
    }

    /// The machine after only the process died: everything as calls saw it, locks and mappings gone, the same boot.
    ///
    /// What was durable stays so and nothing more: a power cut can follow.
    ///
    /// # Panics
    /// When the snapshot holds the disk only.
    #[must_use]
    pub fn process_crash(&self) -> SimulatedSystem {
        assert!(self.with_memory, "a process crash keeps memory, and this snapshot has none");
        let mut world = World::clone(&self.world);
        world.collect();
        SimulatedSystem::of(world)
    }

    /// The machine after its power was cut and came back; the same for the same seed and options.
    #[must_use]
    pub fn power_cut(&self, seed: u64, options: &CrashOptions) -> SimulatedSystem {
        let mut random = SplitMix::new(seed);
        let mut world = World::clone(&self.world);
        // Also from the world's own sequence, so that its boots differ whatever the seeds are.
        world.random = SplitMix::new(world.random.next() ^ random.next());
        world.boot_id = Id128(world.random.sixteen());
        world.clock_ns = world.clock_ns.saturating_add(BOOT_TAKES_NS);
        cut_entries(&mut world, &mut random, options.entries);
        sweep(&mut world);
        let common = options.sectors.or_else(|| random.one_in(4).then(|| any_sectors(&mut random)));
        let trash = options.trash.as_ref().filter(|_| random.one_in(2));
        for (inode, node) in &mut world.nodes {
            let Body::File(file) = &node.body else { continue };
            if file.unsynced().is_empty() {
                continue;
            }
            let sectors = common.unwrap_or_else(|| any_sectors(&mut random));
            let mut cut = Cut::new(file.unsynced(), sectors, options.sectors.is_some(), &mut random);
            let mut image = cut.image(file, &mut random);
            if let Some(trash) = trash {
                let path = self.path(*inode);
                throw_trash(&mut image, file, &mut random, |offset| trash(path, offset));
            }
            // What lies behind the end is gone.
            image.resize(image.bytes());
            let in_memory = node.in_memory;
            *node = Arc::new(Node::file(FileNode::settled(in_memory, image), in_memory));
        }
        SimulatedSystem::of(world)
    }

    /// The path of a file at the time of the snapshot; the durable one if it had been removed.
    fn path(&self, inode: u64) -> &str {
        let paths = self.paths.get_or_init(|| {
            let mut paths = BTreeMap::new();
            for durable in [true, false] {
                walk(&self.world, durable, |path, inode| drop(paths.insert(inode, path.to_owned())));
            }
            paths
        });
        paths.get(&inode).map_or("", String::as_str)
    }
}

fn walk(world: &World, durable: bool, mut found: impl FnMut(&str, u64)) {
    let mut rest = vec![(String::new(), ROOT)];
    while let Some((path, inode)) = rest.pop() {
        found(&path, inode);
        if let Ok(directory) = world.directory(inode) {
            let names = if durable { &directory.durable } else { &directory.entries };
            rest.extend(names.iter().map(|(name, &inode)| (format!("{path}/{name}"), inode)));
        }
    }
}

fn any_sectors(random: &mut SplitMix) -> Sectors {
    match random.below(6) {
        0 => Sectors::Nothing,
        1 => Sectors::Everything,
        2 => Sectors::Prefix,
        3 => Sectors::Suffix,
        _ => Sectors::Random,
    }
}

/// Leaves the durable entries and some of the changes since; memory is empty.
fn cut_entries(world: &mut World, random: &mut SplitMix, mode: Option<EntryChanges>) {
    let changes = std::mem::take(&mut world.pending);
    let count = changes.len();
    let by_seed = if random.one_in(2) { EntryChanges::Prefix } else { EntryChanges::Subset };
    let mut chosen = match mode.unwrap_or(by_seed) {
        EntryChanges::Nothing => vec![false; count],
        EntryChanges::Everything => vec![true; count],
        EntryChanges::Prefix => {
            let kept = random.up_to(count);
            (0..count).map(|change| change < kept).collect()
        }
        EntryChanges::Subset => {
            let of = 2 + random.below(3);
            let drops_few = random.one_in(2);
            (0..count).map(|_| random.one_in(of) != drops_few).collect()
        }
    };
    entries::choose_needed(&changes, &mut chosen);
    let mut after = Entries::new();
    for directory in changes.iter().flat_map(entries::EntryChange::directories) {
        if let Ok(node) = world.directory(directory) {
            after.entry(directory).or_insert_with(|| node.durable.clone());
        }
    }
    entries::apply_chosen(&changes, &chosen, &mut after);
    for (inode, names) in after {
        if let Ok(directory) = world.directory_mut(inode) {
            directory.entries.clone_from(&names);
            directory.durable = names;
        }
    }
    for node in world.nodes.values_mut().filter(|node| node.in_memory) {
        if node.as_directory().is_some_and(|directory| !directory.entries.is_empty())
            && let Some(directory) = Arc::make_mut(node).as_directory_mut()
        {
            directory.entries.clear();
        }
    }
}

/// Keeps what the root leads to, with the right number of links.
fn sweep(world: &mut World) {
    let mut reached = BTreeSet::from([ROOT]);
    let mut rest = vec![ROOT];
    while let Some(inode) = rest.pop() {
        if let Ok(directory) = world.directory(inode) {
            rest.extend(directory.entries.values().filter(|inode| reached.insert(**inode)));
        }
    }
    world.nodes.retain(|inode, _| reached.contains(inode));
    for node in world.nodes.values_mut().filter(|node| node.links != 1) {
        Arc::make_mut(node).links = 1;
    }
}

/// What one file keeps of its unsynced changes.
struct Cut {
    sectors: Sectors,
    /// The change at which a prefix ends or a suffix begins, and what of it belongs to the prefix.
    point: usize,
    point_mask: u8,
    probability: u8,
    /// Size changes before this one have reached the disk.
    sizes: usize,
    /// A growth may have got only part of its way.
    may_grow_partly: bool,
}

impl Cut {
    fn new(changes: &[Unsynced], sectors: Sectors, strict: bool, random: &mut SplitMix) -> Self {
        let point = random.up_to(changes.len());
        let any_mask = random.mask(128);
        let sectors_whole = random.below(SECTORS_PER_PAGE as u64);
        let point_mask = if random.one_in(2) { any_mask } else { !(u8::MAX << sectors_whole) };
        let probability = [16, 64, 128, 192, 240][random.up_to(4)];
        let any_size = random.up_to(changes.len());
        let independent = !strict && random.one_in(2);
        let sizes = match sectors {
            _ if independent => any_size,
            Sectors::Nothing => 0,
            Sectors::Everything => changes.len(),
            Sectors::Prefix => point,
            Sectors::Random | Sectors::Suffix => any_size,
        };
        let certain = strict && matches!(sectors, Sectors::Nothing | Sectors::Everything);
        Self { sectors, point, point_mask, probability, sizes, may_grow_partly: !certain && random.one_in(4) }
    }

    /// The sectors of the page of one change that reach the disk.
    fn mask(&self, change: usize, random: &mut SplitMix) -> u8 {
        let prefix = match change.cmp(&self.point) {
            std::cmp::Ordering::Less => u8::MAX,
            std::cmp::Ordering::Equal => self.point_mask,
            std::cmp::Ordering::Greater => 0,
        };
        match self.sectors {
            Sectors::Nothing => 0,
            Sectors::Everything => u8::MAX,
            Sectors::Random => random.mask(self.probability),
            Sectors::Prefix => prefix,
            Sectors::Suffix => !prefix,
        }
    }

    fn image(&mut self, file: &FileNode, random: &mut SplitMix) -> Image {
        let mut image = file.durable().clone();
        let mut next_size = None;
        for (number, one) in file.unsynced().iter().enumerate() {
            match &one.change {
                Change::Page { index, contents } => {
                    let mask = self.mask(number, random);
                    put_sectors(&mut image, *index, contents, mask);
                }
                Change::Size(bytes) if number < self.sizes => image.resize(*bytes),
                Change::Size(bytes) => next_size = next_size.or(Some(*bytes)),
            }
        }
        if let Some(next) = next_size.filter(|next| *next > image.bytes() && self.may_grow_partly) {
            let unit = if random.one_in(2) { SECTOR_BYTES } else { PAGE_BYTES } as u64;
            let between = image.bytes() + random.below(next - image.bytes());
            image.grow(between.next_multiple_of(unit).min(next));
        }
        image
    }
}

fn put_sectors(image: &mut Image, index: usize, contents: &PageSlot, mask: u8) {
    match mask {
        0 => {}
        u8::MAX => image.set_page(index, contents.clone()),
        _ => {
            let mut page = *page_of(image.page(index));
            let new = page_of(contents);
            for sector in (0..SECTORS_PER_PAGE).filter(|sector| mask >> sector & 1 == 1) {
                let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                page[range.clone()].copy_from_slice(&new[range]);
            }
            image.set_page(index, Some(Arc::new(page)));
        }
    }
}

/// Replaces some of the sectors that differ from the durable ones and may be trashed.
fn throw_trash(image: &mut Image, file: &FileNode, random: &mut SplitMix, may_trash: impl Fn(u64) -> bool) {
    let one_in = 1 + random.below(8);
    let mut changed: BTreeMap<usize, u8> = BTreeMap::new();
    for one in file.unsynced() {
        if let Change::Page { index, contents } = &one.change {
            let (old, new) = (page_of(file.durable().page(*index)), page_of(contents));
            let sectors = old.chunks_exact(SECTOR_BYTES).zip(new.chunks_exact(SECTOR_BYTES)).enumerate();
            for (sector, _) in sectors.filter(|(_, (old, new))| old != new) {
                *changed.entry(*index).or_default() |= 1 << sector;
            }
        }
    }
    for (index, mask) in changed {
        for sector in (0..SECTORS_PER_PAGE).filter(|sector| mask >> sector & 1 == 1) {
            let offset = (index * PAGE_BYTES + sector * SECTOR_BYTES) as u64;
            if offset >= image.bytes() || !random.one_in(one_in) || !may_trash(offset) {
                continue;
            }
            let mut page = *page_of(image.page(index));
            let bytes = &mut page[sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES];
            match random.below(3) {
                0 => bytes.fill(0),
                1 => random.fill(bytes),
                // Half of what was being written.
                _ => random.fill(&mut bytes[SECTOR_BYTES / 2..]),
            }
            image.set_page(index, Some(Arc::new(page)));
        }
    }
}

impl SimulatedSystem {
    pub(super) fn of(world: World) -> Self {
        Self { world: Arc::new(Mutex::new(world)) }
    }
}
