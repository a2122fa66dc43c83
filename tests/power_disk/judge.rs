//! Opens the log on a mounted file system, and holds what is recovered against the story.

use std::fmt;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walrec::format::{Event, Id128};
use walrec::recorder::{Config, FullPolicy, Manager, OpenFlags, OpenReport, SegmentWriter, WorkerKind, open_stepped};
use walrec::storage::{Directory, RealSystem, System};

use crate::recording::Recording;
use crate::rig::{FileSystem, LoopDevice, Mount, Rig};
use crate::states::State;
use crate::story::{Bounds, Random, Story, event_of};
use crate::write_log::{Origin, WriteLog};

/// What a state must not come to.
#[derive(Debug)]
pub enum Fault {
    /// The file system is not there any more.
    Mount(String),
    /// A durable event is not there.
    Lost(String),
    /// Something is there that must not be, or is refused.
    Wrong(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(text) => write!(out, "the file system is gone: {text}"),
            Self::Lost(text) => write!(out, "lost: {text}"),
            Self::Wrong(text) => write!(out, "wrong: {text}"),
        }
    }
}

/// What a state may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    CutTail,
    AboveDurable,
    BelowAppended,
    Empty,
    Frozen,
    BothForms,
    Leaving,
    FrontGone,
    CutAgain,
    WentOn,
}

/// All of them, and how they are told.
pub const SIGHTS: [(Sight, &str); 10] = [
    (Sight::CutTail, "with a torn tail"),
    (Sight::AboveDurable, "recovered above the watermark"),
    (Sight::BelowAppended, "below the last append"),
    (Sight::Empty, "empty"),
    (Sight::Frozen, "with frozen segments"),
    (Sight::BothForms, "with one in both forms"),
    (Sight::Leaving, "with one on its way out"),
    (Sight::FrontGone, "without their front"),
    (Sight::CutAgain, "cut again after the open"),
    (Sight::WentOn, "written on"),
];

/// What a state showed.
pub type Seen = Vec<Sight>;

/// The real machine, after a restart.
#[derive(Debug)]
struct NextBoot;

impl System for NextBoot {
    fn open_directory(&self, path: &Path, follow: bool) -> io::Result<Arc<dyn Directory>> {
        RealSystem.open_directory(path, follow)
    }

    fn create_directory(&self, path: &Path) -> io::Result<bool> {
        RealSystem.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        RealSystem.remove_directory(path)
    }

    fn rename_directory(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealSystem.rename_directory(from, to)
    }

    fn absolute_path(&self, path: &Path) -> io::Result<PathBuf> {
        RealSystem.absolute_path(path)
    }

    fn boot_id(&self) -> io::Result<Id128> {
        Ok(Id128([0x5a; 16]))
    }

    fn random_id(&self) -> io::Result<Id128> {
        RealSystem.random_id()
    }

    fn realtime_ns(&self) -> u64 {
        RealSystem.realtime_ns()
    }
}

/// Images are put on a device here, mounted, and judged.
pub struct Bench {
    file_system: FileSystem,
    image: fs::File,
    bytes: u64,
    device: LoopDevice,
    mounted: PathBuf,
    stage: PathBuf,
}

impl Bench {
    pub fn new(rig: &Rig, name: &str, recording: &Recording) -> Self {
        let (file_system, bytes) = (recording.file_system, recording.log.bytes());
        let directory = rig.fresh(name);
        let path = directory.join("image");
        let image = fs::File::create(&path).expect("the image is made");
        image.set_len(bytes).expect("the image has its size");
        let device = LoopDevice::attach(&path).expect("a loop device");
        let [mounted, stage] = ["mounted", "stage"].map(|part| rig.fresh(&format!("{name}/{part}")));
        Self { file_system, image, bytes, device, mounted, stage }
    }

