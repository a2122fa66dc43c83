//! One segment, read for what it still holds: the header if it can be trusted, and its blocks one after another, with the stretches
//! that cannot be read.

use std::sync::Arc;

use crate::format::{
    BLOCK_BYTES, Geometry, GuardContext, HeaderVerdict, MAX_BLOCKS_READ, Reason, SEGMENT_HEADER_BYTES, Seal,
    SegmentHeader, SegmentName, SegmentNameKind, judge_header, u64_at,
};
use crate::recovery::Error;
use crate::segment::{self, BLOCKS_PER_FRAME, FrozenSegment};
use crate::storage::{Access, Directory, File, Place};

/// Blocks of a `.wal` read at once.
const READ_BLOCKS: usize = 16;

enum Source {
    Hot {
        file: Box<dyn File>,
        bytes: u64,
        window: Vec<u8>,
        first: u32,
    },
    Frozen(Box<FrozenSegment>),
    /// Nothing of it can be read.
    Lost,
}

pub(super) struct SalvageSegment {
    pub(super) index: u32,
    /// It is read from its `.wal`.
    pub(super) is_hot: bool,
    source: Source,
    pub(super) seal: Option<Seal>,
    pub(super) guards: Option<GuardContext>,
    /// The header says what the segment is.
    pub(super) header_holds: bool,
    /// What is wrong with the header, and the bytes that are lost with it.
    pub(super) header_gap: Option<(Reason, u64)>,
    pub(super) block_count: u32,
    /// The next block.
    pub(super) block: u32,
}

/// What comes next in a segment.
pub(super) enum Step {
    Block(Box<[u8; BLOCK_BYTES]>),
    /// Blocks up to `end` cannot be read.
    Unreadable {
        end: u32,
        reason: Reason,
    },
    /// The file was cut since it was opened: damaged by somebody, or retired.
    Cut,
    End,
}

impl SalvageSegment {
    /// Opens a segment; `None` when it has no file.
    pub(super) fn open(directory: &Arc<dyn Directory>, index: u32, hot: bool) -> Result<Option<Self>, Error> {
        if hot { Self::open_hot(&**directory, index) } else { Self::open_frozen(&**directory, index) }
    }

    fn lost(index: u32, is_hot: bool, reason: Reason, bytes: u64) -> Self {
        Self {
            index,
            is_hot,
            source: Source::Lost,
            seal: None,
            guards: None,
            header_holds: false,
            header_gap: Some((reason, bytes)),
            block_count: 0,
            block: 0,
        }
    }

