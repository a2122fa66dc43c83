//! The segments of a log, one row each, from names and headers; of unsealed ones, what their blocks hold so far.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use walrec::format::{Geometry, SegmentHeader, SegmentName, SegmentNameKind};
use walrec::segment::{Catalog, Error, FrozenSegment, HotSegment, Identity, read_identity, scan_segment};
use walrec::storage::{Access, Directory, RealSystem, System};

use crate::failure::Failure;

/// A row.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) segment: u32,
    /// hot, frozen, or both.
    pub(crate) form: &'static str,
    /// sealed, open (it has events), prepared (it has none), or damaged.
    pub(crate) state: &'static str,
    /// Blocks that fit in; of a frozen one, those that are in it.
    pub(crate) blocks: u32,
    pub(crate) events: u32,
    pub(crate) first_event_id: u64,
    pub(crate) last_event_id: u64,
    pub(crate) created_ts_ns: u64,
    pub(crate) closed_ts_ns: u64,
    /// On the disk.
    pub(crate) bytes: u64,
    /// Without compression.
    pub(crate) bytes_uncompressed: u64,
    pub(crate) fault: Option<String>,
}

/// A log directory, opened to be looked at.
pub(crate) struct LogDirectory {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) catalog: Catalog,
    pub(crate) identity: Identity,
}

impl LogDirectory {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let opened = RealSystem.open_directory(path, true);
        let directory = opened.map_err(|error| Failure::io("open", path, &error))?;
        let catalog = Catalog::read(&*directory)?;
        let identity = read_identity(&*directory)?;
        if catalog.indices().is_empty() && identity == Identity::Missing {
            return Err(Failure::NotFound(format!("{}: no log there", path.display())));
        }
        Ok(Self { directory, catalog, identity })
    }

    /// One row a segment; a segment that was retired meanwhile has none.
    pub(crate) fn rows(&self) -> Result<Vec<Row>, Failure> {
        let mut rows: Vec<Row> = Vec::new();
        let mut last_event_id = 0;
        for index in self.catalog.indices() {
            if let Some(row) = self.row(index, last_event_id)? {
                last_event_id = last_event_id.max(row.last_event_id);
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// The row of one segment, whose events must exceed `previous_last_id`.
    fn row(&self, index: u32, previous_last_id: u64) -> Result<Option<Row>, Failure> {
        let (hot, frozen) = (self.catalog.hot.contains(&index), self.catalog.frozen.contains(&index));
        let form = match (hot, frozen) {
            (true, true) => "both",
            (true, false) => "hot",
            _ => "frozen",
        };
        let mut row = Row { segment: index, form, ..Row::default() };
        for (_, kind) in [(hot, SegmentNameKind::Hot), (frozen, SegmentNameKind::Frozen)].iter().filter(|one| one.0) {
            row.bytes += self.bytes(&SegmentName::new(index, *kind).to_string())?;
        }
        let mut filled = if hot { self.fill_hot(&mut row, previous_last_id) } else { self.fill_frozen(&mut row) };
        if hot && is_gone(&filled) {
            row = Row { segment: index, form: "frozen", bytes: row.bytes, ..Row::default() };
            filled = self.fill_frozen(&mut row);
        }
        match filled {
            Ok(()) => Ok(Some(row)),
            Err(Error::Corrupt(corruption)) => {
                row.state = "damaged";
                row.fault = Some(corruption.to_string());
                Ok(Some(row))
            }
            error if is_gone(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn bytes(&self, name: &str) -> Result<u64, Failure> {
        match self.directory.open_file(name, Access::Read).and_then(|file| file.attributes()) {
            Ok(attributes) => Ok(attributes.bytes),
            // Retired, or no file at all: opening it as a segment tells.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Ok(0),
            Err(error) => Err(Failure::io("open", &self.directory.path().join(name), &error)),
        }
    }

    fn fill_hot(&self, row: &mut Row, previous_last_id: u64) -> Result<(), Error> {
        let segment = HotSegment::open(&*self.directory, row.segment)?;
        row.blocks = segment.geometry.num_blocks();
        row.bytes_uncompressed = segment.geometry.segment_bytes() as u64;
        row.fill_header(&segment.header);
        if segment.header.seal.is_none() {
            let scan = scan_segment(&*self.directory, &segment, previous_last_id)?;
            row.state = if scan.event_count == 0 { "prepared" } else { "open" };
            row.events = scan.event_count;
            row.first_event_id = scan.first_event_id;
            row.last_event_id = if scan.event_count == 0 { 0 } else { scan.last_event_id };
        }
        Ok(())
    }

    fn fill_frozen(&self, row: &mut Row) -> Result<(), Error> {
        let segment = FrozenSegment::open(&*self.directory, row.segment)?;
        row.blocks = segment.seal().block_count;
        row.bytes_uncompressed = Geometry::block_offset(row.blocks) as u64;
        row.fill_header(segment.header());
        Ok(())
    }

    /// Indices without a file that no salvage has recorded.
    pub(crate) fn missing(&self) -> Vec<u32> {
        let lost: &BTreeSet<u32> = &self.catalog.lost;
        let ranges = self.catalog.missing().into_iter();
        ranges.flat_map(|(first, last)| first..=last).filter(|index| !lost.contains(index)).take(1_000).collect()
    }
}

fn is_gone(filled: &Result<(), Error>) -> bool {
    matches!(filled, Err(Error::Io(error)) if error.source.kind() == io::ErrorKind::NotFound)
}

impl Row {
    fn fill_header(&mut self, header: &SegmentHeader) {
        self.created_ts_ns = header.created_ts_ns;
        let Some(seal) = header.seal else { return };
        self.state = "sealed";
        self.events = seal.event_count;
        self.first_event_id = seal.first_event_id;
        self.last_event_id = seal.last_event_id;
        self.closed_ts_ns = seal.closed_ts_ns;
    }
}

/// An id with at least `wanted` events at or after it, as far as sealed headers tell; `None`: begin with the oldest.
pub(crate) fn first_id_of_tail(path: &Path, wanted: u64) -> Result<Option<u64>, Failure> {
    let log = LogDirectory::open(path)?;
    let mut seen = 0;
    for index in log.catalog.indices().into_iter().rev() {
        let mut row = Row { segment: index, ..Row::default() };
        let filled = match HotSegment::open(&*log.directory, index) {
            Ok(segment) => {
                row.fill_header(&segment.header);
                Ok(())
            }
            Err(_) => log.fill_frozen(&mut row),
        };
        // What cannot be read here is told by whoever reads it.
        if filled.is_ok() && row.events > 0 {
            seen += u64::from(row.events);
            if seen >= wanted {
                return Ok(Some(row.first_event_id));
            }
        }
    }
    Ok(None)
}