    /// Puts a state on the device.
    pub fn put(&self, log: &WriteLog, origins: &[Origin]) {
        let emptied = self.image.set_len(0).and_then(|()| self.image.set_len(self.bytes));
        emptied.and_then(|()| log.write_image(origins, &self.image)).expect("the image is written");
        self.device.forget();
    }

    fn mount(&self) -> Result<Mount, Fault> {
        self.device.mount(self.file_system, &self.mounted).map_err(|error| Fault::Mount(format!("mount: {error}")))
    }

    /// Mounts and judges what was put, with a choice of what to try that follows from the state.
    pub fn judge(&self, story: &Story, state: &State) -> Result<Seen, Fault> {
        let system: Arc<dyn System> =
            if state.number().is_multiple_of(2) { Arc::new(NextBoot) } else { Arc::new(RealSystem) };
        let mut random = Random(state.number());
        let log = LogPlace { system, directory: self.mounted.join("log"), stage: self.stage.clone(), story };
        let bounds = story.bounds(state.at);
        let mut mount = self.mount()?;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            log.empty_stage();
            let mut seen = log.look();
            let (writer, manager) = log.open("open")?;
            let report = manager.report().clone();
            seen.extend(log.compare(bounds, &report)?);
            if report.events_from_stage > 0 {
                return Err(wrong("events came from a stage that is not there"));
            }
            if self.file_system.can_shut_down() && random.below(3) == 0 {
                // The power fails again when the open has returned: what it reported is durable.
                mount.cut().map_err(|error| wrong(format!("the second cut: {error}")))?;
                drop((writer, manager));
                std::mem::replace(&mut mount, Mount::none()).end();
                mount = self.mount()?;
                log.empty_stage();
                seen.push(Sight::CutAgain);
            } else {
                manager.shutdown().map_err(|error| wrong(format!("close: {error}")))?;
                drop((writer, manager));
            }
            let (writer, manager) = log.open("second open")?;
            same_again(&report, manager.report())?;
            if random.below(4) == 0 {
                seen.push(Sight::WentOn);
                log.go_on(writer, manager, &report, &mut random)?;
            } else {
                log.read_all(report.last_event_id)?;
            }
            Ok(seen)
        }));
        let outcome = caught.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Err(Fault::Wrong(format!("panic: {}", text.unwrap_or_default())))
        });
        mount.end();
        outcome
    }
}

/// A log to be opened.
pub struct LogPlace<'a> {
    pub system: Arc<dyn System>,
    pub directory: PathBuf,
    pub stage: PathBuf,
    pub story: &'a Story,
}

fn shown<const N: usize>(sights: [(Sight, bool); N]) -> Seen {
    sights.into_iter().filter(|(_, shown)| *shown).map(|(sight, _)| sight).collect()
}

fn wrong(what: impl Into<String>) -> Fault {
    Fault::Wrong(what.into())
}

