//! Verification of a whole log: every block of every segment in both forms, by the same rules as reading, and nothing changed.
//!
//! It goes on after a fault, so that its counts say how much of the log holds; of the faults it tells the first. Invariants:
//! 1. What is counted was judged whole: a block with a fault adds nothing.
//! 2. A segment that is there in both forms counts once, and one form that verifies is enough (a crash between freezing and
//!    retiring leaves both).
//! 3. Beside a running recorder it goes to the durable limit, and a fault counts only when it is there on a second look: files are
//!    sealed, frozen and retired meanwhile.

use std::path::Path;
use std::sync::Arc;

use super::durable_limit::durable_limit;
use super::error::Error;
use super::segment_reader::{Batch, Before, Round, SegmentReader};
use crate::format::{Reason, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentName, SegmentNameKind, u32_at, u64_at};
use crate::recovery::{hold_begun, open_log};
use crate::segment::{Catalog, Corruption, read_meta};
use crate::storage::{Access, Directory, Place, RealSystem, System};
use crate::telemetry::ReaderTelemetry;

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Segments that were looked at, in whatever form.
    pub segments: u64,
    /// Those that are frozen and no longer hot.
    pub segments_compressed: u64,
    /// Indices without a file, and without a record of an earlier salvage.
    pub segments_missing: u64,
    /// Indices that an earlier salvage recorded as lost.
    pub segments_lost: u64,
    /// Blocks that hold, open ones included.
    pub blocks: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of the files that were read, as they lie on the disk.
    pub bytes: u64,
    /// First event that holds; 0 for none.
    pub first_event_id: u64,
    /// Last event that holds; 0 for none.
    pub last_event_id: u64,
    /// The first fault.
    pub fault: Option<Fault>,
}

/// Something that does not verify.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Where and why.
    pub corruption: Corruption,
    /// The number that must be there, for reasons that compare two; else 0.
    pub expected: u64,
    /// The number that is there; else 0.
    pub actual: u64,
}

impl Fault {
    /// The other form of the segment has a fault too.
    fn add(&mut self, other: Option<Self>) {
        if let Some(other) = other {
            let corruption = self.corruption.clone().in_both_forms(&other.corruption);
            *self = Self { corruption, expected: 0, actual: 0 };
        }
    }
}

/// Verifies the log in `path`.
///
/// # Errors
/// [`Error::NotFound`] when there is no log; [`Error::Io`]; [`Error::Newer`]; [`Error::Refused`]. A fault is no error: it is in the report.
pub fn verify(path: &Path) -> Result<VerifyReport, Error> {
    verify_on(Arc::new(RealSystem), path)
}

/// As [`verify`], on any system.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(system: Arc<dyn System>, path: &Path) -> Result<VerifyReport, Error> {
    verify_with(system, path, |_| {})
}

/// As [`verify_on`]; `progress` is told after each segment what was found so far.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(
    system: Arc<dyn System>,
    path: &Path,
    mut progress: impl FnMut(&VerifyReport),
) -> Result<VerifyReport, Error> {
    let directory = open_log(&*system, path)?;
    // Whatever happens meanwhile, this much must be there.
    let meta = read_meta(&*directory)?.last_event_id;
    let durable = durable_limit(&*system, &*directory)?.unwrap_or(0).max(meta);
    let mut verification = Verification {
        system,
        directory,
        telemetry: ReaderTelemetry::default(),
        durable,
        report: VerifyReport::default(),
    };
    verification.run(&mut progress)?;
    Ok(verification.report)
}

struct Verification {
    system: Arc<dyn System>,
    directory: Arc<dyn Directory>,
    /// Nobody reads it.
    telemetry: ReaderTelemetry,
    /// The log must reach to this event.
    durable: u64,
    report: VerifyReport,
}

/// What one segment gave.
#[derive(Default)]
struct Counted {
    blocks: u64,
    events: u64,
    bytes: u64,
    first_event_id: u64,
    last_event_id: u64,
    fault: Option<Fault>,
}

impl Verification {
    fn run(&mut self, progress: &mut dyn FnMut(&VerifyReport)) -> Result<(), Error> {
        let mut catalog = Catalog::read(&*self.directory)?;
        if catalog.indices().is_empty() {
            hold_begun(&*self.directory)?;
        }
        for (first, last) in catalog.missing() {
            self.note_missing(&catalog, first, last);
        }
        let mut before = Before { last_event_id: 0, link: None };
        let mut previous: Option<u32> = None;
        while let Some(index) = catalog.next_above(previous) {
            if previous.is_some_and(|previous| previous + 1 != index) {
                before.link = None;
            }
            match self.segment(&mut catalog, index, before)? {
                Some(after) => {
                    before = after;
                    self.report.segments += 1;
                    self.report.segments_compressed += u64::from(!catalog.hot.contains(&index));
                    progress(&self.report);
                }
                // Retired meanwhile: the next one links to what is not known.
                None => before.link = None,
            }
            previous = Some(index);
            if catalog.next_above(previous).is_none() {
                catalog = Catalog::read(&*self.directory)?; // a recorder may have gone on
            }
        }
        self.end(previous);
        Ok(())
    }

