//! A recorder's session on a file system on a device whose every request is recorded.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::rig::{FileSystem, LoopDevice, Mount, Rig};
use crate::story::Story;
use crate::toolchain;
use crate::write_log::{WriteLog, count_entries};

/// Most bytes of the write log.
const LOG_BYTES: u64 = 1 << 30;
const LIMIT: Duration = Duration::from_secs(20);

/// How the lives of a recording end, one after the other.
const ENDS: [&str; 4] = ["kill", "close", "kill", "close"];

/// A session and all that it left.
pub struct Recording {
    pub file_system: FileSystem,
    pub seed: u64,
    /// Entries when the recorder began.
    pub begin: usize,
    /// With the entries up to the end of the recorder.
    pub log: WriteLog,
    pub story: Story,
    directory: PathBuf,
}

/// The daemon that records, and the device's image that it serves.
struct Daemon {
    process: Child,
    /// Unmounted after the process has ended.
    _export: Mount,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves the directory's `disk` as `export`, and records what comes in its `entries`.
fn start_daemon(directory: &Path, export: &Path) -> Daemon {
    let place = |name: &str| directory.join(name).display().to_string();
    let (disk, log) = (place("disk"), place("entries"));
    File::create(&log).and_then(|file| file.set_len(LOG_BYTES)).expect("the write log is made");
    File::create(export).expect("the place of the export is made");
    let bytes = File::open(&disk).and_then(|file| file.metadata()).expect("the disk is there").len();
    let output = File::create(place("daemon")).expect("the daemon's output is made");
    let mut command = Rig::server("qemu-storage-daemon");
    command.args(["--blockdev", &format!("driver=file,node-name=disk,filename={disk}")]);
    command.args(["--blockdev", &format!("driver=file,node-name=entries,filename={log}")]);
    let node =
        "driver=blklogwrites,node-name=both,file=disk,log=entries,log-sector-size=512,log-super-update-interval=1";
    command.args(["--blockdev", node]);
    command
        .args(["--export", &format!("type=fuse,id=export,node-name=both,writable=on,mountpoint={}", export.display())]);
    command.stdin(Stdio::null()).stdout(output.try_clone().expect("a second descriptor")).stderr(output);
    let process = command.spawn().expect("unshare is there");
    let mut daemon = Daemon { process, _export: Mount::of(export.to_path_buf()) };
    let begin = Instant::now();
    while File::open(export).and_then(|file| file.metadata()).map_or(0, |is| is.len()) != bytes {
        let ended = daemon.process.try_wait().expect("the daemon is waited for");
        let text = || std::fs::read_to_string(place("daemon")).unwrap_or_default();
        assert!(ended.is_none() && begin.elapsed() < LIMIT, "qemu-storage-daemon: {ended:?} {}", text());
        std::thread::sleep(Duration::from_millis(2));
    }
    daemon
}

/// Why no recording can be made here.
pub fn missing() -> Option<String> {
    if !Path::new("/dev/fuse").exists() {
        return Some("/dev/fuse is not there".into());
    }
    for tool in ["qemu-storage-daemon", "setpriv", "unshare"] {
        if let Err(error) = Command::new(tool).arg("--version").output() {
            return Some(format!("{tool}: {error}"));
        }
    }
    None
}

impl Recording {
    /// Records a session. With `lying`, the recorder's syncs do nothing.
    pub fn make(rig: &Rig, name: &str, file_system: FileSystem, seed: u64, steps: usize, lying: bool) -> Self {
        let directory = rig.fresh(name);
        file_system.make(&directory.join("base"));
        std::fs::copy(directory.join("base"), directory.join("disk")).expect("the disk is made");
        let export = rig.exports().join(name);
        let daemon = start_daemon(&directory, &export);
        let device = LoopDevice::attach(&export).expect("a loop device");
        let entries = File::open(directory.join("entries")).expect("the write log is there");
        let mounted = rig.fresh(&format!("{name}/mounted"));
        let mount = device.mount(file_system, &mounted).expect("a new file system is mounted");
        let begin = count_entries(&entries);
        let stage = rig.fresh(&format!("{name}/stage"));
        for (life, end) in ENDS.iter().enumerate() {
            let mut child = Command::new(toolchain::build_directory().join("power_disk_child"));
            child
                .arg(if lying { "lie" } else { "record" })
                .arg(mounted.join("log"))
                .arg(&stage)
                .arg(directory.join("notes"));
            child.args([seed.to_string(), life.to_string(), steps.to_string(), (*end).to_owned()]);
            child.arg(directory.join("entries"));
            let output = child.stdin(Stdio::null()).output().expect("the child is started");
            let as_told = if *end == "kill" { output.status.signal() == Some(9) } else { output.status.success() };
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(as_told, "seed {seed}: the recorder ended with {}: {text}", output.status);
        }
        let end = count_entries(&entries);
        mount.end();
        drop(device);
        drop(daemon);
        let _ = std::fs::remove_file(directory.join("disk"));
        let about = format!("{} {seed} {begin} {end}", file_system.name());
        std::fs::write(directory.join("about"), about).expect("what the recording is about is written");
        Self::read(&directory)
    }

    /// Reads a recording that was kept.
    pub fn read(directory: &Path) -> Self {
        let about = std::fs::read_to_string(directory.join("about"));
        let about = about.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let words: Vec<&str> = about.trim().split(' ').collect();
        let number = |index: usize| words[index].parse::<u64>().expect("a number");
        let file_system = FileSystem::ALL.into_iter().find(|known| known.name() == words[0]).expect("a file system");
        Self {
            file_system,
            seed: number(1),
            begin: usize::try_from(number(2)).expect("a count"),
            log: WriteLog::read(&directory.join("base"), &directory.join("entries"), number(3)),
            story: Story::read(&directory.join("notes")),
            directory: directory.to_path_buf(),
        }
    }

    /// Writes all that is needed to play it again. No program is started: see `on_rig`.
    pub fn keep(&self, target: &Path) -> io::Result<()> {
        std::fs::create_dir_all(target)?;
        self.log.write_new_image(&self.log.base, &target.join("base"))?;
        let mut entries = File::open(self.directory.join("entries"))?.take(self.log.bytes_read);
        io::copy(&mut entries, &mut File::create(target.join("entries"))?)?;
        for name in ["notes", "about"] {
            std::fs::copy(self.directory.join(name), target.join(name))?;
        }
        Ok(())
    }

    /// Frees the images.
    pub fn forget(self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
