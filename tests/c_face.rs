//! The C interface, tested from C and C++: the header compiled alone in every standard it promises, and the programs of
//! `tests/c`, each one a subject, run against the release library.
//!
//! A subject's directory is on the disk of `target`; the core ones run a second time with their logs in /dev/shm, since
//! the two kinds of file system differ in what they do with O_DIRECT, fallocate and sync.

#[path = "c/toolchain.rs"]
mod toolchain;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::RwLock;
use std::time::Duration;

/// Subjects share the machine, but the one that measures runs alone.
static MACHINE: RwLock<()> = RwLock::new(());

const LIMIT: Duration = Duration::from_secs(290);

/// Where a subject's work directory lies.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Disk,
    SharedMemory,
}

fn run_program(program: &Path, name: &str, place: Place) {
    run_with(program, name, place, &[]);
}

fn run_with(program: &Path, name: &str, place: Place, more: &[&Path]) {
    if place == Place::SharedMemory && !is_tmpfs("/dev/shm") {
        toolchain::announce(&format!("SKIP {name}: NOT run with the log in shared memory, /dev/shm is no tmpfs here"));
        return;
    }
    let work = toolchain::fresh_directory(name, place == Place::SharedMemory);
    let output = toolchain::build_directory().join(format!("{name}.out"));
    let arguments: Vec<&Path> = std::iter::once(&*work).chain(more.iter().copied()).collect();
    let outcome = toolchain::run(program, &arguments, &output, LIMIT);
    for line in outcome.text.lines().filter(|line| line.starts_with("SKIP") || line.starts_with("FIGURE")) {
        toolchain::announce(line);
    }
    // Left there after a failure, to be looked at.
    assert!(
        outcome.status.success(),
        "{name}: {}; its files are in {}\n{}",
        outcome.status,
        work.display(),
        outcome.text
    );
    let _ = fs::remove_dir_all(&work);
}

fn is_tmpfs(directory: &str) -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(directory) && words.next() == Some("tmpfs")
    })
}

fn subject(name: &str, place: Place) {
    let _shared = MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let run = if place == Place::Disk { name.to_owned() } else { format!("{name}-on-tmpfs") };
    let program = toolchain::build(name, &run, &[]);
    run_program(&program, &run, place);
}

