//! The whole file system goes down under a living recorder (FS_IOC_SHUTDOWN), as it does when its disk breaks off.
//!
//! The recorder must be poisoned with an error that names the file and the cause, never be killed by a signal, and close. Then the file
//! system is mounted again. With the stage still there every appended event is recovered, without it every durable one.

use std::sync::Arc;

use walrec::recorder::OpenFlags;
use walrec::storage::RealSystem;

use crate::judge::{Fault, LogPlace, same_again};
use crate::rig::{FileSystem, LoopDevice, Rig};
use crate::story::{Bounds, Random, Story};
use crate::toolchain::{self, announce};

/// FS_IOC_SHUTDOWN's flags: what is still written.
const FLAGS: [(&str, &str); 3] = [("0", "everything"), ("1", "the journal"), ("2", "nothing")];
/// Where the recorder notes what was durable when the shutdown began, and at the end.
const AT_BEGIN: usize = 1;
const AT_END: usize = 2;
const LIMIT: std::time::Duration = std::time::Duration::from_secs(70);

/// What the shutdowns came across.
#[derive(Debug, Default)]
struct Figures {
    appended: u64,
    from_stage: u64,
    not_durable: u64,
}

pub fn run(rig: &Rig, file_system: FileSystem, seed: u64, times: u64) {
    let mut random = Random(seed);
    let mut figures = Figures::default();
    for time in 0..times {
        let (flags, written) = FLAGS[usize::try_from(time % 3).expect("below 3")];
        let keep_stage = time / 3 % 2 == 0;
        let own = random.next() >> 16;
        let stage = if keep_stage { "the stage kept" } else { "the stage gone" };
        let story = format!("{}, seed {own}, {written} written, {stage}", file_system.name());
        let caught = shut_down(rig, file_system, own, flags, keep_stage, &mut figures);
        caught.unwrap_or_else(|fault| panic!("shutdown {time} of seed {seed}: {story}: {fault}"));
    }
    announce(&format!(
        "FIGURE whole-fs crash on {}: seed {seed}, {times} shutdowns under a living recorder, {} events appended: each time poisoned, no \
         signal, closed; 0 lost, 0 wrong; {} times there were events that were not durable, and {} of these came from the stage where it \
         was kept",
        file_system.name(),
        figures.appended,
        figures.not_durable,
        figures.from_stage
    ));
    assert!(times < 6 || figures.from_stage > 0, "no event came from the stage: nothing was shown");
}

fn shut_down(
    rig: &Rig,
    file_system: FileSystem,
    seed: u64,
    flags: &str,
    keep_stage: bool,
    figures: &mut Figures,
) -> Result<(), Fault> {
    let directory = rig.fresh("shut-down");
    let image = directory.join("image");
    file_system.make(&image);
    let device = LoopDevice::attach(&image).expect("a loop device");
    let [mounted, stage] = ["mounted", "stage"].map(|part| rig.fresh(&format!("shut-down/{part}")));
    let mount = device.mount(file_system, &mounted).expect("a new file system is mounted");
    let (log, notes) = (mounted.join("log"), directory.join("notes"));
    let program = toolchain::build_directory().join("power_disk_child");
    let seed_text = seed.to_string();
    let arguments = ["shutdown".as_ref(), &*log, &*stage, &*notes, seed_text.as_ref(), flags.as_ref()];
    let outcome = toolchain::run(&program, &arguments, &directory.join("output"), LIMIT);
    assert!(outcome.status.success(), "seed {seed}: the recorder ended with {}: {}", outcome.status, outcome.text);
    mount.end();

    let mount = device.mount(file_system, &mounted).map_err(|error| Fault::Mount(error.to_string()))?;
    let story = Story::read(&notes);
    // On xfs a sync that is under way while the journal is thrown away may return success for what it did not write: of bare direct
    // writes, each with its own fdatasync, the last one that was acknowledged is lost in every fourth run.
    let sync_may_lie = file_system == FileSystem::Xfs;
    let Bounds { durable, appended, kept } = story.bounds(if sync_may_lie { AT_BEGIN } else { AT_END });
    let place = LogPlace { system: Arc::new(RealSystem), directory: log, stage, story: &story };
    if !keep_stage {
        place.empty_stage();
    }
    let (writer, manager) = place.open("open")?;
    let report = manager.report().clone();
    let durable_now = if keep_stage { appended } else { durable };
    place.compare(Bounds { durable: durable_now, appended, kept }, &report)?;
    if (report.flags & OpenFlags::STAGE_MISSING != 0) == keep_stage {
        return Err(Fault::Wrong(format!("the report's flags are {}", report.flags)));
    }
    figures.appended += appended;
    figures.not_durable += u64::from(durable < appended);
    figures.from_stage += report.events_from_stage;
    drop((writer, manager));
    let (writer, manager) = place.open("second open")?;
    same_again(&report, manager.report())?;
    place.go_on(writer, manager, &report, &mut Random(seed))?;
    mount.end();
    Ok(())
}
