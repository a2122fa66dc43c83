//! What `walrec doctor` looks at: one function a setting, each with what it costs and how to mend it.

use std::path::Path;

use serde::Serialize;
use walrec::format::{Geometry, PAGE_BYTES};
use walrec::recorder::Config;
use walrec::storage::{RealSystem, System};

use crate::machine::{Mount, chosen, locked_memory_limit, may_lock_memory, mount_of, setting};
use crate::output::bytes_text;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Ok,
    Warn,
    Bad,
    /// Nobody asked to look.
    Unknown,
}

impl Status {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "BAD",
            Self::Unknown => "?",
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) status: Status,
    pub(crate) found: String,
    /// What it costs, where it is not ok.
    pub(crate) cost: String,
    pub(crate) mend: String,
}

impl Finding {
    fn new(check: &'static str, status: Status, found: impl Into<String>, cost: &str, mend: &str) -> Self {
        let (cost, mend) = if status == Status::Ok { ("", "") } else { (cost, mend) };
        Self { check, status, found: found.into(), cost: cost.into(), mend: mend.into() }
    }
}

/// Bytes of the default pool.
fn pool_bytes() -> u64 {
    let config = Config::default();
    let image = Geometry::new(config.num_blocks).map_or(0, Geometry::padded_bytes);
    u64::from(config.stage_slots) * (PAGE_BYTES + image) as u64
}

/// Everything but the measure; `direct` when direct writing was tried.
pub(crate) fn all_settings(folder: &Path, direct: Option<bool>) -> Vec<Finding> {
    let mount = mount_of(folder).unwrap_or_default();
    vec![
        file_system(&mount),
        journal(&mount),
        free_space(folder),
        direct_writes(&mount, direct),
        shared_memory(),
        huge_pages(),
        locked_memory(),
        dirty_limits(),
        isolation(),
        governor(),
        clock_source(),
    ]
}

fn file_system(mount: &Mount) -> Finding {
    let found = format!("{} on {}, mounted at {}", mount.kind, mount.device, mount.point.display());
    let (status, cost, mend) = match mount.kind.as_str() {
        "ext4" | "xfs" => (Status::Ok, "", ""),
        "btrfs" | "zfs" | "bcachefs" => {
            (Status::Warn, "copies on write: syncs take longer and less evenly", "put the log on ext4 or xfs")
        }
        "tmpfs" | "ramfs" => {
            (Status::Bad, "lies in memory: nothing survives a power cut", "put the log on a disk, on ext4 or xfs")
        }
        "nfs" | "nfs4" | "cifs" | "smb3" | "ceph" | "9p" | "virtiofs" => (
            Status::Warn,
            "lies on another machine: locks and syncs hold as far as that one's do, and take a round trip",
            "put the log on a local disk, on ext4 or xfs",
        ),
        _ => (
            Status::Warn,
            "not among those that were tested: ext4, xfs, btrfs",
            "put the log on ext4 or xfs (in a container: on a mounted volume)",
        ),
    };
    Finding::new("file system", status, found, cost, mend)
}

fn journal(mount: &Mount) -> Finding {
    let barriers_off = mount.options.iter().any(|option| option == "nobarrier") || mount.option("barrier") == Some("0");
    if barriers_off {
        let cost = "syncs return before the disk's cache is flushed: a power cut loses what was called durable";
        return Finding::new("journal", Status::Bad, "barriers are off", cost, "mount without nobarrier");
    }
    let mode = mount.option("data");
    let found = match (mount.kind.as_str(), mode) {
        ("ext4", None) => "data=ordered (default), barriers on".to_owned(),
        (_, None) => "barriers on".to_owned(),
        (_, Some(mode)) => format!("data={mode}, barriers on"),
    };
    let status = if mode == Some("journal") { Status::Warn } else { Status::Ok };
    let cost = "every byte is written twice, and direct writing is off";
    Finding::new("journal", status, found, cost, "mount with data=ordered")
}

fn free_bytes(folder: &Path) -> Option<u64> {
    RealSystem.open_directory(folder, true).and_then(|directory| directory.free_bytes()).ok()
}