/// One test for each subject and place.
macro_rules! subjects {
    ($($(#[$attribute:meta])* $test:ident: $name:literal, $place:ident;)*) => {
        $(
            #[test]
            $(#[$attribute])*
            fn $test() {
                subject($name, Place::$place);
            }
        )*
        /// What the list above runs.
        const LISTED: &[&str] = &[$($name),*];
    };
}

subjects! {
    version: "version", Disk;
    config: "config", Disk;
    open: "open", Disk;
    open_on_tmpfs: "open", SharedMemory;
    append: "append", Disk;
    append_on_tmpfs: "append", SharedMemory;
    reserve: "reserve", Disk;
    reserve_on_tmpfs: "reserve", SharedMemory;
    rotate: "rotate", Disk;
    rotate_on_tmpfs: "rotate", SharedMemory;
    retention: "retention", Disk;
    retention_on_tmpfs: "retention", SharedMemory;
    sync: "sync", Disk;
    sync_on_tmpfs: "sync", SharedMemory;
    threads: "threads", Disk;
    threads_on_tmpfs: "threads", SharedMemory;
    shutdown: "shutdown", Disk;
    shutdown_on_tmpfs: "shutdown", SharedMemory;
    fork: "fork", Disk;
    processes: "processes", Disk;
    processes_on_tmpfs: "processes", SharedMemory;
    reader: "reader", Disk;
    reader_on_tmpfs: "reader", SharedMemory;
    salvage: "salvage", Disk;
    salvage_on_tmpfs: "salvage", SharedMemory;
    seek_time: "seek_time", Disk;
    verify: "verify", Disk;
    report: "report", Disk;
    report_on_tmpfs: "report", SharedMemory;
    last_error: "last_error", Disk;
    late_sync: "late_sync", Disk;
    log_cb: "log_cb", Disk;
    backpressure: "backpressure", Disk;
    backpressure_on_tmpfs: "backpressure", SharedMemory;
    telemetry: "telemetry", Disk;
    telemetry_on_tmpfs: "telemetry", SharedMemory;
    model: "model", Disk;
    model_on_tmpfs: "model", SharedMemory;
    misuse: "misuse", Disk;
    prewritten: "prewritten", Disk;
    trust: "trust", Disk;
    trust_on_tmpfs: "trust", SharedMemory;
}

/// No system call, no page fault, no allocation; see tests/c/hot_path.c.
#[test]
fn hot_path() {
    let program = toolchain::build("hot_path", "hot_path", &["-rdynamic", "-fno-builtin"]);
    let _alone = MACHINE.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    run_program(&program, "hot_path", Place::Disk);
}

/// Loaded by dlopen, and every way to end; see tests/c/loaded.c.
#[test]
fn loaded() {
    let _shared = MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let library = toolchain::library_directory().join("libwalrec.so");
    let program = toolchain::build_directory().join("loaded");
    toolchain::link("loaded", &program, &["-ldl"], &[]);
    run_with(&program, "loaded", Place::Disk, &[&library]);
}

/// A file in tests/c that no test runs would be forgotten.
#[test]
fn every_subject_is_run() {
    // These have a test of their own.
    let own = [
        "hot_path",
        "kill9_child",
        "bounded",
        "fault_child",
        "fault_shim",
        "poison",
        "sync_once",
        "loaded",
        "faulty",
        "power_disk_child",
        "full_disk",
        "hung_disk",
        "small_disk",
    ];
    let directory = toolchain::project().join("tests/c");
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(subject) = name.strip_suffix(".c") {
            assert!(LISTED.contains(&subject) || own.contains(&subject), "tests/c/{name} is not run");
        }
    }
}

/// The header alone, and included twice, in every standard.
#[test]
fn header_in_every_standard() {
    let directory = toolchain::build_directory().join("header");
    fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let programs = [("alone", "#include \"walrec.h\"\n"), ("twice", "#include \"walrec.h\"\n#include \"walrec.h\"\n")];
    let languages = [("c", ["c99", "c11", "c17"].as_slice()), ("cpp", &["c++11", "c++14", "c++17", "c++20"])];
    for (name, text) in programs {
        for (suffix, standards) in languages {
            let source = directory.join(format!("{name}.{suffix}"));
            fs::write(&source, text).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
            for standard in standards {
                toolchain::compile(standard, &source, &["-fsyntax-only"]);
            }
        }
    }
}

/// A C++ program: its names are C's, every function links and none throws.
#[test]
fn linked_from_cpp() {
    let _shared = MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let library = toolchain::library_directory().join("libwalrec.so").display().to_string();
    for standard in ["c++11", "c++20"] {
        let name = format!("from_cpp-{standard}");
        let program = toolchain::build_directory().join(&name);
        let output = program.display().to_string();
        let source = toolchain::project().join("tests/c/from_cpp.cpp");
        toolchain::compile(standard, &source, &["-O1", "-g", "-o", &output, &library, &toolchain::rpath()]);
        run_program(&program, &name, Place::Disk);
    }
}

/// walrec.hpp in each standard it is for, with the features of the later ones, and without exceptions and run-time types.
#[test]
fn wrapped_for_cpp() {
    let _shared = MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let library = toolchain::library_directory().join("libwalrec.so").display().to_string();
    let source = toolchain::project().join("tests/c/wrapper.cpp");
    let bare = ["-fno-exceptions", "-fno-rtti"].as_slice();
    for (name, standard, more) in
        [("17", "c++17", [].as_slice()), ("bare", "c++17", bare), ("20", "c++20", &[]), ("23", "c++2b", &[])]
    {
        let name = format!("wrapper-{name}");
        let output = toolchain::build_directory().join(&name).display().to_string();
        let arguments = ["-Wconversion", "-O1", "-g", "-o", &output, &library, &toolchain::rpath()];
        toolchain::compile(standard, &source, &[more, &arguments].concat());
        run_program(Path::new(&output), &name, Place::Disk);
    }
}

/// The static library, in one program.
#[test]
fn linked_statically() {
    let _shared = MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let archive = toolchain::library_directory().join("libwalrec.a");
    assert!(archive.is_file(), "{} is missing", archive.display());
    let program = toolchain::build_directory().join("append-static");
    toolchain::link("append", &program, &[&archive.display().to_string(), "-ldl", "-lm"], &[]);
    let needed = toolchain::run_tool(Command::new("readelf").arg("-d").arg(&program), ADVICE_BINUTILS);
    assert!(!needed.contains("libwalrec"), "the program still needs the shared library:\n{needed}");
    run_program(&program, "append-static", Place::Disk);
}

const ADVICE_BINUTILS: &str = "The tests of the C interface need readelf of binutils, which comes with a compiler.";

/// The benchmarks compile as their comments say; they are run by `make bench` and `make bench-telemetry`.
#[test]
fn benchmarks_compile() {
    for name in ["append", "telemetry", "reader_telemetry"] {
        let source = toolchain::project().join("benches").join(name).with_extension("c");
        toolchain::compile("c99", &source, &["-D_GNU_SOURCE", "-O2", "-fsyntax-only"]);
    }
}
