//! `walrec dump`: events by id or time. The reading of a range, which `replay` shares.

use walrec::format::{EVENTS_PER_BLOCK, Event};
use walrec::recovery::Manager;

use crate::arguments::{Dump, Log, Range};
use crate::event_text::EventPrinter;
use crate::failure::Failure;
use crate::output::Output;

/// The events of a range, one after another.
pub(crate) struct RangeReader<'a> {
    reader: Manager,
    range: &'a Range,
    left: u64,
    /// Events in a row above `until`: times may be out of order within a block.
    late: u32,
}

impl<'a> RangeReader<'a> {
    pub(crate) fn open(log: &Log, range: &'a Range) -> Result<Self, Failure> {
        let mut reader = Manager::open(&log.directory, range.from.unwrap_or(0))?;
        if let Some(since) = range.since {
            reader.seek_time(since)?;
        }
        Ok(Self { reader, range, left: range.limit.unwrap_or(u64::MAX), late: 0 })
    }

    /// The next event of the range; `None` at its end, or at the log's.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, Failure> {
        while self.left > 0 && self.late <= 2 * EVENTS_PER_BLOCK {
            let Some(event) = self.reader.next()? else { return Ok(None) };
            if self.range.to.is_some_and(|to| event.event_id > to) {
                return Ok(None);
            }
            if self.range.until.is_some_and(|until| event.timestamp_ns > until) {
                self.late += 1;
                continue;
            }
            self.late = 0;
            if self.range.since.is_some_and(|since| event.timestamp_ns < since) {
                continue;
            }
            // What comes after the last id is not asked for: damage there is nobody's concern.
            self.left = if self.range.to == Some(event.event_id) { 0 } else { self.left - 1 };
            return Ok(Some(event));
        }
        Ok(None)
    }
}

pub(crate) fn run(options: &Dump, output: &mut Output) -> Result<(), Failure> {
    let mut events = RangeReader::open(&options.log, &options.range)?;
    let mut printer = EventPrinter::new(options.format, output);
    while let Some(event) = events.next()? {
        printer.print(&event, output)?;
    }
    Ok(())
}
