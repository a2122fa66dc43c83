//! What is no file of ours under a name of ours, on the real system: links, FIFOs, sockets, devices, directories, huge sparse files; and
//! a stage record that leads elsewhere. Nothing blocks, nothing is followed, nothing outside is read or changed.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use walrec::recorder::{self, Error as OpenError};
use walrec::recovery::{self, Item, Salvager, verify};

use crate::decoder::support::{TempDir, write_file};
use crate::decoder::{EventBytes, id_of};
use crate::encode::Plan;
use crate::examine::config;
use crate::logs::{SoundLog, open_tail, sealed};
use crate::memory::{keep_freed_memory, peak_of};
use crate::with_library::bytes_of;

const MOST_BYTES: usize = 64 << 20;
/// Far more than any of this takes; only what blocks meets it.
const DEADLINE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    LinkToFile,
    LinkToDirectory,
    LinkToNothing,
    HardLink,
    Fifo,
    Socket,
    Device,
    Directory,
    /// All holes: one TiB; of a segment, which salvage reads, less.
    Huge,
}

const KINDS: [Kind; 9] = [
    Kind::LinkToFile,
    Kind::LinkToDirectory,
    Kind::LinkToNothing,
    Kind::HardLink,
    Kind::Fifo,
    Kind::Socket,
    Kind::Device,
    Kind::Directory,
    Kind::Huge,
];

const NAMES: [&str; 12] = [
    "FS.00000001.wal",
    "FS.00000003.wal",
    "FS.00000001.wal.lz4",
    "FS.00000003.wal.lz4",
    "FS.00000007.new",
    "wal_meta.dat",
    "wal_meta.dat.tmp",
    "walrec.id",
    "walrec.stage",
    "quarantine",
    "stage",
    "not of ours",
];

#[allow(unsafe_code, reason = "the C library makes what std cannot")]
fn make_node(path: &Path, mode: libc::mode_t, device: libc::dev_t) -> bool {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a C string that outlives the call.
    unsafe { libc::mknod(path.as_ptr(), mode | 0o600, device) == 0 }
}

/// Puts it there; `false` where this machine does not allow it.
fn make(kind: Kind, path: &Path, outside: &Path) -> bool {
    match kind {
        Kind::LinkToFile => symlink(outside.join("segment"), path).unwrap(),
        Kind::LinkToDirectory => symlink(outside, path).unwrap(),
        Kind::LinkToNothing => symlink(outside.join("nothing"), path).unwrap(),
        Kind::HardLink => fs::hard_link(outside.join("backup"), path).unwrap(),
        Kind::Fifo => return make_node(path, libc::S_IFIFO, 0),
        Kind::Socket => drop(UnixListener::bind(path).unwrap()),
        // The null device.
        Kind::Device => return make_node(path, libc::S_IFCHR, libc::makedev(1, 3)),
        Kind::Directory => fs::create_dir(path).unwrap(),
        Kind::Huge => {
            let segment = path.extension().is_some_and(|extension| extension == "wal");
            File::create(path).unwrap().set_len(if segment { 1 << 28 } else { 1 << 40 }).unwrap();
        }
    }
    true
}

/// Names, kinds, sizes and times of change of everything below a directory; nothing is opened.
fn seen(dir: &Path) -> BTreeMap<PathBuf, (u32, u64, u64, i64, i64)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            all.extend(seen(&path));
        }
        // Of a directory, its entries tell.
        let times = if meta.is_dir() { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) };
        all.insert(path, (meta.mode(), if meta.is_dir() { 0 } else { meta.len() }, meta.ino(), times.0, times.1));
    }
    all
}

/// The log in a directory, and beside it what must not be reached: a segment of another log that would fit, good checksums and all.
struct Scene {
    dir: TempDir,
    outside: TempDir,
    stage: TempDir,
}

