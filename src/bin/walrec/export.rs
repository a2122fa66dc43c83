//! `walrec export`: a range of events as columns, for pandas, DuckDB and the like.

use serde::Serialize;

use crate::arguments::{Export, ExportFormat};
use crate::columns::{ColumnFile, Scales};
use crate::dump::RangeReader;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::new_file::NewFile;
use crate::output::{Output, bytes_text, fields, grouped};

#[derive(Serialize)]
struct Exported {
    path: String,
    out: String,
    format: &'static str,
    events: u64,
    first_event_id: u64,
    last_event_id: u64,
    bytes_written: u64,
}

impl Exported {
    fn text(&self) -> String {
        let ids = format!("{} (ids {} to {})", grouped(self.events), self.first_event_id, self.last_event_id);
        fields(&[
            ("log", self.path.clone()),
            ("written", format!("{} of {} to {}", bytes_text(self.bytes_written), self.format, self.out)),
            ("events", ids),
        ])
    }
}

/// What was asked for, or what the name says.
fn format_of(options: &Export) -> Result<ExportFormat, Failure> {
    let named = options.out.extension().and_then(|extension| extension.to_str());
    let by_name = match named {
        Some("parquet") => Some(ExportFormat::Parquet),
        Some("arrow" | "feather" | "ipc") => Some(ExportFormat::Arrow),
        _ => None,
    };
    options.format.or(by_name).ok_or_else(|| {
        let out = options.out.display();
        Failure::Usage(format!("{out}: ends neither in .parquet nor in .arrow: say which with --format"))
    })
}

pub(crate) fn run(options: &Export, output: &mut Output) -> Result<(), Failure> {
    let format = format_of(options)?;
    let mut events = RangeReader::open(&options.log, &options.range)?;
    let interrupt = Interrupt::watched()?;
    let file = NewFile::create(&options.out, &options.log.directory)?;
    let scales = Scales { price: options.price_scale, quantity: options.quantity_scale };
    let (mut columns, name) = match format {
        ExportFormat::Parquet => (ColumnFile::parquet(file, scales)?, "Parquet"),
        ExportFormat::Arrow => (ColumnFile::arrow(file, scales)?, "Arrow IPC"),
    };
    let mut exported = Exported {
        path: options.log.directory.display().to_string(),
        out: options.out.display().to_string(),
        format: name,
        events: 0,
        first_event_id: 0,
        last_event_id: 0,
        bytes_written: 0,
    };
    while let Some(event) = events.next().map_err(|failure| without_a_file(failure, exported.last_event_id))? {
        if exported.events == 0 {
            exported.first_event_id = event.event_id;
        }
        exported.events += 1;
        exported.last_event_id = event.event_id;
        columns.put(event)?;
        interrupt.check()?;
    }
    exported.bytes_written = columns.finish()?;
    output.report(&exported, Exported::text)
}

/// A table that ends before the damage would look like a whole one: none is made.
fn without_a_file(failure: Failure, last_event_id: u64) -> Failure {
    let Failure::Fault(text) = failure else { return failure };
    let way = if last_event_id > 0 {
        format!("--to {last_event_id} exports what is before it, walrec salvage passes it")
    } else {
        "walrec salvage passes it".into()
    };
    Failure::Fault(format!("{text}; no file was made: {way}"))
}