fn free_space(folder: &Path) -> Finding {
    let config = Config::default();
    let segment = Geometry::new(config.num_blocks).map_or(0, Geometry::segment_bytes) as u64;
    let wanted = segment * u64::from(config.max_segments.saturating_add(config.max_compressed_segments));
    let Some(free) = free_bytes(folder) else {
        return Finding::new("free space", Status::Warn, "cannot be told", "not known", "");
    };
    let status = if free < wanted { Status::Warn } else { Status::Ok };
    let cost = format!("a log with the default retention may grow to {}", bytes_text(wanted));
    let found = format!("{} free", bytes_text(free));
    Finding::new("free space", status, found, &cost, "make room, or lower max_segments and max_compressed_segments")
}

fn direct_writes(mount: &Mount, tried: Option<bool>) -> Finding {
    let (status, found) = match tried {
        Some(true) => (Status::Ok, "O_DIRECT works"),
        Some(false) => (Status::Warn, "O_DIRECT is refused"),
        None if matches!(mount.kind.as_str(), "ext4" | "xfs" | "btrfs") => {
            (Status::Ok, "expected of this file system; --measure tries it")
        }
        None => (Status::Warn, "not known of this file system; --measure tries it"),
    };
    let cost =
        "without it writes go through the page cache: more memory traffic, and syncs that share writeback with others";
    Finding::new("direct writes", status, found, cost, "put the log on ext4 or xfs")
}

fn shared_memory() -> Finding {
    let pool = pool_bytes();
    let cost = "the stage falls back to the log directory: page faults and SIGBUS become possible on the append thread";
    let mend = "mount -o remount,size=256m /dev/shm (a container: --shm-size=256m), or set stage_dir";
    let shm = Path::new("/dev/shm");
    let in_memory = mount_of(shm).is_some_and(|mount| mount.kind == "tmpfs");
    let Some(free) = free_bytes(shm).filter(|_| in_memory) else {
        return Finding::new("/dev/shm", Status::Bad, "no tmpfs there", cost, mend);
    };
    let status = if free < pool { Status::Bad } else { Status::Ok };
    let found = format!("{} free, the default pool takes {}", bytes_text(free), bytes_text(pool));
    Finding::new("/dev/shm", status, found, cost, mend)
}

