//! `walrec info`: what lies in a log directory.

use std::path::Path;

use serde::Serialize;
use walrec::format::STAGE_FILE;
use walrec::recovery::{Standing, standing};
use walrec::segment::{Identity, read_meta};
use walrec::storage::{RealSystem, STAGE_RECORD_BYTES, StageRecord, System, read_small_file};

use crate::arguments::Info;
use crate::failure::Failure;
use crate::listing::{LogDirectory, Row};
use crate::machine::{LockHolder, lock_holder};
use crate::output::{Align, Output, bytes_text, fields, grouped, table, time_text};

/// Rows that are listed without `--all`: so many of the oldest, and of the newest.
const OLDEST: usize = 8;
const NEWEST: usize = 16;

#[derive(Serialize)]
struct Summary {
    path: String,
    identity: Option<String>,
    stage: Option<Stage>,
    /// running, none, not_seen (it was killed, or runs in another container) or unknown.
    recorder: &'static str,
    recorder_pid: Option<u32>,
    first_event_id: u64,
    last_event_id: u64,
    events: u64,
    meta_last_event_id: u64,
    appended_event_id: Option<u64>,
    durable_event_id: Option<u64>,
    segments: u64,
    hot: u64,
    frozen: u64,
    both_forms: u64,
    sealed: u64,
    open: u64,
    prepared: u64,
    damaged: u64,
    missing: Vec<u32>,
    lost: Vec<u32>,
    bytes: u64,
    bytes_uncompressed: u64,
    /// Of the frozen segments: uncompressed over compressed.
    compression_ratio: Option<f64>,
    blocks_per_segment: u32,
    quarantined: u32,
    leftovers: u64,
    foreign: Vec<String>,
    segment_list: Vec<Row>,
}

/// What `walrec.stage` says.
#[derive(Serialize)]
struct Stage {
    state: &'static str,
    incarnation: String,
    boot: String,
    this_boot: bool,
    path: String,
}

fn stage_of(log: &LogDirectory) -> Result<Option<Stage>, Failure> {
    let Identity::Known(id) = log.identity else { return Ok(None) };
    let Some(bytes) = read_small_file(&*log.directory, STAGE_FILE, STAGE_RECORD_BYTES)? else { return Ok(None) };
    let Some(record) = StageRecord::parse(&bytes, id) else { return Ok(None) };
    Ok(Some(Stage {
        state: if record.open { "open" } else { "closed" },
        incarnation: record.incarnation.to_string(),
        boot: record.boot.to_string(),
        this_boot: RealSystem.boot_id().is_ok_and(|boot| boot == record.boot),
        path: record.path.display().to_string(),
    }))
}

/// Whether a recorder has the log open: the word for it, and its process.
pub(crate) fn recorder_of(path: &Path, open: bool) -> (&'static str, Option<u32>) {
    match (lock_holder(path), open) {
        (LockHolder::Process(pid), _) => ("running", Some(pid)),
        (LockHolder::Unknown, _) => ("unknown", None),
        (LockHolder::Nobody, true) => ("not_seen", None),
        (LockHolder::Nobody, false) => ("none", None),
    }
}

