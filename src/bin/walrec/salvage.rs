//! `walrec salvage`: what a reader that passes over damage gives, into a file of its own.

use std::io::{BufWriter, Write};

use serde::Serialize;
use walrec::format::Event;
use walrec::recovery::{Gap, Item, Salvager};

use crate::arguments::{Salvage, SalvageFormat};
use crate::event_text::{CSV_HEADING, csv_line, value_of};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::new_file::NewFile;
use crate::output::{Align, Output, bytes_text, fields, grouped, table};

#[derive(Serialize)]
struct Salvaged {
    path: String,
    out: String,
    events: u64,
    first_event_id: u64,
    last_event_id: u64,
    bytes_written: u64,
    gaps: Vec<GapValue>,
}

/// A range that was passed.
#[derive(Serialize)]
struct GapValue {
    segment: u32,
    offset: u64,
    length: u64,
    reason_number: u32,
    reason: &'static str,
    id_before: u64,
    id_after: u64,
}

impl GapValue {
    fn new(gap: &Gap) -> Self {
        Self {
            segment: gap.segment,
            offset: gap.offset,
            length: gap.length,
            reason_number: gap.reason.as_u32(),
            reason: gap.reason.text(),
            id_before: gap.id_before,
            id_after: gap.id_after,
        }
    }
}

impl Salvaged {
    fn text(&self) -> String {
        let ids = format!("{} (ids {} to {})", grouped(self.events), self.first_event_id, self.last_event_id);
        let lines = [
            ("log", self.path.clone()),
            ("written", format!("{} to {}", bytes_text(self.bytes_written), self.out)),
            ("events", ids),
            ("gaps", self.gaps.len().to_string()),
        ];
        if self.gaps.is_empty() {
            return fields(&lines);
        }
        let (left, right) = (Align::Left, Align::Right);
        let columns = [
            ("segment", right),
            ("offset", right),
            ("length", right),
            ("after id", right),
            ("before id", right),
            ("reason", left),
        ];
        let row = |gap: &GapValue| {
            let numbers = [u64::from(gap.segment), gap.offset, gap.length, gap.id_before, gap.id_after];
            numbers.iter().map(u64::to_string).chain([gap.reason.to_owned()]).collect()
        };
        let rows: Vec<Vec<String>> = self.gaps.iter().map(row).collect();
        format!("{}\n{}", fields(&lines), table(&columns, &rows))
    }
}

/// The file that events go to.
struct Target {
    file: BufWriter<NewFile>,
    format: SalvageFormat,
}

impl Target {
    fn create(options: &Salvage) -> Result<Self, Failure> {
        let file = NewFile::create(&options.out, &options.log.directory)?;
        let mut target = Self { file: BufWriter::with_capacity(1 << 20, file), format: options.format };
        if target.format == SalvageFormat::Csv {
            target.write(format!("{CSV_HEADING}\n").as_bytes())?;
        }
        Ok(target)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| self.failed("write", &error))
    }

    fn failed(&self, operation: &str, error: &dyn std::fmt::Display) -> Failure {
        Failure::System(format!("{}: {operation}: {error}", self.file.get_ref().path().display()))
    }

    fn put(&mut self, event: &Event) -> Result<(), Failure> {
        match self.format {
            SalvageFormat::Raw => self.write(&event.to_bytes()),
            SalvageFormat::Csv => self.write(format!("{}\n", csv_line(event)).as_bytes()),
            SalvageFormat::Json => {
                let text = serde_json::to_string(&value_of(event));
                let text = text.map_err(|error| self.failed("write", &error))?;
                self.write(format!("{text}\n").as_bytes())
            }
        }
    }

    /// What was salvaged is on the disk before it is said to be.
    fn finish(mut self) -> Result<u64, Failure> {
        self.file.flush().map_err(|error| self.failed("write", &error))?;
        self.file.into_inner().map_err(|error| Failure::System(error.to_string()))?.finish()
    }
}

pub(crate) fn run(options: &Salvage, output: &mut Output) -> Result<(), Failure> {
    let mut salvager = Salvager::open(&options.log.directory, 0)?;
    let interrupt = Interrupt::watched()?;
    let mut target = Target::create(options)?;
    let mut salvaged = Salvaged {
        path: options.log.directory.display().to_string(),
        out: options.out.display().to_string(),
        events: 0,
        first_event_id: 0,
        last_event_id: 0,
        bytes_written: 0,
        gaps: Vec::new(),
    };
    loop {
        interrupt.check()?;
        match salvager.next()? {
            Item::Event(event) => {
                target.put(&event)?;
                salvaged.events += 1;
                salvaged.last_event_id = event.event_id;
                if salvaged.first_event_id == 0 {
                    salvaged.first_event_id = event.event_id;
                }
            }
            Item::Gap(gap) => salvaged.gaps.push(GapValue::new(&gap)),
            Item::End => break,
        }
    }
    salvaged.bytes_written = target.finish()?;
    output.report(&salvaged, Salvaged::text)?;
    let Some(first) = salvaged.gaps.first() else { return Ok(()) };
    Err(Failure::FaultTold(format!(
        "{}: gaps: {}, the first in segment {}, offset {}: {}",
        salvaged.path,
        salvaged.gaps.len(),
        first.segment,
        first.offset,
        first.reason
    )))
}
