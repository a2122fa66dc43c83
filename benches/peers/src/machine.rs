//! What the figures were taken on.

use std::fs;
use std::path::Path;

use crate::clock;

/// Lines of name and text.
pub fn lines(dir: &Path) -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let huge = read("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    vec![
        ("cpu", format!("{}, {} online", model.unwrap_or("unknown"), clock::cpus())),
        ("kernel", format!("Linux {}", read("/proc/sys/kernel/osrelease").trim())),
        ("load before", read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned()),
        ("logs", format!("on {}", file_system(dir))),
        ("stage", format!("in /dev/shm ({}), huge pages: {}", file_system(Path::new("/dev/shm")), huge.trim())),
        ("threads", String::from("the appending one on the last CPU, the peers' own on the first")),
    ]
}

/// Kind and options of the mount with the longest matching path.
fn file_system(dir: &Path) -> String {
    let Ok(dir) = dir.canonicalize() else { return String::from("unknown") };
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let of_dir = fields.filter(|fields| fields.len() > 3 && dir.starts_with(fields[1]));
    of_dir
        .max_by_key(|fields| fields[1].len())
        .map_or(String::from("unknown"), |fields| format!("{} ({})", fields[2], fields[3]))
}
