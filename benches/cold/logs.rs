//! The logs that are measured on, and their events.

use std::fs;
use std::path::{Path, PathBuf};

use walrec::format::Event;
use walrec::recorder::{self, Config, FullPolicy, SyncTimeout};
use walrec::segment::{Catalog, HotSegment};
use walrec::storage::{RealSystem, System};

/// Segments of a log that is recorded here, at the default geometry.
const SEGMENTS: u64 = 8;

/// What the events hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A generated day, by the example engine.
    Itch,
    /// The formula of the golden logs: ids and times that grow, the rest from a hash.
    Golden,
    /// Random but for the id: what compresses worst.
    Random,
}

impl Payload {
    pub fn name(self) -> &'static str {
        match self {
            Self::Itch => "itch",
            Self::Golden => "golden",
            Self::Random => "random",
        }
    }

    pub fn event(self, event_id: u64) -> Event {
        let word = mix(event_id);
        let mut bytes = [0; 64];
        for (step, part) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let step = u64::try_from(step).unwrap();
            *part = mix(event_id.wrapping_mul(8) + step + (1 << 60)).to_le_bytes();
        }
        let random = Event { event_id, ..Event::from_bytes(&bytes) };
        let low = |word: u64| u32::try_from(word & 0xffff_ffff).unwrap();
        match self {
            Self::Random => random,
            Self::Itch | Self::Golden => Event {
                event_id,
                timestamp_ns: 1_700_000_000_000_000_000 + 137 * event_id,
                price: (word % 200_000).cast_signed() - 1_000,
                quantity: (word >> 40).cast_signed(),
                user_id: low(word >> 7),
                order_id: low(event_id),
                kind: word.to_le_bytes()[0] & 3,
                order_type: word.to_le_bytes()[0] >> 2 & 1,
                side: word.to_le_bytes()[0] >> 3 & 1,
                user_bytes: std::array::from_fn(|place| word.to_le_bytes()[place % 8] ^ u8::try_from(place).unwrap()),
                guard: 0,
            },
        }
    }
}

/// `mix` of the golden logs' README.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// A place for this benchmark's files.
pub fn work(name: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cold");
    fs::create_dir_all(&all).unwrap();
    all.join(name)
}

/// The same, with nothing there.
pub fn fresh(name: &str) -> PathBuf {
    let path = work(name);
    let _ = fs::remove_dir_all(&path);
    path
}

/// All segments kept, and as they are.
pub fn keep_all() -> Config {
    Config {
        max_segments: u32::MAX,
        max_compressed_segments: u32::MAX,
        full_policy: FullPolicy::Wait { limit_us: 60_000_000 },
        ..Config::default()
    }
}

/// Records a log of full segments, and closes it.
pub fn record(path: &Path, payload: Payload) {
    let config = keep_all();
    let (mut writer, manager) = recorder::open(path, &config).unwrap();
    for event_id in 1..=SEGMENTS * u64::from(config.num_blocks) * 256 {
        writer.append(&payload.event(event_id)).unwrap();
    }
    manager.sync(0, SyncTimeout::Forever).unwrap();
    manager.shutdown().unwrap();
}

/// Copies a closed log; what was at `to` goes.
pub fn copy_log(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// The hot segments of a log.
pub fn indices(path: &Path) -> Vec<u32> {
    Catalog::read(&*RealSystem.open_directory(path, true).unwrap()).unwrap().hot.into_iter().collect()
}

/// Events of a sealed segment.
pub fn events_of(path: &Path, index: u32) -> u32 {
    let directory = RealSystem.open_directory(path, true).unwrap();
    HotSegment::open(&*directory, index).unwrap().header.seal.unwrap().event_count
}

/// The file of a frozen segment.
pub fn log_at(path: &Path, index: u32) -> PathBuf {
    path.join(format!("FS.{index:08}.wal.lz4"))
}