impl LogPlace<'_> {
    /// The machine was off: its shared memory is empty.
    pub fn empty_stage(&self) {
        let _ = fs::remove_dir_all(&self.stage);
        fs::create_dir(&self.stage).expect("the place of the stage is made");
    }

    /// What the names tell before recovery.
    fn look(&self) -> Seen {
        let names = fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        let names: Vec<String> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let has = |ending: &str| names.iter().any(|name| name.ends_with(ending));
        let both = names.iter().any(|name| names.contains(&format!("{name}.lz4")));
        shown([(Sight::Frozen, has(".wal.lz4")), (Sight::Leaving, has(".del")), (Sight::BothForms, both)])
    }

    pub fn open(&self, which: &str) -> Result<(SegmentWriter, Manager), Fault> {
        let config = Config {
            num_blocks: 16,
            stage_slots: 3,
            flush_interval_us: 0,
            full_policy: FullPolicy::Fail,
            max_segments: self.story.max_segments,
            max_compressed_segments: self.story.max_compressed_segments,
            stage_dir: Some(self.stage.clone()),
            ..Config::default()
        };
        open_stepped(Arc::clone(&self.system), &self.directory, &config)
            .map_err(|error| wrong(format!("{which}: {error}")))
    }

    /// The log that was just opened holds what the bounds say.
    pub fn compare(&self, bounds: Bounds, report: &OpenReport) -> Result<Seen, Fault> {
        let last = report.last_event_id;
        if last < bounds.durable {
            return Err(Fault::Lost(format!("recovered {last}, durable {}", bounds.durable)));
        }
        if last > bounds.appended {
            return Err(wrong(format!("recovered {last}, appended {}", bounds.appended)));
        }
        let flags = OpenFlags::SALVAGED | OpenFlags::STAGE_SET_ASIDE | OpenFlags::STAGE_ON_DISK;
        if report.flags & flags != 0 {
            return Err(wrong(format!("flags {}", report.flags)));
        }
        let first = self.read_all(last)?;
        if first != report.first_event_id {
            return Err(wrong(format!("the first event is {first}, reported {}", report.first_event_id)));
        }
        if first > bounds.kept {
            return Err(Fault::Lost(format!("the log begins at {first}, {} must be there", bounds.kept)));
        }
        if first > 0 && !self.story.begins_a_segment(first) {
            return Err(wrong(format!("the log begins at {first}, within a segment")));
        }
        Ok(shown([
            (Sight::CutTail, report.flags & OpenFlags::CUT != 0),
            (Sight::AboveDurable, last > bounds.durable),
            (Sight::BelowAppended, last < bounds.appended),
            (Sight::Empty, last == 0),
            (Sight::FrontGone, first > 1),
        ]))
    }

    /// Reads the whole log: gapless, with the right bytes, up to `last`. Gives the first event's id, 0 for none.
    fn read_all(&self, last: u64) -> Result<u64, Fault> {
        let fail = |error: walrec::recovery::Error| wrong(format!("read: {error}"));
        let mut reader =
            walrec::recovery::Manager::open_on(Arc::clone(&self.system), &self.directory, 0).map_err(fail)?;
        let (mut first, mut before) = (0, 0);
        while let Some(event) = reader.next().map_err(fail)? {
            let id = event.event_id;
            if first == 0 {
                first = id;
            } else if id != before + 1 {
                return Err(wrong(format!("event {id} after {before}")));
            }
            if (Event { guard: 0, ..event }) != event_of(id) {
                return Err(wrong(format!("the bytes of event {id}")));
            }
            before = id;
        }
        if before == last { Ok(first) } else { Err(wrong(format!("{before} is the last event read, not {last}"))) }
    }

    /// Writes on, closes, and reads all of it.
    pub fn go_on(
        &self,
        mut writer: SegmentWriter,
        manager: Manager,
        report: &OpenReport,
        random: &mut Random,
    ) -> Result<(), Fault> {
        let fail = |error: walrec::recorder::Error| wrong(format!("writing on: {error}"));
        let mut last = report.last_event_id;
        let end = last + 1 + random.below(700) as u64;
        while last < end {
            if writer.append(&event_of(last + 1)).is_ok() {
                last += 1;
                continue;
            }
            for worker in [WorkerKind::Flusher, WorkerKind::Maintainer, WorkerKind::Preparer] {
                manager.step(worker).map_err(fail)?;
            }
        }
        manager.shutdown().map_err(fail)?;
        drop((writer, manager));
        self.read_all(last).map(drop)
    }
}

pub fn same_again(first: &OpenReport, second: &OpenReport) -> Result<(), Fault> {
    let ids = |report: &OpenReport| (report.first_event_id, report.last_event_id);
    if ids(first) != ids(second) {
        return Err(wrong(format!("opened twice: {:?}, then {:?}", ids(first), ids(second))));
    }
    if second.flags & OpenFlags::CUT != 0 {
        return Err(wrong("the cut was done twice"));
    }
    Ok(())
}