    fn note_missing(&mut self, catalog: &Catalog, first: u32, last: u32) {
        let lost = catalog.lost.range(first..=last).count() as u64;
        let missing = u64::from(last - first) + 1 - lost;
        self.report.segments_lost += lost;
        self.report.segments_missing += missing;
        if missing > 0 {
            let index = (first..=last).find(|index| !catalog.lost.contains(index)).unwrap_or(first);
            let detail = format!("{first} to {last}");
            let next = u64::from(last) + 1;
            self.note(self.fault_at(index, Reason::MissingSegment, detail, (u64::from(index), next)));
        }
    }

    fn fault_at(&self, index: u32, reason: Reason, detail: String, (expected, actual): (u64, u64)) -> Fault {
        let name = SegmentName::new(index, SegmentNameKind::Hot).to_string();
        let path = self.directory.path().join(name);
        let corruption = Corruption { path, segment_index: index, block: None, offset: 0, reason, detail };
        Fault { corruption, expected, actual }
    }

    /// Keeps the fault with the lowest place: missing segments are seen before the others are read.
    fn note(&mut self, fault: Fault) {
        let place = |fault: &Fault| (fault.corruption.segment_index, fault.corruption.offset);
        if self.report.fault.as_ref().is_none_or(|first| place(&fault) < place(first)) {
            self.report.fault = Some(fault);
        }
    }

    /// Judges a segment in its forms; `None` when it was retired meanwhile.
    /// The names are read anew only where something does not hold: that takes longer the more there are.
    fn segment(&mut self, catalog: &mut Catalog, index: u32, before: Before) -> Result<Option<Before>, Error> {
        const LOOKS: u32 = 3;
        for look in 1..=LOOKS {
            let mut found: Option<(Counted, Before)> = None;
            let forms = [(catalog.hot.contains(&index), true), (catalog.frozen.contains(&index), false)];
            for (_, hot) in forms.into_iter().filter(|(there, _)| *there) {
                let Some((counted, after)) = self.form(catalog, index, hot, before)? else { continue };
                match &mut found {
                    Some((Counted { fault: Some(hot), .. }, _)) if counted.fault.is_some() => hot.add(counted.fault),
                    Some((Counted { fault: None, .. }, _)) => {}
                    _ => found = Some((counted, after)),
                }
            }
            if let Some((counted, after)) = found
                && (counted.fault.is_none() || look == LOOKS)
            {
                self.count(counted);
                return Ok(Some(after));
            }
            // Sealed, frozen, retired or written on under the look, or a true fault: look again.
            *catalog = Catalog::read(&*self.directory)?;
            if !catalog.hot.contains(&index) && !catalog.frozen.contains(&index) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn count(&mut self, counted: Counted) {
        self.report.blocks += counted.blocks;
        self.report.events += counted.events;
        self.report.bytes += counted.bytes;
        if self.report.first_event_id == 0 {
            self.report.first_event_id = counted.first_event_id;
        }
        self.report.last_event_id = self.report.last_event_id.max(counted.last_event_id);
        if let Some(fault) = counted.fault {
            self.note(fault);
        }
    }

    /// Judges one file; `None` when it is not there any more.
    fn form(
        &self,
        catalog: &Catalog,
        index: u32,
        hot: bool,
        before: Before,
    ) -> Result<Option<(Counted, Before)>, Error> {
        let kind = if hot { SegmentNameKind::Hot } else { SegmentNameKind::Frozen };
        let name = SegmentName::new(index, kind).to_string();
        let bytes = match self.directory.open_file(&name, Access::Read) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            // Opening it as a segment says what is wrong.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => 0,
            other => other.and_then(|file| file.attributes()).at("open", self.directory.path(), &name)?.bytes,
        };
        let mut counted = Counted::default();
        let after = match SegmentReader::open(&self.directory, &self.telemetry, index, hot, before) {
            Ok(mut segment) => {
                let walked = self.walk(catalog, &mut segment, &mut counted);
                let after = segment.after_all();
                let link = *walked.as_ref().unwrap_or(&after.link);
                let sealed = segment.is_sealed() || !catalog.frozen.contains(&index);
                let outcome = walked.and_then(|_| if sealed { Ok(()) } else { Err(segment.not_sealed().into()) });
                self.hold(outcome, Some(&mut segment), &mut counted)?;
                Before { link, ..after }
            }
            Err(Error::Io(error)) if error.source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                self.hold(Err(error), None, &mut counted)?;
                Before { link: None, ..before }
            }
        };
        counted.bytes = bytes;
        Ok(Some((counted, after)))
    }

