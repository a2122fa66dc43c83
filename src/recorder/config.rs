//! What a recorder can be told, and the ranges of it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::Error;
use crate::format::{Geometry, MAX_BLOCKS_WRITTEN, MIN_BLOCKS};
use crate::sync::{processors, try_pin};

/// What an append does when no prepared segment is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullPolicy {
    /// Spins, up to this many microseconds, then gives BACKPRESSURE.
    Wait {
        /// Microseconds.
        limit_us: u32,
    },
    /// Gives BACKPRESSURE at once.
    Fail,
}

/// How much a log message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum LogLevel {
    /// Something was refused or lost.
    Error = 0,
    /// Something a person should look at.
    Warning = 1,
    /// Something worth knowing.
    Info = 2,
}

type LogFunction = dyn Fn(LogLevel, &str) + Send + Sync;

/// Where messages go. Called on workers and on the opening thread, never on the append thread.
#[derive(Clone, Default)]
pub struct LogSink(Option<Arc<LogFunction>>);

impl LogSink {
    /// Messages go to `function`.
    #[must_use]
    pub fn new(function: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(function)))
    }

    /// Messages go nowhere.
    #[must_use]
    pub fn silent() -> Self {
        Self(None)
    }

    pub(crate) fn log(&self, level: LogLevel, message: &str) {
        if let Some(function) = &self.0 {
            function(level, message);
        }
    }
}

impl fmt::Debug for LogSink {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_some() { "LogSink(function)" } else { "LogSink(silent)" })
    }
}

/// A recorder's configuration. [`Config::default`] is what a zeroed C structure means.
#[derive(Clone, Debug)]
pub struct Config {
    /// Blocks of a segment: 16..=131,072, default 512.
    pub num_blocks: u32,
    /// Segments kept as they are, the one being written included: 2.., default 32, `u32::MAX` for all.
    pub max_segments: u32,
    /// Segments kept compressed: default 128, `u32::MAX` for all.
    pub max_compressed_segments: u32,
    /// Slots of the stage: 3..=1024, default 6.
    pub stage_slots: u32,
    /// Most microseconds from an event to its flush: default 200, at most 1,000,000; 0 flushes in every duty cycle.
    pub flush_interval_us: u32,
    /// What an append does when no prepared segment is left: default waits 1,000,000 us.
    pub full_policy: FullPolicy,
    /// One append in this many on average is timed: default 1,024, `u32::MAX` none.
    pub append_sample: u32,
    /// CPU of the preparer.
    pub cpu_prepare: Option<u32>,
    /// CPU of the flusher.
    pub cpu_flush: Option<u32>,
    /// CPU of the maintainer.
    pub cpu_maintain: Option<u32>,
    /// CPU of the meta coordinator.
    pub cpu_meta: Option<u32>,
    /// Directory for the stage's own directory; default a place in /dev/shm, falling back to the log directory.
    pub stage_dir: Option<PathBuf>,
    /// Where messages go.
    pub log: LogSink,
    /// Nothing that holds this event or a later one is deleted; 0 for none. [`Manager::set_retention_floor`](super::Manager) changes it.
    pub retention_floor: u64,
    /// A stage that does not lie in memory is an error.
    pub require_shm: bool,
    /// Segments are not compressed; beyond the sum of both limits they are deleted as they are.
    pub no_compress: bool,
    /// Opening reads the whole log, and sets damaged segments aside instead of refusing.
    pub salvage: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            num_blocks: 512,
            max_segments: 32,
            max_compressed_segments: 128,
            stage_slots: 6,
            flush_interval_us: 200,
            full_policy: FullPolicy::Wait { limit_us: 1_000_000 },
            append_sample: 1_024,
            cpu_prepare: None,
            cpu_flush: None,
            cpu_maintain: None,
            cpu_meta: None,
            stage_dir: None,
            log: LogSink::silent(),
            retention_floor: 0,
            require_shm: false,
            no_compress: false,
            salvage: false,
        }
    }
}

/// Most stage slots of one recorder.
pub const MAX_STAGE_SLOTS: u32 = 1024;
/// Longest flush interval.
pub const MAX_FLUSH_INTERVAL_US: u32 = 1_000_000;

impl Config {
    /// The segments' shape, when every field is in its range.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field, its value and its range.
    pub(crate) fn validate(&self) -> Result<Geometry, Error> {
        let refuse =
            |field: &str, value: u32, range: &str| Err(Error::Invalid(format!("{field} is {value}, not {range}")));
        if !(MIN_BLOCKS..=MAX_BLOCKS_WRITTEN).contains(&self.num_blocks) {
            return refuse("num_blocks", self.num_blocks, "16..=131072");
        }
        if self.max_segments < 2 {
            return refuse("max_segments", self.max_segments, "2 or more");
        }
        if !(3..=MAX_STAGE_SLOTS).contains(&self.stage_slots) {
            return refuse("stage_slots", self.stage_slots, "3..=1024");
        }
        if self.flush_interval_us > MAX_FLUSH_INTERVAL_US {
            return refuse("flush_interval_us", self.flush_interval_us, "at most 1000000");
        }
        let path = self.stage_dir.as_ref().map(|path| path.as_os_str().as_encoded_bytes());
        if path.is_some_and(|bytes| bytes.is_empty() || bytes.contains(&b'\n') || bytes.len() > 4096) {
            return Err(Error::Invalid("stage_dir is empty, longer than 4096 bytes, or has a newline in it".into()));
        }
        Geometry::new(self.num_blocks).ok_or_else(|| Error::Invalid("num_blocks".into()))
    }

    /// Tries each CPU that a worker is to be pinned to.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field, its value as the C face counts (a CPU's number + 1), and its range.
    pub(crate) fn try_cpus(&self) -> Result<(), Error> {
        let fields = [
            ("cpu_prepare", self.cpu_prepare),
            ("cpu_flush", self.cpu_flush),
            ("cpu_maintain", self.cpu_maintain),
            ("cpu_meta", self.cpu_meta),
        ];
        for (field, cpu) in fields {
            let Some(cpu) = cpu else { continue };
            try_pin(cpu).map_err(|error| {
                let value = u64::from(cpu) + 1;
                if error.kind() != std::io::ErrorKind::InvalidInput {
                    return Error::NoMemory(format!("{field} is {value}: {error}"));
                }
                let last = processors();
                Error::Invalid(format!("{field} is {value}: no such CPU for this process (1 to {last}, 0 = any)"))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_each_field_out_of_range_by_name() {
        let refused = |config: Config| config.validate().unwrap_err().to_string();
        assert!(Config::default().validate().is_ok());
        for num_blocks in [0, 15, 131_073] {
            assert!(refused(Config { num_blocks, ..Config::default() }).contains("num_blocks"));
        }
        assert!(refused(Config { max_segments: 1, ..Config::default() }).contains("max_segments"));
        assert!(refused(Config { stage_slots: 2, ..Config::default() }).contains("stage_slots"));
        assert!(refused(Config { flush_interval_us: 1_000_001, ..Config::default() }).contains("flush_interval_us"));
        assert!(refused(Config { stage_dir: Some("a\nb".into()), ..Config::default() }).contains("stage_dir"));
    }
}
