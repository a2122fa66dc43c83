//! `walrec verify`: the whole log judged, with a bar on a terminal.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use walrec::recovery::{Fault, VerifyReport, verify_with};
use walrec::storage::RealSystem;

use crate::arguments::Log;
use crate::failure::Failure;
use crate::machine;
use crate::output::{Output, Progress, bytes_text, fields, grouped};

#[derive(Serialize)]
struct Verified {
    path: String,
    ok: bool,
    segments: u64,
    segments_compressed: u64,
    segments_missing: u64,
    segments_lost: u64,
    blocks: u64,
    events: u64,
    bytes: u64,
    first_event_id: u64,
    last_event_id: u64,
    seconds: f64,
    fault: Option<FaultValue>,
}

/// A fault, with its place.
#[derive(Serialize)]
struct FaultValue {
    file: String,
    segment: u32,
    block: Option<u32>,
    offset: u64,
    reason_number: u32,
    reason: &'static str,
    detail: String,
    expected: u64,
    actual: u64,
}

impl FaultValue {
    fn new(fault: &Fault) -> Self {
        let at = &fault.corruption;
        Self {
            file: at.path.display().to_string(),
            segment: at.segment_index,
            block: at.block,
            offset: at.offset,
            reason_number: at.reason.as_u32(),
            reason: at.reason.text(),
            detail: at.detail.clone(),
            expected: fault.expected,
            actual: fault.actual,
        }
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let place = self.block.map_or(String::new(), |block| format!(", block {block}"));
        let mut lines = vec![
            ("fault", self.reason.to_owned()),
            ("  file", self.file.clone()),
            ("  place", format!("segment {}{place}, offset {}", self.segment, self.offset)),
        ];
        if (self.expected, self.actual) != (0, 0) {
            lines.push(("  expected", self.expected.to_string()));
            lines.push(("  found", self.actual.to_string()));
        }
        if !self.detail.is_empty() {
            lines.push(("  detail", self.detail.clone()));
        }
        lines
    }
}

impl Verified {
    fn new(options: &Log, report: &VerifyReport, seconds: f64) -> Self {
        Self {
            path: options.directory.display().to_string(),
            ok: report.fault.is_none(),
            segments: report.segments,
            segments_compressed: report.segments_compressed,
            segments_missing: report.segments_missing,
            segments_lost: report.segments_lost,
            blocks: report.blocks,
            events: report.events,
            bytes: report.bytes,
            first_event_id: report.first_event_id,
            last_event_id: report.last_event_id,
            seconds,
            fault: report.fault.as_ref().map(FaultValue::new),
        }
    }

    fn text(&self) -> String {
        let lines = [
            ("log", self.path.clone()),
            (
                "segments",
                format!(
                    "{} ({} frozen), {} missing, {} lost earlier",
                    self.segments, self.segments_compressed, self.segments_missing, self.segments_lost
                ),
            ),
            ("blocks", grouped(self.blocks)),
            ("events", format!("{} (ids {} to {})", grouped(self.events), self.first_event_id, self.last_event_id)),
            ("bytes", format!("{} in {:.2} s", bytes_text(self.bytes), self.seconds)),
            (
                "verdict",
                if self.ok { "everything verifies".into() } else { "DAMAGED; counts are of what holds".into() },
            ),
        ];
        let fault = self.fault.as_ref().map_or(Vec::new(), FaultValue::lines);
        fields(&lines.into_iter().chain(fault).collect::<Vec<_>>())
    }
}

pub(crate) fn run(options: &Log, output: &mut Output) -> Result<(), Failure> {
    let of = machine::segment_bytes(&options.directory);
    let mut progress = Progress::new();
    let begin = Instant::now();
    let report = verify_with(Arc::new(RealSystem), &options.directory, |so_far| {
        progress.draw(so_far.bytes, of, &format!("{} events", grouped(so_far.events)));
    });
    progress.clear();
    let report = report?;
    output.report(&Verified::new(options, &report, begin.elapsed().as_secs_f64()), Verified::text)?;
    match report.fault {
        Some(fault) => Err(Failure::FaultTold(fault.corruption.to_string())),
        None => Ok(()),
    }
}