impl Scene {
    fn new(log: &SoundLog) -> Self {
        let scene =
            Self { dir: TempDir::new("hostile"), outside: TempDir::new("outside"), stage: TempDir::new("stages") };
        for (name, bytes) in &log.files {
            write_file(&scene.dir.path().join(name), bytes);
        }
        // Ids that the log does not hold; where its own segment 1 begins and ends, so that it would be believed.
        let own = &log.plans[1];
        let strange = Plan { first_event_id: own.first_event_id + 1_000_000, link: own.link, ..own.clone() };
        write_file(&scene.outside.path().join("segment"), &strange.encode());
        // A backup by hard link is no stranger.
        write_file(&scene.outside.path().join("backup"), &own.encode());
        write_file(&scene.outside.path().join("slot.000"), &[7; 5_000]);
        scene
    }

    fn open(&self, salvage: bool) -> Result<(), OpenError> {
        let config = recorder::Config { stage_dir: Some(self.stage.path().to_path_buf()), ..config(salvage) };
        let (writer, manager) = recorder::open(self.dir.path(), &config)?;
        drop(writer);
        manager.shutdown()
    }
}

fn hold_true(log: &SoundLog, what: &str, events: &[EventBytes]) {
    for event in events {
        assert!(log.holds(event), "{what}: event {} is from elsewhere", id_of(event));
    }
}

/// Everything reads and opens the scene; gives whether anything objected.
fn visit(log: &SoundLog, scene: &Scene, what: &str) -> bool {
    let dir = scene.dir.path();
    let (before, outside) = (seen(dir), seen(scene.outside.path()));
    let (strict, error) = crate::with_library::replay(dir, 0);
    hold_true(log, what, &strict);
    let mut salvaged = Vec::new();
    let mut reader = Salvager::open(dir, 0).unwrap_or_else(|why| panic!("{what}: salvage: {why}"));
    loop {
        match reader.next().unwrap_or_else(|why| panic!("{what}: salvage: {why}")) {
            Item::Event(event) => salvaged.push(bytes_of(&event)),
            Item::Gap(_) => {}
            Item::End => break,
        }
    }
    hold_true(log, what, &salvaged);
    assert!(salvaged.len() >= strict.len(), "{what}: salvage gives less than the strict reader");
    let fault = match verify(dir) {
        Ok(report) => report.fault.is_some(),
        Err(recovery::Error::Refused(_)) => true,
        Err(why) => panic!("{what}: verify: {why}"),
    };
    assert_eq!(seen(dir), before, "{what}: reading changed something");
    let opened = scene.open(false);
    if let Err(why) = &opened
        && !matches!(why, OpenError::Io(_))
    {
        assert_eq!(seen(dir), before, "{what}: an opening changed something, and then failed: {why}");
    }
    let salvage = scene.open(true);
    if salvage.is_ok() {
        let again = scene.open(false);
        assert!(again.is_ok(), "{what}: after a salvage a strict opening says {again:?}");
        hold_true(log, what, &crate::with_library::replay(dir, 0).0);
    } else {
        assert!(!matches!(salvage, Err(OpenError::Corrupt(_))), "{what}: {salvage:?}");
    }
    assert_eq!(seen(scene.outside.path()), outside, "{what}: something outside was changed");
    error.is_some() || fault || opened.is_err()
}

/// Runs it on a thread of its own, so that what blocks is seen.
fn within_deadline(what: String, work: impl FnOnce(&str) -> bool + Send + 'static) -> bool {
    let (done, wait) = mpsc::channel();
    let name = what.clone();
    let thread = std::thread::spawn(move || {
        let (objected, peak) = peak_of(|| work(&name));
        assert!(peak <= MOST_BYTES, "{name}: {peak} bytes");
        let _ = done.send(objected);
    });
    match wait.recv_timeout(DEADLINE) {
        Ok(objected) => objected,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: blocks"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            thread.join().expect("its message is above");
            unreachable!("{what}: it sent nothing");
        }
    }
}