    /// Reads to the end; gives the chain value that the next segment's link must hold.
    fn walk(
        &self,
        catalog: &Catalog,
        segment: &mut SegmentReader,
        counted: &mut Counted,
    ) -> Result<Option<u64>, Error> {
        let limit = durable_limit(&*self.system, &*self.directory)?.map(|limit| limit.max(self.durable));
        let mut batch = Batch::default();
        // Up to this block all are counted.
        let mut block_end = 0;
        loop {
            let block = segment.place().1;
            let round = segment.read(limit, &mut batch)?;
            if let Some(first) = batch.first() {
                if counted.first_event_id == 0 {
                    counted.first_event_id = first.event_id;
                }
                counted.events += batch.len() as u64;
                counted.last_event_id = segment.last_given_id();
                // One that was not read to its end is not passed yet.
                let end = segment.place().1.max(block + 1);
                counted.blocks += u64::from(end.saturating_sub(block_end.max(block)));
                block_end = end;
            } else if round != Round::Went {
                break;
            }
        }
        if segment.is_sealed() {
            return Ok(segment.after_all().link);
        }
        // A later segment in use makes this one's end final; else the tail may be torn.
        let in_use = self.is_later_in_use(catalog, segment.index, limit)?;
        if in_use || limit.is_none() {
            return segment.hold_end(in_use);
        }
        Ok(None)
    }

    /// Whether a segment above `index` is in use. Prepared ones may be gone since the names were read: a recorder has closed.
    fn is_later_in_use(&self, catalog: &Catalog, index: u32, limit: Option<u64>) -> Result<bool, Error> {
        let unknown = Before { last_event_id: 0, link: None };
        let above = |index: &u32| catalog.next_above(Some(*index));
        for index in std::iter::successors(above(&index), above) {
            let hot = catalog.hot.contains(&index);
            match SegmentReader::open(&self.directory, &self.telemetry, index, hot, unknown) {
                Ok(mut segment) => {
                    let used = if limit.is_none() { segment.was_in_use()? } else { segment.is_in_use(limit)? };
                    if used {
                        return Ok(true);
                    }
                }
                Err(Error::Io(error)) if error.source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn hold(
        &self,
        outcome: Result<(), Error>,
        segment: Option<&mut SegmentReader>,
        counted: &mut Counted,
    ) -> Result<(), Error> {
        match outcome {
            Ok(()) => Ok(()),
            Err(Error::Corrupt(corruption)) => {
                let (expected, actual) = match segment {
                    Some(segment) => segment.numbers(corruption.reason),
                    None => self.header_numbers(&corruption),
                };
                counted.fault = Some(Fault { corruption: *corruption, expected, actual });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// What a segment's header must be and is, for reasons that compare two numbers. Of a `.wal`; a frozen one has none.
    fn header_numbers(&self, corruption: &Corruption) -> (u64, u64) {
        let Some(name) = corruption.path.file_name().and_then(|name| name.to_str()) else { return (0, 0) };
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let Ok(file) = self.directory.open_file(name, Access::Read) else { return (0, 0) };
        let hot = SegmentName::new(corruption.segment_index, SegmentNameKind::Hot).to_string();
        if name != hot || file.read_up_to(&mut bytes, 0).is_err() {
            return (0, 0);
        }
        match corruption.reason {
            Reason::HeaderChecksum => (u64_at(&bytes, 48), SegmentHeader::checksum_of(&bytes)),
            Reason::SegmentIndex => (corruption.segment_index.into(), u32_at(&bytes, 4).into()),
            Reason::FileSize => {
                let blocks = u64::from(u32_at(&bytes, 8));
                let told = SEGMENT_HEADER_BYTES as u64 + blocks * crate::format::BLOCK_BYTES as u64;
                (told, file.attributes().map_or(0, |attributes| attributes.bytes))
            }
            _ => (0, 0),
        }
    }

    fn end(&mut self, last_index: Option<u32>) {
        let (last, durable) = (self.report.last_event_id, self.durable);
        if last < durable && self.report.fault.is_none() {
            let detail = format!("event {durable} was durable, the last one here is {last}");
            self.note(self.fault_at(last_index.unwrap_or(0), Reason::BelowMeta, detail, (durable, last)));
        }
    }
}
