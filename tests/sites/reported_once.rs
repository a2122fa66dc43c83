//! The sync error that a system reports once, on a real file system: ext4 on a loop device, whose image lies on a small tmpfs.
//!
//! The pages of the image under a segment are taken away and the tmpfs is filled: writing back then fails, the sync tells it, and the
//! kernel holds the pages to be clean. Then there is space again, and a sync of anybody succeeds: nothing of it may be believed.
//! Opened again in the same boot, the log must be whole, also after its file system was mounted anew; the control, which does not
//! open it again, has lost events there. O_DIRECT is kept from the library, since only the page cache has this fault.
//!
//! Needs root and loop devices, else it says that it did not run. The simulated machine does the same at each sync
//! (`crash_stories`, failed_sync).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::stand::Stand;
use super::toolchain;

const IMAGE_BYTES: &str = "32M";
/// The first page of the segment stays: it is durable.
const KEPT_PAGES: u32 = 1;

/// A tmpfs with an image, and the image's file system; taken down when dropped.
struct Small {
    tmpfs: PathBuf,
    mount: PathBuf,
}

fn sh(script: &str) -> Result<String, String> {
    let output =
        Command::new("sh").args(["-ec", script]).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{script}: {error}")) }
}

impl Small {
    fn new(directory: &Path) -> Result<Self, String> {
        let small = Self { tmpfs: directory.join("tmpfs"), mount: directory.join("ext4") };
        let (tmpfs, mount) = (small.tmpfs.display(), small.mount.display());
        sh(&format!(
            "mkdir -p {tmpfs} {mount}; mount -t tmpfs -o size=40m walrec-test {tmpfs}; fallocate -l {IMAGE_BYTES} {tmpfs}/image
             mkfs.ext4 -q -F -b 4096 -E nodiscard {tmpfs}/image; fallocate -l {IMAGE_BYTES} {tmpfs}/image
"
        ))?;
        small.mount()?;
        Ok(small)
    }

    /// Not `mount -o loop`: that asks every loop device there is, and one of them may hang.
    fn mount(&self) -> Result<(), String> {
        let (tmpfs, mount) = (self.tmpfs.display(), self.mount.display());
        sh(&format!("losetup -f --show {tmpfs}/image > {tmpfs}/device; mount $(cat {tmpfs}/device) {mount}")).map(drop)
    }

    fn unmount(&self) -> Result<(), String> {
        let (tmpfs, mount) = (self.tmpfs.display(), self.mount.display());
        sh(&format!("umount {mount}; losetup -d $(cat {tmpfs}/device)")).map(drop)
    }

    /// Takes the space under the segment's later pages away.
    fn breaks(&self) -> String {
        let (tmpfs, mount) = (self.tmpfs.display(), self.mount.display());
        format!(
            "filefrag -v {mount}/log/FS.00000000.wal | awk '/^ *[0-9]+:/ {{ gsub(/[.:]/, \" \"); skip = $2 < {KEPT_PAGES} ? {KEPT_PAGES} - $2 : 0
               if ($6 > skip) print ($4 + skip) * 4096, ($6 - skip) * 4096 }}' |
             while read from bytes; do fallocate -p -o $from -l $bytes {tmpfs}/image; done
             ! dd if=/dev/zero of={tmpfs}/filler bs=4k 2>/dev/null"
        )
    }

    fn heals(&self) -> String {
        format!("rm {}/filler", self.tmpfs.display())
    }

    /// Mounts the file system anew: what was in the page cache alone is gone.
    fn mount_anew(&self) -> Result<(), String> {
        self.unmount()?;
        self.mount()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = self.unmount();
        let _ = sh(&format!("umount {}", self.tmpfs.display()));
    }
}

#[test]
fn a_sync_error_that_is_reported_once() {
    let stand = Stand::new("reported-once");
    let program = toolchain::build("sync_once", "sync_once", &[]);
    let directory = toolchain::fresh_directory("reported-once", false);
    let mut lost = String::new();
    for end in ["reopen", "leave"] {
        let small = match Small::new(&directory.join(end)) {
            Ok(small) => small,
            Err(why) => {
                toolchain::announce(&format!(
                    "SKIP a sync error that is reported once: NOT run, it needs root and loop devices: {why}"
                ));
                return;
            }
        };
        let play = |arguments: &[&str]| {
            let outcome = stand.run_buffered(&program, &small.mount, arguments);
            assert!(outcome.status.success(), "{arguments:?}: {}\n{}", outcome.status, outcome.text);
            outcome.text
        };
        play(&[end, &small.breaks(), &small.heals()]);
        if end == "leave" {
            let line = fs::read_to_string(small.mount.join("log/walrec.stage")).unwrap_or_default();
            let stage = line.find('/').map_or("", |at| line[at..].trim_end());
            fs::remove_dir_all(stage).unwrap_or_else(|error| panic!("{stage}: {error}"));
        }
        small.mount_anew().unwrap_or_else(|why| panic!("{why}"));
        let text = play(&[if end == "leave" { "short" } else { "whole" }]);
        lost = text.lines().find_map(|line| line.strip_prefix("recovered: ")).unwrap_or_default().to_owned();
    }
    let _ = fs::remove_dir_all(&directory);
    toolchain::announce(&format!(
        "FIGURE a sync error that is reported once, ext4: of 200 events 62 are durable, none more after it; opened again, all are there after \
         a new mount; control: not opened again, {lost} are"
    ));
}
