//! What the tests of whole logs share: temporary directories, the golden logs and their formula, seeds.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::EventBytes;
use super::fields::event as field;

/// A directory of mode 0700 that is removed at the end, and kept when the test fails.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(purpose: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("walrec-{purpose}-{}-{number}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Writes a file of mode 0600.
pub fn write_file(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// The names of the golden logs.
pub const GOLDEN: [&str; 5] = ["clean_300", "clean_6000", "clean_12288", "frozen_6000", "crashed_7000"];

/// Where a golden log stands in the tree.
pub fn golden_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A golden log's `LAST`.
pub fn golden_last(name: &str) -> u64 {
    fs::read_to_string(golden_dir(name).join("LAST")).unwrap().trim().parse().unwrap()
}

/// A private copy of a golden log, without `LAST`.
pub fn copy_golden(name: &str) -> TempDir {
    let copy = TempDir::new(name);
    for (file, bytes) in files_of(&golden_dir(name)) {
        if file != Path::new("LAST") {
            write_file(&copy.path().join(file), &bytes);
        }
    }
    copy
}

/// Every regular file below a directory, by its path in it.
pub fn files_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(dir: &Path, below: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = below.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &name, files);
            } else {
                files.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(dir, Path::new(""), &mut files);
    files
}

/// Everything that can be seen of a directory: names, kinds, modes, contents.
pub fn fingerprint(dir: &Path) -> BTreeMap<PathBuf, (u32, u64, usize)> {
    fn walk(dir: &Path, below: &Path, seen: &mut BTreeMap<PathBuf, (u32, u64, usize)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = below.join(entry.file_name());
            let meta = fs::symlink_metadata(entry.path()).unwrap();
            let mode = meta.permissions().mode();
            if meta.is_dir() {
                walk(&entry.path(), &name, seen);
                seen.insert(name, (mode, 0, 0));
            } else {
                let bytes = if meta.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
                seen.insert(name, (mode, super::segment::xxh64(&bytes, 0), bytes.len()));
            }
        }
    }
    let mut seen = BTreeMap::new();
    walk(dir, Path::new(""), &mut seen);
    seen
}

/// `mix` of the golden logs' README.
pub const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// Event `i` of the golden logs: its 64 bytes, guard 0.
pub fn golden_event(i: u64) -> EventBytes {
    let r = mix(i);
    let mut bytes = [0; 64];
    field::EVENT_ID.put(&mut bytes, i);
    field::TIMESTAMP_NS.put(&mut bytes, 1_700_000_000_000_000_000 + 137 * i);
    field::PRICE.put(&mut bytes, (r % 200_000).wrapping_sub(1000));
    field::QUANTITY.put(&mut bytes, r >> 40);
    field::USER_ID.put(&mut bytes, r >> 7);
    field::ORDER_ID.put(&mut bytes, i);
    field::TYPE.put(&mut bytes, r & 3);
    field::ORDER_TYPE.put(&mut bytes, (r >> 2) & 1);
    field::SIDE.put(&mut bytes, (r >> 3) & 1);
    for (k, byte) in (0_u8..17).zip(&mut bytes[field::USER_BYTES.off..]) {
        *byte = r.to_le_bytes()[usize::from(k % 8)] ^ k;
    }
    bytes
}

/// Bytes 0..60 of every event are those of the formula, from `first` without a gap to `last`.
pub fn check_formula(events: &[EventBytes], first: u64, last: u64) -> Result<(), String> {
    let expected_count = (last + 1).saturating_sub(first);
    if events.len() as u64 != expected_count {
        return Err(format!("events: expected {expected_count} ({first}..={last}), actual {}", events.len()));
    }
    for (id, event) in (first..=last).zip(events) {
        let expected = golden_event(id);
        if event[..field::GUARD.off] != expected[..field::GUARD.off] {
            return Err(format!("event {id}: expected {expected:02x?}, actual {event:02x?}"));
        }
    }
    Ok(())
}

/// Random numbers from a seed that is printed; `WALREC_TEST_SEED` repeats a run.
pub struct Random(u64);

impl Random {
    pub fn new(test: &str) -> Self {
        let seed = std::env::var("WALREC_TEST_SEED").map_or_else(
            |_| {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
                mix(now.as_secs() << 30 ^ u64::from(now.subsec_nanos()))
            },
            |seed| seed.parse().unwrap(),
        );
        eprintln!("{test}: WALREC_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `0..below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.next() % below
    }
}
