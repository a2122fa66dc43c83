//! `walrec doctor`: whether this machine suits the recorder. The findings; with `--measure`, what a sync costs here.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use walrec::recorder::Config;
use walrec::storage::{Access, Directory, PageBuffer, RealSystem, System};
use walrec::telemetry::histogram::{Histogram, HistogramSnapshot};

use crate::arguments::Doctor;
use crate::failure::Failure;
use crate::findings::{Finding, Status, all_settings};
use crate::interrupt::Interrupt;
use crate::listing::LogDirectory;
use crate::output::{Align, Output, grouped, table, wrapped};

/// Bytes of one timed write, and how many places there are for it: 12 MiB.
const WRITE_BYTES: usize = 64 << 10;
const WRITES: u32 = 192;
/// How long is measured: what stalls a disk now and then is not seen in a moment.
const MEASURED: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Diagnosis {
    directory: String,
    findings: Vec<Finding>,
    measured: Option<Measured>,
}

/// 64 KiB written past the page cache, and synced: one cycle of the flusher.
#[derive(Serialize)]
struct Measured {
    file: String,
    direct: bool,
    cycles: u64,
    p50_us: u64,
    p99_us: u64,
    p99_9_us: u64,
    max_us: u64,
    /// From an append to durable, at the default flush interval: what the disk alone takes. Its CPU, and what else the recorder
    /// writes (segments made ready, frozen), come on top.
    predicted_lag_p50_us: u64,
    predicted_lag_p99_us: u64,
}

impl Measured {
    fn new(file: &Path, direct: bool, cycles: &HistogramSnapshot) -> Self {
        let interval = u64::from(Config::default().flush_interval_us);
        let at = |millionths| cycles.quantile(millionths) / 1_000;
        Self {
            file: file.display().to_string(),
            direct,
            cycles: cycles.count(),
            p50_us: at(500_000),
            p99_us: at(990_000),
            p99_9_us: at(999_000),
            max_us: cycles.max() / 1_000,
            // An event waits for half an interval on average, and for its own cycle; at the worst for a whole interval, the rest of a
            // cycle that does not cover it, and its own.
            predicted_lag_p50_us: interval / 2 + at(500_000) * 3 / 2,
            predicted_lag_p99_us: interval + 2 * at(990_000),
        }
    }

    fn finding(&self) -> Finding {
        let found = format!(
            "64 KiB + fdatasync: p50 {} us, p99 {} us, p99.9 {} us, max {} us",
            grouped(self.p50_us),
            grouped(self.p99_us),
            grouped(self.p99_9_us),
            grouped(self.max_us)
        );
        let status = match self.p99_us {
            0..2_000 => Status::Ok,
            2_000..20_000 => Status::Warn,
            _ => Status::Bad,
        };
        let cost = format!(
            "appended to durable, as far as the disk alone goes: about {} us, p99 {} us; walrec bench measures it",
            grouped(self.predicted_lag_p50_us),
            grouped(self.predicted_lag_p99_us)
        );
        let mend = if status == Status::Ok { "" } else { "a disk with power-loss protection, alone for the log" };
        Finding { check: "sync", status, found, cost, mend: mend.into() }
    }
}

/// The row of the measure that was not asked for.
fn not_measured() -> Finding {
    let found = "not measured: --measure times writes and syncs here, and predicts the lag".into();
    Finding { check: "sync", status: Status::Unknown, found, cost: String::new(), mend: String::new() }
}

impl Diagnosis {
    fn text(&self) -> String {
        let columns = [("check", Align::Left), ("", Align::Left), ("found", Align::Left)];
        let rows: Vec<Vec<String>> = self
            .findings
            .iter()
            .map(|finding| vec![finding.check.into(), finding.status.text().into(), finding.found.clone()])
            .collect();
        let mut text = table(&columns, &rows);
        for finding in &self.findings {
            if finding.cost.is_empty() || (finding.status == Status::Ok && finding.check != "sync") {
                continue;
            }
            text += &format!("\n{}", wrapped(&format!("{}: {}", finding.check, finding.cost), "  "));
            if !finding.mend.is_empty() {
                text += &wrapped(&format!("  mend: {}", finding.mend), "    ");
            }
        }
        text
    }
}

