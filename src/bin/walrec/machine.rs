//! What /proc and /sys tell of the machine: mounts, kernel settings, who holds a lock.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use walrec::format::{SegmentName, SegmentNameKind};

/// A mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    pub(crate) kind: String,
    pub(crate) device: String,
    /// Of the mount and of the file system.
    pub(crate) options: Vec<String>,
}

impl Mount {
    /// The value of `name=value`.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }

    /// Reads a line of `/proc/self/mountinfo`.
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let options = [left.get(5)?, *right.get(2).unwrap_or(&"")];
        Some(Self {
            point: PathBuf::from(unescaped(left.get(4)?)),
            kind: (*right.first()?).to_owned(),
            device: unescaped(right.get(1)?),
            options: options.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect(),
        })
    }
}

/// The kernel writes spaces and the like as `\040`.
fn unescaped(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// The file system that `path` lies on: the last mount on the longest path.
pub(crate) fn mount_of(path: &Path) -> Option<Mount> {
    let path = fs::canonicalize(path).ok()?;
    mount_in(&fs::read_to_string("/proc/self/mountinfo").ok()?, &path)
}

fn mount_in(list: &str, path: &Path) -> Option<Mount> {
    let mounts = list.lines().filter_map(Mount::parse).filter(|mount| path.starts_with(&mount.point));
    mounts.fold(None, |best: Option<Mount>, mount| match best {
        Some(best) if best.point.components().count() > mount.point.components().count() => Some(best),
        _ => Some(mount),
    })
}

/// The first line of a small file, trimmed.
pub(crate) fn setting(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next().unwrap_or("").trim().to_owned())
}

/// The chosen one of `always [madvise] never`.
pub(crate) fn chosen(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split(']').next()
}

/// Whether this process may lock memory without a limit.
pub(crate) fn may_lock_memory() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    capabilities.is_some_and(|bits| bits >> CAP_IPC_LOCK & 1 == 1)
}

/// This process's soft limit of memory that may be locked, in bytes; `None` for no limit or where it cannot be read.
pub(crate) fn locked_memory_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Who holds the lock on a log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockHolder {
    Nobody,
    Process(u32),
    /// The list of locks cannot be read, or the holder is in another container.
    Unknown,
}

/// Looks the directory's flock up in the kernel's list; the lock itself is not touched.
pub(crate) fn lock_holder(directory: &Path) -> LockHolder {
    let Ok(list) = fs::read_to_string("/proc/locks") else { return LockHolder::Unknown };
    let Ok(metadata) = fs::metadata(directory) else { return LockHolder::Unknown };
    holder_in(&list, metadata.ino())
}

fn holder_in(list: &str, inode: u64) -> LockHolder {
    // The device is left out: overlay and btrfs list another than stat tells.
    let suffix = format!(":{inode}");
    let line = list.lines().find(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some("FLOCK") && line.split_whitespace().any(|word| word.ends_with(&suffix))
    });
    match line.map(|line| line.split_whitespace().nth(4).and_then(|pid| pid.parse::<u32>().ok())) {
        None => LockHolder::Nobody,
        Some(Some(pid)) if pid > 0 => LockHolder::Process(pid),
        Some(_) => LockHolder::Unknown,
    }
}

/// Bytes of all segments in a directory, as they lie there.
pub(crate) fn segment_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let is_segment = |name: &std::ffi::OsStr| {
        let parsed = SegmentName::parse(name.as_encoded_bytes());
        parsed.is_some_and(|name| matches!(name.kind, SegmentNameKind::Hot | SegmentNameKind::Frozen))
    };
    let segments = entries.filter_map(Result::ok).filter(|entry| is_segment(&entry.file_name()));
    segments.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_and_latest_mount_counts() {
        let list = "25 1 254:0 / / rw,relatime - ext4 /dev/vda rw,data=ordered\n\
                    30 25 0:26 / /var/log\\040s rw,nosuid shared:5 - tmpfs tmpfs rw,size=65536k\n\
                    31 25 0:27 / /var/log\\040s rw - xfs /dev/vdb rw\n";
        let mount = mount_in(list, Path::new("/var/log s/x")).unwrap();
        assert_eq!((mount.kind.as_str(), mount.device.as_str()), ("xfs", "/dev/vdb"));
        let mount = mount_in(list, Path::new("/var/logs")).unwrap();
        assert_eq!((mount.kind.as_str(), mount.option("data")), ("ext4", Some("ordered")));
    }

    #[test]
    fn a_lock_is_known_by_its_inode() {
        let list = "1: POSIX  ADVISORY  WRITE 9 00:1a:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 412 fe:00:77 0 EOF\n\
                    3: FLOCK  ADVISORY  WRITE 0 fe:00:78 0 EOF\n";
        assert_eq!(holder_in(list, 77), LockHolder::Process(412));
        assert_eq!(holder_in(list, 78), LockHolder::Unknown);
        assert_eq!(holder_in(list, 7), LockHolder::Nobody);
    }

    #[test]
    fn the_choice_stands_in_brackets() {
        assert_eq!(chosen("always within_size advise [never] deny force"), Some("never"));
        assert_eq!(chosen("0"), None);
    }
}