fn huge_pages() -> Finding {
    let mount = mount_of(Path::new("/dev/shm")).unwrap_or_default();
    let kernel = setting("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    let kernel = chosen(&kernel).unwrap_or("not there");
    let huge = mount.option("huge").unwrap_or("never");
    let on = kernel == "force" || (kernel != "deny" && matches!(huge, "always" | "within_size" | "advise"));
    let status = if on { Status::Ok } else { Status::Warn };
    let cost = "the stage's pages are small: appends miss the TLB more often, p99.9 and p99.99 are longer";
    let mend = "mount -o remount,huge=within_size /dev/shm, or a tmpfs of its own for stage_dir";
    Finding::new("huge pages", status, format!("/dev/shm huge={huge}, shmem_enabled={kernel}"), cost, mend)
}

fn locked_memory() -> Finding {
    let pool = pool_bytes();
    let limit = locked_memory_limit().filter(|_| !may_lock_memory());
    let status = if limit.is_some_and(|limit| limit < pool) { Status::Warn } else { Status::Ok };
    let found = limit
        .map_or_else(|| "no limit for this user".to_owned(), |limit| format!("at most {} locked", bytes_text(limit)));
    let cost = "the stage cannot be locked in memory: under memory pressure an append may wait for swap";
    Finding::new(
        "memlock",
        status,
        found,
        cost,
        "ulimit -l unlimited, LimitMEMLOCK=infinity in the unit, or CAP_IPC_LOCK",
    )
}

fn dirty_limits() -> Finding {
    const MOST: u64 = 1 << 30;
    let number = |path: &str| setting(path)?.parse::<u64>().ok();
    let memory = setting("/proc/meminfo").and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let memory = memory.unwrap_or(0) * 1024;
    let limit = |name: &str| {
        let bytes = number(&format!("/proc/sys/vm/{name}_bytes")).filter(|&bytes| bytes > 0);
        let ratio = number(&format!("/proc/sys/vm/{name}_ratio")).unwrap_or(0);
        bytes.map_or((memory / 100 * ratio, format!(" ({ratio} %)")), |bytes| (bytes, String::new()))
    };
    let ((background, of_memory), (most, of_all)) = (limit("dirty_background"), limit("dirty"));
    let status = if background > MOST { Status::Warn } else { Status::Ok };
    let (background, most) = (bytes_text(background), bytes_text(most));
    let found = format!("written back from {background}{of_memory}, writers wait from {most}{of_all}");
    let cost = "other programs' writes pile up and then go to the disk at once: the log's syncs wait behind them";
    let mend = "sysctl vm.dirty_background_bytes=67108864 vm.dirty_bytes=268435456";
    Finding::new("dirty limits", status, found, cost, mend)
}

fn isolation() -> Finding {
    let isolated = setting("/sys/devices/system/cpu/isolated").filter(|list| !list.is_empty());
    let status = if isolated.is_some() { Status::Ok } else { Status::Warn };
    let found = isolated.map_or_else(|| "no CPU is isolated".to_owned(), |list| format!("CPUs {list}"));
    let cost = "the append thread shares its CPU: what the scheduler puts there shows as milliseconds in its maximum";
    let mend = "isolcpus=, nohz_full= and rcu_nocbs= on the kernel's command line; pin the append thread there, cpu_* elsewhere";
    Finding::new("CPU isolation", status, found, cost, mend)
}

fn governor() -> Finding {
    let Some(governor) = setting("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") else {
        return Finding::new("CPU frequency", Status::Ok, "not scaled by this system", "", "");
    };
    let status = if governor == "performance" { Status::Ok } else { Status::Warn };
    let cost = "a CPU that was idle runs slowly at first: the first appends after a pause take longer";
    Finding::new("CPU frequency", status, format!("governor {governor}"), cost, "cpupower frequency-set -g performance")
}

fn clock_source() -> Finding {
    let source = setting("/sys/devices/system/clocksource/clocksource0/current_clocksource").unwrap_or_default();
    let slow = matches!(source.as_str(), "hpet" | "acpi_pm" | "jiffies" | "refined-jiffies");
    let status = if slow { Status::Warn } else { Status::Ok };
    let cost = "reading the time is a call into the kernel: a microsecond for each timestamp the engine takes";
    Finding::new(
        "clock",
        status,
        source,
        cost,
        "clocksource=tsc on the kernel's command line, where the CPU's is stable",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        Mount { kind: kind.into(), options: options.iter().map(|&one| one.into()).collect(), ..Mount::default() }
    }

    #[test]
    fn a_mount_that_loses_syncs_is_bad() {
        assert_eq!(journal(&mount("ext4", &["rw", "nobarrier"])).status, Status::Bad);
        assert_eq!(journal(&mount("ext4", &["rw", "barrier=0"])).status, Status::Bad);
        assert_eq!(journal(&mount("ext4", &["rw", "data=journal"])).status, Status::Warn);
        assert_eq!(journal(&mount("xfs", &["rw"])).status, Status::Ok);
        assert_eq!(file_system(&mount("tmpfs", &[])).status, Status::Bad);
        assert_eq!(file_system(&mount("overlay", &[])).status, Status::Warn);
        assert_eq!(file_system(&mount("xfs", &[])).status, Status::Ok);
        assert_eq!(direct_writes(&mount("xfs", &[]), Some(false)).status, Status::Warn);
    }

    #[test]
    fn what_is_not_ok_says_what_it_costs() {
        for finding in all_settings(Path::new("/"), None) {
            let told = !finding.cost.is_empty() && !finding.mend.is_empty();
            assert!(finding.status == Status::Ok || told || finding.check == "free space", "{finding:?}");
        }
    }
}