/// A file of its own, removed at the end.
struct TemporaryFile {
    directory: std::sync::Arc<dyn Directory>,
    path: PathBuf,
    name: String,
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = self.directory.remove_file(&self.name);
    }
}

/// Times the flusher's cycle on preallocated, pre-written space, with its pause between two.
fn measure(folder: &Path) -> Result<Measured, Failure> {
    let directory = RealSystem.open_directory(folder, true).map_err(|error| Failure::io("open", folder, &error))?;
    let interrupt = Interrupt::watched()?;
    let name = format!("walrec-doctor-{}.tmp", process::id());
    let temporary = TemporaryFile { path: folder.join(&name), name, directory };
    let failed = |operation: &'static str| {
        let path = temporary.path.clone();
        move |error: std::io::Error| Failure::io(operation, &path, &error)
    };
    let file = temporary.directory.create_file(&temporary.name, Access::WriteDirect).map_err(failed("create"))?;
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&temporary.path).is_ok();
    let mut buffer = PageBuffer::zeroed(WRITE_BYTES).map_err(failed("get memory for"))?;
    let places = || (0..u64::from(WRITES)).map(|number| number * WRITE_BYTES as u64);
    file.allocate(u64::from(WRITES) * WRITE_BYTES as u64).map_err(failed("allocate"))?;
    for offset in places() {
        file.write_all_at(&buffer, offset).map_err(failed("write"))?;
    }
    file.sync_data().map_err(failed("sync"))?;
    buffer.fill(0x5a);
    let cycles = Histogram::default();
    let (all, pause) = (Instant::now(), Duration::from_micros(Config::default().flush_interval_us.into()));
    for offset in places().cycle().take_while(|_| all.elapsed() < MEASURED) {
        thread::sleep(pause);
        interrupt.check()?;
        let begin = Instant::now();
        file.write_all_at(&buffer, offset).map_err(failed("write"))?;
        file.sync_data().map_err(failed("sync"))?;
        cycles.record(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(Measured::new(&temporary.path, direct, &cycles.snapshot()))
}

/// Where a temporary file may go: beside a log, never into it, nor into what may be one.
fn folder_to_measure(path: &Path) -> Result<&Path, Failure> {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    match (LogDirectory::open(path), path.parent()) {
        (Ok(_), Some(parent)) if device(parent) == device(path) => Ok(parent),
        (Ok(_), _) => Err(Failure::Usage(format!(
            "{}: the log is the top of its file system: name another directory on that disk to be measured",
            path.display()
        ))),
        (Err(Failure::NotFound(_)), _) => Ok(path),
        (Err(failure), _) => Err(failure),
    }
}

pub(crate) fn run(options: &Doctor, output: &mut Output) -> Result<(), Failure> {
    let directory = &options.directory;
    let path = fs::canonicalize(directory).map_err(|error| Failure::io("open", directory, &error))?;
    if !path.is_dir() {
        return Err(Failure::io("open", directory, &io::ErrorKind::NotADirectory.into()));
    }
    let measured = if options.measure { Some(measure(folder_to_measure(&path)?)?) } else { None };
    let mut findings = all_settings(&path, measured.as_ref().map(|measured| measured.direct));
    findings.push(measured.as_ref().map_or_else(not_measured, Measured::finding));
    let diagnosis = Diagnosis { directory: directory.display().to_string(), findings, measured };
    output.report(&diagnosis, Diagnosis::text)?;
    let bad = diagnosis.findings.iter().find(|finding| finding.status == Status::Bad);
    bad.map_or(Ok(()), |bad| Err(Failure::FaultTold(format!("{}: {}", bad.check, bad.found))))
}
