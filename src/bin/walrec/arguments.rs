//! What can be said on the command line.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "Exit codes: 0 done, nothing wrong; 1 a fault was found in the log; 2 wrong use; 3 no such log, event or \
recorder; 4 the system failed, or a file is of a newer format.\nNothing is ever written into a log directory.";

/// Looks at walrec logs, reads them, and measures the machine they lie on.
#[derive(Debug, Parser)]
#[command(name = "walrec", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Print JSON, one value a line, and nothing else on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell what lies in a log directory: segments, ids, times, sizes, what was set aside
    Info(Info),
    /// Check every byte of a log; tell the first fault with file, offset and reason
    Verify(Log),
    /// Print events
    Dump(Dump),
    /// Print the last events; with -f, those that become durable from now on as well
    Tail(Tail),
    /// Copy everything that a damaged log still holds into a file, and list what is lost
    Salvage(Salvage),
    /// Write events as columns into a Parquet or Arrow IPC file, for pandas, DuckDB and the like
    #[cfg(feature = "export")]
    Export(Export),
    #[cfg(not(feature = "export"))]
    #[command(hide = true)]
    Export(NotBuilt),
    /// Tell where a running recorder stands: appended, durable, lag, rates
    ///
    /// Reads the control pages of the recorder's slots in shared memory, at the place that walrec.stage names, and the id of the last event
    /// there. No lock is taken and nothing is written; the append thread is not asked and not stopped. A killed recorder's
    /// stage is told in the same way. Rates count events by slots, so they are exact unless segments are rotated early.
    Stats(Stats),
    /// Look at this machine: file system, shared memory, kernel settings; what each costs and how to mend it
    Doctor(Doctor),
    /// Write events to standard output, 64 bytes each, at a rate; rate and lag go to standard error
    Replay(Replay),
    /// Record events into a temporary log in a directory, and print how long appends and durability took
    Bench(Bench),
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The log directory
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    #[command(flatten)]
    pub(crate) log: Log,
    /// List every segment, also of a log with more than 24
    #[arg(long)]
    pub(crate) all: bool,
}

/// Which events.
#[derive(Debug, Default, Args)]
pub(crate) struct Range {
    /// First event id
    #[arg(long, value_name = "ID")]
    pub(crate) from: Option<u64>,
    /// Last event id
    #[arg(long, value_name = "ID")]
    pub(crate) to: Option<u64>,
    /// First timestamp: nanoseconds as the engine gave them, or a time like 2026-11-27T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = timestamp, conflicts_with = "from")]
    pub(crate) since: Option<u64>,
    /// Last timestamp
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(crate) until: Option<u64>,
    /// At most so many events
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns
    Table,
    /// One JSON object a line
    Json,
    /// Comma-separated, with a heading
    Csv,
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    #[command(flatten)]
    pub(crate) log: Log,
    #[command(flatten)]
    pub(crate) range: Range,
    /// How; --json means json
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    pub(crate) log: Log,
    /// Go on with events as they become durable
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many of the last events to begin with
    #[arg(short = 'n', long, value_name = "N", default_value = "10")]
    pub(crate) lines: u32,
    /// How; --json means json
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SalvageFormat {
    /// 64 bytes an event, as in the log
    Raw,
    /// One JSON object a line
    Json,
    /// Comma-separated, with a heading
    Csv,
}

#[derive(Debug, Args)]
pub(crate) struct Salvage {
    #[command(flatten)]
    pub(crate) log: Log,
    /// Where the events go: a file that is not there yet, outside the log
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// How
    #[arg(long, value_enum, default_value = "raw")]
    pub(crate) format: SalvageFormat,
}

#[cfg(feature = "export")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Apache Parquet, compressed with Snappy
    Parquet,
    /// Arrow IPC file (Feather version 2), not compressed: to be mapped
    Arrow,
}

#[cfg(feature = "export")]
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) log: Log,
    /// Where the events go: a file that is not there yet, outside the log
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// How; without it the name's ending says: .parquet; .arrow, .feather, .ipc
    #[arg(long, value_enum)]
    pub(crate) format: Option<ExportFormat>,
    #[command(flatten)]
    pub(crate) range: Range,
    /// Prices as decimal numbers with so many digits behind the point; 0: whole numbers, as in the log
    #[arg(long, value_name = "DIGITS", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=18))]
    pub(crate) price_scale: u8,
    /// The same for quantities
    #[arg(long, value_name = "DIGITS", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=18))]
    pub(crate) quantity_scale: u8,
}

/// A command that this build does not have, however it is called.
#[cfg(not(feature = "export"))]
#[derive(Debug, Args)]
pub(crate) struct NotBuilt {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    #[command(flatten)]
    pub(crate) log: Log,
    /// Go on until interrupted, a line each interval
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: Duration,
    /// With --watch: end after so many lines
    #[arg(long, value_name = "N", requires = "watch")]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The directory where logs lie or are to lie
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) directory: PathBuf,
    /// Time writes and syncs in a temporary file there, for two seconds (12 MiB, removed again)
    #[arg(long)]
    pub(crate) measure: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    pub(crate) log: Log,
    #[command(flatten)]
    pub(crate) range: Range,
    /// Events per second; 0: as fast as they are read
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) rate: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Where the temporary log is made, and removed again
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// How many events
    #[arg(long, value_name = "N", default_value = "5000000", value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    pub(crate) events: u64,
    /// Events per second; 0: as fast as they are taken
    #[arg(long, value_name = "N", default_value = "1000000")]
    pub(crate) rate: u64,
    /// Write both distributions as text for HdrHistogram's plotter: FILE.append.hgrm and FILE.durable.hgrm
    #[arg(long, value_name = "FILE")]
    pub(crate) hdr: Option<PathBuf>,
    /// Draw both distributions by percentile
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

fn timestamp(text: &str) -> Result<u64, String> {
    if let Ok(nanoseconds) = text.parse() {
        return Ok(nanoseconds);
    }
    let time = humantime::parse_rfc3339_weak(text).map_err(|error| error.to_string())?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| "before 1970".to_owned())?;
    u64::try_from(since.as_nanos()).map_err(|_| "after 2554".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.01..=3600.0).contains(&seconds) {
        return Err("not in 0.01..=3600".into());
    }
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_nanoseconds_or_dates() {
        assert_eq!(timestamp("17"), Ok(17));
        assert_eq!(timestamp("2023-11-14T22:13:20.5Z"), Ok(1_700_000_000_500_000_000));
        assert_eq!(timestamp("2023-11-14 22:13:20"), Ok(1_700_000_000_000_000_000));
        assert!(timestamp("yesterday").is_err() && timestamp("-1").is_err());
    }

    #[test]
    fn the_declaration_is_sound() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