#[test]
fn what_is_no_file_of_ours() {
    keep_freed_memory();
    let (mut objected, mut passed, mut not_made) = (0, 0, 0);
    for kind in KINDS {
        for name in NAMES {
            let log = sealed();
            let scene = Scene::new(&log);
            let path = scene.dir.path().join(name);
            let _ = fs::remove_file(&path);
            if !make(kind, &path, scene.outside.path()) {
                eprintln!("NOT RUN: {kind:?} as {name}: this machine does not let one be made");
                not_made += 1;
                continue;
            }
            let what = format!("{kind:?} as {name}");
            if within_deadline(what, move |what| visit(&log, &scene, what)) {
                objected += 1;
            } else {
                passed += 1;
            }
        }
    }
    eprintln!(
        "FIGURE links, FIFOs, sockets, devices, directories and huge files under names of a log: {}, {objected} detected, \
         {passed} harmless, {not_made} not made",
        objected + passed
    );
    assert!(objected >= 12 && passed >= 12);
}

/// A file that is still to be written must not be somebody's backup too.
#[test]
fn an_unsealed_segment_with_two_links() {
    let log = open_tail();
    let scene = Scene::new(&log);
    fs::hard_link(scene.dir.path().join("FS.00000001.wal"), scene.outside.path().join("second")).unwrap();
    let before = seen(scene.dir.path());
    let (events, error) = crate::with_library::replay(scene.dir.path(), 0);
    assert!(events.len() == 8 && error.is_some_and(|why| why.contains("more than one link")));
    for salvage in [false, true] {
        assert!(matches!(scene.open(salvage), Err(OpenError::Refused { .. })), "salvage {salvage}");
        assert_eq!(seen(scene.dir.path()), before);
    }
}

/// `walrec.stage` may name any directory with the log's identity in its name; nothing there is followed, or touched if it is not ours.
#[test]
fn a_stage_record_that_leads_elsewhere() {
    keep_freed_memory();
    let log = sealed();
    let own = "walrec-00112233445566778899aabbccddeeff";
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim_end().replace('-', "");
    let mut count = 0;
    for state in ["open", "closed"] {
        for (what, path) in [
            ("another directory", "OUT".to_owned()),
            ("a path through a parent", format!("OUT/../OUT/{own}/..")),
            ("a link with the right name", format!("OUT/{own}")),
            ("a relative path", format!("../{own}")),
            ("nothing", String::new()),
            ("another log's stage", "OUT/walrec-ffffffffffffffffffffffffffffffff".to_owned()),
            ("a directory that others may write to", format!("OUT/open/{own}")),
            ("a file", format!("OUT/file/{own}")),
        ] {
            let scene = Scene::new(&log);
            let out = scene.outside.path();
            symlink(scene.dir.path(), out.join(own)).unwrap();
            fs::create_dir_all(out.join("open").join(own)).unwrap();
            fs::set_permissions(out.join("open").join(own), fs::Permissions::from_mode(0o777)).unwrap();
            write_file(&out.join("open").join(own).join("slot.000"), &[1; 8_192]);
            fs::create_dir(out.join("file")).unwrap();
            write_file(&out.join("file").join(own), b"precious");
            let path = path.replace("OUT", out.to_str().unwrap());
            let line = format!("{state} ffeeddccbbaa99887766554433221100 {boot} {path}\n");
            write_file(&scene.dir.path().join("walrec.stage"), line.as_bytes());
            let what = format!("{state}: {what}");
            let before = seen(out);
            let (events, _) = crate::with_library::replay(scene.dir.path(), 0);
            hold_true(&log, &what, &events);
            let opened = scene.open(false);
            eprintln!("{what}: {}", opened.as_ref().map_or_else(ToString::to_string, |()| "opened".into()));
            let _ = scene.open(true);
            assert_eq!(seen(out), before, "{what}: something outside was changed");
            count += 1;
        }
    }
    eprintln!("FIGURE stage records that lead elsewhere: {count}, nothing outside was changed");
}
