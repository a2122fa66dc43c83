//! Logs to look at, and running the command on them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use walrec::format::{Event, Geometry};
use walrec::recorder::{self, Config, Manager, SegmentWriter, SyncTimeout};

/// Events of the closed log: four full segments of 16 blocks, and a part of the fifth.
pub const EVENTS: u64 = 20_000;
pub const PER_SEGMENT: u64 = 16 * 256;
/// The time of event 0.
pub const EPOCH_NS: u64 = 1_700_000_000_000_000_000;
/// What the test that is a recorder in a process of its own is told by.
pub const CHILD: &str = "WALREC_CLI_CHILD";

pub fn event(event_id: u64) -> Event {
    let small = u32::try_from(event_id % 1_000).unwrap();
    Event {
        event_id,
        timestamp_ns: EPOCH_NS + event_id * 1_000,
        price: 100_000 - i64::from(small),
        quantity: 100,
        user_id: small,
        order_id: u32::try_from(event_id).unwrap(),
        kind: u8::from(event_id.is_multiple_of(4)) * 3,
        side: u8::from(event_id.is_multiple_of(2)),
        user_bytes: *b"as the engine did",
        ..Event::default()
    }
}

pub fn config() -> Config {
    Config { num_blocks: 16, max_segments: 3, ..Config::default() }
}

/// A directory of this test alone, removed at the end.
pub struct Ground(PathBuf);

impl Ground {
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn empty(&self, name: &str) -> PathBuf {
        let path = self.log(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// A copy of the closed log.
    pub fn closed(&self, name: &str) -> PathBuf {
        let path = self.empty(name);
        for (file, bytes) in &contents(closed_log()) {
            fs::write(path.join(file), bytes).unwrap();
        }
        path
    }

    /// The closed log with one byte of event 10,001 changed, and that byte's file.
    pub fn damaged(&self, name: &str) -> (PathBuf, PathBuf) {
        let path = self.closed(name);
        let file = path.join("FS.00000002.wal");
        let mut bytes = fs::read(&file).unwrap();
        let slot = u32::try_from(10_000 - 2 * PER_SEGMENT).unwrap();
        bytes[Geometry::event_offset(slot) + 16] ^= 1;
        fs::write(&file, bytes).unwrap();
        (path, file)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Appends up to `last` and waits until it is durable.
pub fn append_to(writer: &mut SegmentWriter, manager: &Manager, last: u64) {
    for event_id in manager.last_event_id() + 1..=last {
        writer.append(&event(event_id)).unwrap();
    }
    manager.sync(0, SyncTimeout::Limit(Duration::from_secs(60))).unwrap();
}

/// Waits until the log's directory is as wanted.
pub fn wait_for(what: &str, reached: impl Fn() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}: not reached");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn has(directory: &Path, name: &str) -> bool {
    directory.join(name).exists()
}

/// Records events until two segments are frozen.
pub fn record_closed(path: &Path) {
    let (mut writer, manager) = recorder::open(path, &config()).unwrap();
    append_to(&mut writer, &manager, EVENTS);
    wait_for("two frozen segments", || {
        has(path, "FS.00000001.wal.lz4") && !has(path, "FS.00000001.wal") && !has(path, "FS.00000001.del")
    });
    manager.shutdown().unwrap();
}

/// The closed log, made once: segments 0 and 1 frozen, 2 to 4 hot.
fn closed_log() -> &'static Path {
    static LOG: OnceLock<PathBuf> = OnceLock::new();
    LOG.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-closed");
        let _ = fs::remove_dir_all(&path);
        record_closed(&path);
        path
    })
}

/// What lies in a directory, by name.
pub fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

/// How a command ended.
pub struct Ran {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Ran {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// One JSON value a line.
    pub fn values(&self) -> Vec<serde_json::Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect()
    }

    /// The one JSON value.
    pub fn value(&self) -> serde_json::Value {
        let mut values = self.values();
        assert_eq!(values.len(), 1, "{}", self.text());
        values.remove(0)
    }
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_walrec"));
    command.args(arguments).env_remove("COLUMNS").stdin(Stdio::null());
    command
}

/// Runs the command.
pub fn walrec(arguments: &[&str]) -> Ran {
    let output = command(arguments).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    Ran { code: output.status.code().unwrap(), out: output.stdout, err }
}

/// Runs `walrec NAME DIR OPTIONS...`, which must end in `code`, and must leave the directory as it was, times of change included.
pub fn on(name: &str, directory: &Path, options: &[&str], code: i32) -> Ran {
    let state = || {
        let entries = fs::read_dir(directory).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            (entry.file_name(), metadata.modified().unwrap(), metadata.permissions().mode())
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort();
        (entries, contents(directory))
    };
    let before = state();
    let ran = walrec(&[&[name, directory.to_str().unwrap()], options].concat());
    assert_eq!(ran.code, code, "{name} {options:?}: {}\n{}", ran.err, String::from_utf8_lossy(&ran.out));
    assert!(state() == before, "{name} {options:?} changed {}", directory.display());
    ran
}

/// The ids of a dump's JSON lines.
pub fn ids(ran: &Ran) -> Vec<u64> {
    ran.values().iter().filter_map(|value| value["event_id"].as_u64()).collect()
}