impl Summary {
    fn new(path: &Path, log: &LogDirectory, rows: Vec<Row>) -> Result<Self, Failure> {
        let position = match standing(path)? {
            Standing::Open(position) => Some(position),
            Standing::Closed | Standing::Unseen { .. } => None,
        };
        let stage = stage_of(log)?;
        let open = stage.as_ref().is_some_and(|stage| stage.state == "open");
        let (recorder, recorder_pid) = recorder_of(path, open);
        let with = |what: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| what(row)).count() as u64;
        let state = |name: &str| with(&|row| row.state == name);
        let form = |name: &str| with(&|row| row.form == name);
        let frozen = rows.iter().filter(|row| row.form == "frozen" && row.state == "sealed");
        let (packed, unpacked) =
            frozen.fold((0, 0), |(packed, unpacked), row| (packed + row.bytes, unpacked + row.bytes_uncompressed));
        #[allow(clippy::cast_precision_loss, reason = "a ratio of two digits")]
        let compression_ratio = (packed > 0).then(|| unpacked as f64 / packed as f64);
        Ok(Self {
            path: path.display().to_string(),
            identity: if let Identity::Known(id) = log.identity { Some(id.to_string()) } else { None },
            stage,
            recorder,
            recorder_pid,
            first_event_id: rows.iter().map(|row| row.first_event_id).find(|&id| id > 0).unwrap_or(0),
            last_event_id: rows.iter().map(|row| row.last_event_id).max().unwrap_or(0),
            events: rows.iter().map(|row| u64::from(row.events)).sum(),
            meta_last_event_id: read_meta(&*log.directory)?.last_event_id,
            appended_event_id: position.as_ref().map(|position| position.appended_event_id),
            durable_event_id: position.as_ref().map(|position| position.durable_event_id),
            segments: rows.len() as u64,
            hot: form("hot"),
            frozen: form("frozen"),
            both_forms: form("both"),
            sealed: state("sealed"),
            open: state("open"),
            prepared: state("prepared"),
            damaged: state("damaged"),
            missing: log.missing(),
            lost: log.catalog.lost.iter().copied().collect(),
            bytes: rows.iter().map(|row| row.bytes).sum(),
            bytes_uncompressed: rows.iter().map(|row| row.bytes_uncompressed).sum(),
            compression_ratio,
            blocks_per_segment: rows.iter().rev().find(|row| row.form != "frozen").map_or(0, |row| row.blocks),
            quarantined: log.catalog.quarantined,
            leftovers: (log.catalog.leftovers.len() + log.catalog.temporary.len()) as u64,
            foreign: log.catalog.foreign.iter().map(|name| name.to_string_lossy().into_owned()).collect(),
            segment_list: rows,
        })
    }

    fn text(&self, all: bool) -> String {
        let none = || "none".to_owned();
        let pid = self.recorder_pid.map_or(String::new(), |pid| format!(", process {pid}"));
        let stage = self.stage.as_ref().map_or_else(none, |stage| {
            let boot = if stage.this_boot { "this boot" } else { "an earlier boot, or another machine" };
            format!("{} since {boot}, {}", stage.state, stage.path)
        });
        let mut lines = vec![
            ("log", self.path.clone()),
            ("identity", self.identity.clone().unwrap_or_else(none)),
            ("recorder", format!("{}{pid}", self.recorder)),
            ("stage", stage),
            ("events", format!("{} (ids {} to {})", grouped(self.events), self.first_event_id, self.last_event_id)),
        ];
        if let (Some(appended), Some(durable)) = (self.appended_event_id, self.durable_event_id) {
            lines.push(("appended", format!("to {appended}, durable to {durable}")));
        }
        lines.push(("wal_meta.dat", format!("durable to {} at least", self.meta_last_event_id)));
        lines.push((
            "segments",
            format!(
                "{}: {} sealed, {} open, {} prepared, {} damaged; {} hot, {} frozen, {} in both forms",
                self.segments,
                self.sealed,
                self.open,
                self.prepared,
                self.damaged,
                self.hot,
                self.frozen,
                self.both_forms
            ),
        ));
        let ratio =
            self.compression_ratio.map_or(String::new(), |ratio| format!(", frozen ones {ratio:.2} times smaller"));
        let unpacked = bytes_text(self.bytes_uncompressed);
        lines.push(("bytes", format!("{}, {unpacked} uncompressed{ratio}", bytes_text(self.bytes))));
        if self.blocks_per_segment > 0 {
            let blocks = self.blocks_per_segment;
            lines.push(("geometry", format!("{blocks} blocks of 256 events a segment")));
        }
        let list = |indices: &[u32]| {
            let shown: Vec<String> = indices.iter().take(8).map(u32::to_string).collect();
            let more = if indices.len() > 8 { ", ..." } else { "" };
            if indices.is_empty() { none() } else { format!("{}{more}", shown.join(", ")) }
        };
        lines.push(("missing", list(&self.missing)));
        lines.push((
            "set aside",
            format!("{} files in quarantine; lost segments: {}", self.quarantined, list(&self.lost)),
        ));
        lines.push(("other", format!("{} leftovers, {} foreign names", self.leftovers, self.foreign.len())));
        fields(&lines) + &self.rows_text(all)
    }

    fn rows_text(&self, all: bool) -> String {
        let (left, right) = (Align::Left, Align::Right);
        let columns = [
            ("segment", right),
            ("form", left),
            ("state", left),
            ("events", right),
            ("first id", right),
            ("last id", right),
            ("created", left),
            ("bytes", right),
        ];
        let count = self.segment_list.len();
        let hidden = if all || count <= OLDEST + NEWEST { 0..0 } else { OLDEST..count - NEWEST };
        let mut rows = Vec::new();
        for (place, row) in self.segment_list.iter().enumerate() {
            if place == hidden.start && !hidden.is_empty() {
                rows.push(vec!["...".into(), String::new(), format!("{} more", hidden.len())]);
            }
            if hidden.contains(&place) {
                continue;
            }
            rows.push(vec![
                row.segment.to_string(),
                row.form.into(),
                row.state.into(),
                row.events.to_string(),
                row.first_event_id.to_string(),
                row.last_event_id.to_string(),
                time_text(row.created_ts_ns),
                bytes_text(row.bytes),
            ]);
        }
        let faults = self.segment_list.iter().filter_map(|row| row.fault.as_ref());
        let faults = faults.fold(String::new(), |text, fault| text + &format!("damaged: {fault}\n"));
        format!("\n{}{faults}", table(&columns, &rows))
    }
}

pub(crate) fn run(options: &Info, output: &mut Output) -> Result<(), Failure> {
    let path = &options.log.directory;
    let log = LogDirectory::open(path)?;
    let rows = log.rows()?;
    let summary = Summary::new(path, &log, rows)?;
    output.report(&summary, |summary| summary.text(options.all))?;
    let first_fault = summary.segment_list.iter().find_map(|row| row.fault.clone());
    let missing = summary.missing.first().map(|index| format!("{}: segment {index} is missing", path.display()));
    match first_fault.or(missing) {
        Some(fault) => Err(Failure::FaultTold(fault)),
        None => Ok(()),
    }
}