    fn open_hot(directory: &dyn Directory, index: u32) -> Result<Option<Self>, Error> {
        let name = SegmentName::new(index, SegmentNameKind::Hot).to_string();
        let file = match directory.open_file(&name, Access::Read) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                return Ok(Some(Self::lost(index, true, Reason::FileKind, 0)));
            }
            other => other.at("open", directory.path(), &name)?,
        };
        let bytes = file.attributes().at("stat", directory.path(), &name)?.bytes;
        let mut header = [0; SEGMENT_HEADER_BYTES];
        let read = file.read_up_to(&mut header, 0).at("read", directory.path(), &name)?;
        if read < header.len() {
            return Ok(Some(Self::lost(index, true, Reason::FileSize, bytes)));
        }
        // A padded file ends in a piece that is no block; one of a wrong size may be cut inside a block.
        let by_size = bytes - SEGMENT_HEADER_BYTES as u64;
        let by_size = match Geometry::of_file(bytes) {
            Some(_) => by_size / BLOCK_BYTES as u64,
            None => by_size.div_ceil(BLOCK_BYTES as u64),
        };
        let by_size = u32::try_from(by_size).unwrap_or(u32::MAX).min(MAX_BLOCKS_READ);
        let (known, reason) = match judge_header(&header, index) {
            HeaderVerdict::Sealed(header) | HeaderVerdict::Unsealed(header) => (Some(header), Reason::None),
            // Its content belongs elsewhere, or to another library.
            HeaderVerdict::Corrupt(reason @ Reason::SegmentIndex) => {
                return Ok(Some(Self::lost(index, true, reason, bytes)));
            }
            HeaderVerdict::Newer => return Ok(Some(Self::lost(index, true, Reason::Version, bytes))),
            HeaderVerdict::Foreign => (None, Reason::Magic),
            HeaderVerdict::Corrupt(reason) => (None, reason),
        };
        let seal = known.and_then(|header| header.seal);
        let created_ts_ns = known.map_or(u64_at(&header, 32), |header: SegmentHeader| header.created_ts_ns);
        Ok(Some(Self {
            index,
            is_hot: true,
            source: Source::Hot { file, bytes, window: Vec::new(), first: 0 },
            seal,
            // A guard that holds proves also the time it was made with.
            guards: Some(GuardContext { segment_index: index, created_ts_ns }),
            header_holds: known.is_some(),
            header_gap: known.is_none().then_some((reason, SEGMENT_HEADER_BYTES as u64)),
            block_count: seal.map_or(by_size, |seal| seal.block_count.min(MAX_BLOCKS_READ)),
            block: 0,
        }))
    }

    fn open_frozen(directory: &dyn Directory, index: u32) -> Result<Option<Self>, Error> {
        let (segment, reason) = match FrozenSegment::open(directory, index) {
            Ok(segment) => (segment, None),
            Err(segment::Error::Io(error)) if error.source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(segment::Error::Io(error)) => return Err(error.into()),
            Err(segment::Error::Corrupt(corruption))
                if !matches!(corruption.reason, Reason::SegmentIndex | Reason::FileKind) =>
            {
                match FrozenSegment::open_without_header(directory, index)? {
                    Some(segment) => (segment, Some(corruption.reason)),
                    None => return Ok(Some(Self::lost(index, false, corruption.reason, 0))),
                }
            }
            Err(segment::Error::Corrupt(corruption)) => {
                return Ok(Some(Self::lost(index, false, corruption.reason, 0)));
            }
            Err(segment::Error::Newer { .. }) => return Ok(Some(Self::lost(index, false, Reason::Version, 0))),
            Err(segment::Error::Refused { .. }) => return Ok(Some(Self::lost(index, false, Reason::FileKind, 0))),
        };
        let header_holds = reason.is_none();
        let created_ts_ns = segment.header().created_ts_ns;
        Ok(Some(Self {
            index,
            is_hot: false,
            seal: header_holds.then_some(*segment.seal()),
            guards: header_holds.then_some(GuardContext { segment_index: index, created_ts_ns }),
            header_holds,
            header_gap: reason.map(|reason| (reason, SEGMENT_HEADER_BYTES as u64)),
            block_count: segment.seal().block_count.min(MAX_BLOCKS_READ),
            block: 0,
            source: Source::Frozen(Box::new(segment)),
        }))
    }

    /// Goes to `block`, or to where reading can begin before it.
    pub(super) fn go_to(&mut self, block: u32) -> Result<(), Error> {
        self.block = match &mut self.source {
            Source::Frozen(segment) => segment.enter_frame(block / BLOCKS_PER_FRAME)?.unwrap_or(0),
            Source::Hot { .. } | Source::Lost => block.min(self.block_count),
        };
        Ok(())
    }

    /// The next block, or how far there is none to be read. The position always grows.
    pub(super) fn step(&mut self, directory: &dyn Directory) -> Result<Step, Error> {
        if self.block >= self.block_count {
            return Ok(Step::End);
        }
        let index = self.block;
        match &mut self.source {
            Source::Lost => Ok(Step::End),
            Source::Hot { file, bytes, window, first } => {
                let offset = Geometry::block_offset(index) as u64;
                if offset >= *bytes {
                    self.block = self.block_count;
                    return Ok(Step::Unreadable { end: self.block_count, reason: Reason::FileSize });
                }
                let held = window.len() / BLOCK_BYTES;
                if index < *first || (index - *first) as usize >= held {
                    let name = SegmentName::new(self.index, SegmentNameKind::Hot).to_string();
                    window.clear();
                    let wanted = READ_BLOCKS.min((self.block_count - index) as usize) * BLOCK_BYTES;
                    window.resize(wanted, 0);
                    let read = file.read_up_to(window, offset).at("read", directory.path(), &name)?;
                    if (read as u64) < (*bytes - offset).min(window.len() as u64) {
                        window.clear();
                        return Ok(Step::Cut);
                    }
                    // A block that the file does not hold whole reads on in zeros.
                    window.truncate(read.next_multiple_of(BLOCK_BYTES).max(BLOCK_BYTES));
                    window[read.min(wanted)..].fill(0);
                    *first = index;
                }
                let block = window.as_chunks::<BLOCK_BYTES>().0[(index - *first) as usize];
                self.block += 1;
                Ok(Step::Block(Box::new(block)))
            }
            Source::Frozen(segment) => {
                let mut block = Box::new([0; BLOCK_BYTES]);
                if next_of_frozen(segment, index, &mut block)? {
                    self.block += 1;
                    return Ok(Step::Block(block));
                }
                let frame = index / BLOCKS_PER_FRAME + 1;
                let end = segment.enter_frame(frame)?.unwrap_or(self.block_count).min(self.block_count);
                self.block = end;
                Ok(Step::Unreadable { end, reason: Reason::Frozen })
            }
        }
    }
}

/// Decodes block `index`, which comes next; `false` when that cannot be done.
fn next_of_frozen(segment: &mut FrozenSegment, index: u32, block: &mut [u8; BLOCK_BYTES]) -> Result<bool, Error> {
    let mut decode = |segment: &mut FrozenSegment| match segment.next_block(block) {
        Ok(more) => Ok(more),
        Err(segment::Error::Io(error)) => Err(Error::from(error)),
        Err(_) => Ok(false),
    };
    if decode(segment)? {
        return Ok(true);
    }
    // What was wrong may be the end of the frame before: this one is entered on its own.
    if index.is_multiple_of(BLOCKS_PER_FRAME) && segment.enter_frame(index / BLOCKS_PER_FRAME)?.is_some() {
        return decode(segment);
    }
    Ok(false)
}
