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
    descriptors: "descriptors", Disk;
    little_memory: "little_memory", Disk;
    scheduling: "scheduling", Disk;
    open_signals: "open_signals", Disk;
    closed_shm: "closed_shm", Disk;
    report: "report", Disk;
    report_on_tmpfs: "report", SharedMemory;
    last_error: "last_error", Disk;
    late_sync: "late_sync", Disk;
    watermarks: "watermarks", Disk;
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

/// No system call, no page fault, no allocation; see tests/c/hot_path.c. The second time with reserve and commit inlined.
#[test]
fn hot_path() {
    for (name, more) in [("hot_path", [].as_slice()), ("hot_path-inlined", &inlined())] {
        let arguments: Vec<&str> =
            ["-rdynamic", "-fno-builtin"].into_iter().chain(more.iter().map(String::as_str)).collect();
        let program = toolchain::build("hot_path", name, &arguments);
        let _alone = MACHINE.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        run_program(&program, name, Place::Disk);
    }
}

/// The compiler's options by which a subject's calls of reserve and commit become those of walrec_inline.h.
fn inlined() -> [String; 2] {
    ["-include".to_owned(), toolchain::project().join("tests/c/inlined.h").display().to_string()]
}

/// The subjects that build events in place, with walrec_inline.h.
#[test]
fn inlined_as_the_library_does_it() {
    let _shared = MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let inlined = inlined();
    for name in ["reserve", "model", "fork", "threads", "shutdown", "misuse", "backpressure", "telemetry"] {
        let run = format!("{name}-inlined");
        let program = toolchain::build(name, &run, &inlined.each_ref().map(String::as_str));
        run_program(&program, &run, Place::SharedMemory);
    }
}

const COUNTED: [&str; 2] = ["-Wl,--wrap=walrec_reserve", "-Wl,--wrap=walrec_commit"];

/// See tests/c/inline.c; then with headers in each of which a check is missing: the subject has to fail.
#[test]
fn inline() {
    let _shared = MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    run_program(&toolchain::build("inline", "inline", &COUNTED), "inline", Place::Disk);
    let header = fs::read_to_string(toolchain::project().join("include/walrec_inline.h")).expect("the header is there");
    let end = "WALREC_INLINE_ADDRESS(next) >= __atomic_load_n(&cursor->end, __ATOMIC_RELAXED)";
    let broken = [
        ("the end of a block", format!("if (__builtin_expect({end} || !slot"), "if (__builtin_expect(!next || !slot"),
        ("the end at a commit", format!("{end} ||\n"), "!next ||\n"),
        ("the reservation", "next != cursor->reserved".to_owned(), "0"),
        ("the order of ids", "event_id <= __atomic_load_n(&cursor->last_event_id, __ATOMIC_RELAXED)".to_owned(), "0"),
        ("the layout", "#define WALREC_CURSOR_LAYOUT 1".to_owned(), "#define WALREC_CURSOR_LAYOUT 2"),
    ];
    for (number, (what, part, instead)) in broken.iter().enumerate() {
        let name = format!("inline-broken-{number}");
        let directory = toolchain::build_directory().join(format!("{name}-include"));
        fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        assert_eq!(header.matches(part).count(), 1, "{what}: {part}");
        let file = directory.join("walrec_inline.h");
        fs::write(&file, header.replace(part, instead)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let include = directory.display().to_string();
        let program = toolchain::build("inline", &name, &[COUNTED[0], COUNTED[1], "-iquote", &include]);
        let work = toolchain::fresh_directory(&name, false);
        let output = toolchain::build_directory().join(format!("{name}.out"));
        let outcome = toolchain::run(&program, &[&work], &output, LIMIT);
        assert!(!outcome.status.success(), "without {what} nothing fails:\n{}", outcome.text);
        let _ = fs::remove_dir_all(&work);
    }
    toolchain::announce(&format!("FIGURE inline: {} broken headers, each found", broken.len()));
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
        "inline",
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
        "no_fallocate",
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

/// A standard with its names, the newest first: compilers knew some of them by another before they were done.
const C_STANDARDS: [&[&str]; 4] = [&["c99"], &["c11"], &["c17"], &["c23", "c2x"]];
const CPP_STANDARDS: [&[&str]; 5] = [&["c++11"], &["c++14"], &["c++17"], &["c++20"], &["c++23", "c++2b"]];

/// Each header alone, and included twice, in every standard that it is for, by each compiler that is here and knows it. walrec.hpp
/// also without exceptions and run-time types.
#[test]
fn headers_in_every_standard() {
    let directory = toolchain::build_directory().join("header");
    fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let write = |name: &str, text: &str| {
        let source = directory.join(name);
        fs::write(&source, text).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        source
    };
    let mut done = 0;
    for (suffix, compilers, standards, casts) in [
        ("c", ["gcc", "clang"], C_STANDARDS.as_slice(), "-Wbad-function-cast"),
        ("cpp", ["g++", "clang++"], CPP_STANDARDS.as_slice(), "-Wold-style-cast"),
    ] {
        let empty = write(&format!("empty.{suffix}"), "int main(void);\n");
        let wrong =
            write(&format!("wrong.{suffix}"), "#include \"walrec.h\"\nint wrong(void) { int unused; return 1; }\n");
        for compiler in compilers {
            if !toolchain::is_there(compiler) {
                toolchain::announce(&format!("SKIP headers: NOT compiled by {compiler}, which is not here"));
                continue;
            }
            let strict =
                ["-fsyntax-only", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wcast-align", "-Wundef", casts];
            for (age, names) in standards.iter().enumerate() {
                let knows = |name: &&str| {
                    let mut probe = Command::new(compiler);
                    probe.arg(format!("-std={name}")).arg("-fsyntax-only").arg(&empty);
                    probe.output().is_ok_and(|output| output.status.success())
                };
                let Some(standard) = names.iter().copied().find(knows) else {
                    toolchain::announce(&format!(
                        "SKIP headers: NOT compiled as {}, which this {compiler} does not know",
                        names[0]
                    ));
                    continue;
                };
                let cpp17 = suffix == "cpp" && age >= 2;
                for header in ["walrec.h", "walrec_inline.h", "walrec.hpp"] {
                    if header == "walrec.hpp" && !cpp17 {
                        continue;
                    }
                    for times in [1, 2] {
                        let text = format!("#include \"{header}\"\n").repeat(times);
                        let source = write(&format!("{header}-{times}.{suffix}"), &text);
                        toolchain::compile_with(compiler, standard, &source, &strict);
                        if suffix == "cpp" {
                            let bare = [&strict[..], &["-fno-exceptions", "-fno-rtti"]].concat();
                            toolchain::compile_with(compiler, standard, &source, &bare);
                        }
                        done += 1;
                    }
                }
            }
            // The compiler is heard when something is wrong.
            let heard =
                std::panic::catch_unwind(|| toolchain::compile_with(compiler, standards[0][0], &wrong, &strict));
            assert!(heard.is_err(), "{compiler} takes everything");
        }
    }
    toolchain::announce(&format!("FIGURE headers: compiled {done} times, by compiler, standard and header"));
}

/// The layout in the header is what the compiler of the engine makes of it, or the header does not compile.
#[test]
fn another_layout_does_not_compile() {
    let header = fs::read_to_string(toolchain::project().join("include/walrec_inline.h")).expect("the header is there");
    let directory = toolchain::build_directory().join("layout");
    fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let source = directory.join("layout.c");
    for (part, instead) in [
        ("walrec_event_t *next;", "uint64_t one_more; walrec_event_t *next;"),
        ("uint64_t unused[4];", "uint64_t unused[3];"),
    ] {
        assert_eq!(header.matches(part).count(), 1, "{part}");
        fs::write(&source, header.replace(part, instead))
            .unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        let compiled = std::panic::catch_unwind(|| toolchain::compile("c99", &source, &["-fsyntax-only", "-w"]));
        assert!(compiled.is_err(), "{instead} compiles");
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

/// walrec.hpp in each standard it is for, with the features of the later ones, without exceptions and run-time types, and with a
/// cursor layout that the library does not have.
#[test]
fn wrapped_for_cpp() {
    let _shared = MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let library = toolchain::library_directory().join("libwalrec.so").display().to_string();
    let source = toolchain::project().join("tests/c/wrapper.cpp");
    let other = toolchain::build_directory().join("wrapper-include");
    fs::create_dir_all(&other).unwrap_or_else(|error| panic!("{}: {error}", other.display()));
    for header in ["walrec.hpp", "walrec_inline.h"] {
        let text = fs::read_to_string(toolchain::project().join("include").join(header)).expect("the header is there");
        let text = text.replace("#define WALREC_CURSOR_LAYOUT 1", "#define WALREC_CURSOR_LAYOUT 2");
        fs::write(other.join(header), text).unwrap_or_else(|error| panic!("{}: {error}", other.display()));
    }
    let other = other.display().to_string();
    for (name, standard, more) in [
        ("17", "c++17", [].as_slice()),
        ("bare", "c++17", &["-fno-exceptions", "-fno-rtti"]),
        ("20", "c++20", &[]),
        ("23", "c++2b", &[]),
        ("other-layout", "c++17", &["-iquote", &other]),
    ] {
        let name = format!("wrapper-{name}");
        let output = toolchain::build_directory().join(&name).display().to_string();
        let arguments = ["-Wconversion", "-O1", "-g", "-o", &output, &library, &toolchain::rpath()];
        toolchain::compile(standard, &source, &[more, &arguments, &COUNTED[1..]].concat());
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

/// Compiles a benchmark of several files, runs it briefly and gives the rows of its JSON.
fn rows_of_benchmark(name: &str, parts: &[&str]) -> Vec<(String, f64)> {
    let directory = toolchain::project().join("benches");
    let library = toolchain::library_directory().join("libwalrec.so").display().to_string();
    let program = toolchain::build_directory().join(format!("bench-{name}"));
    let more: Vec<String> =
        parts.iter().map(|part| directory.join("append").join(part).display().to_string()).collect();
    let (output, rpath) = (program.display().to_string(), toolchain::rpath());
    let mut arguments = vec!["-D_GNU_SOURCE", "-O2", "-o", &output];
    arguments.extend(more.iter().map(String::as_str));
    arguments.extend([&*library, &*rpath, "-pthread", "-lm"]);
    toolchain::compile("c99", &directory.join(name).with_extension("c"), &arguments);

    let _shared = MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let work = toolchain::fresh_directory(&format!("bench-{name}"), false);
    let json = work.join("rows.json");
    let flags = [Path::new("--quick"), Path::new("--json"), &json, &work];
    let outcome =
        toolchain::run(&program, &flags, &toolchain::build_directory().join(format!("bench-{name}.out")), LIMIT);
    assert!(outcome.status.success(), "{}", outcome.text);
    let text = fs::read_to_string(&json).unwrap_or_else(|error| panic!("{}: {error}", json.display()));
    assert!(row_values(&text.replace("\"value\"", "\"valeu\"")).is_empty(), "the rows are read");
    let values = row_values(&text);
    assert!(values.iter().all(|(_, value)| value.is_finite()), "{values:?}");
    let _ = fs::remove_dir_all(&work);
    values
}

#[track_caller]
fn assert_rows(values: &[(String, f64)], ids: &[&str]) {
    for id in ids {
        assert!(values.iter().any(|(name, _)| name == id), "no row {id} in {values:?}");
    }
}

/// The benchmark of the append path runs, and its JSON has every row. No time is asserted.
#[test]
fn benchmark_gives_its_rows() {
    let values = rows_of_benchmark("append", &["measure.c", "tight.c", "paced.c", "disk.c"]);
    assert_rows(&values, &["append_to_bare", "inline_to_bare", "inline_to_fill_append", "cached.bare_in_place"]);
    assert_rows(&values, &["100k.p99.9", "1M.p50", "1M.p99.99", "1M.rotation_max", "1M.lag_p99", "5M.p99"]);
    assert_rows(&values, &["throughput.ratio", "open.after_kill", "memory.beside_stage"]);
    let value = |id: &str| values.iter().find(|(name, _)| name == id).map(|&(_, value)| value);
    assert_eq!(value("1M.faults"), Some(0.0));
    assert_eq!(value("open.from_stage"), Some(41_000.0), "the killed recorder's events are there");
}

#[test]
fn growth_gives_its_rows() {
    let values = rows_of_benchmark("growth", &["measure.c"]);
    let series = ["open.segments", "seek.segments", "append.events", "replay.events", "open.blocks", "append.blocks"];
    for id in series.into_iter().chain(["killed.blocks", "open.recorders", "append.recorders", "sync.recorders"]) {
        assert_rows(&values, &[&format!("{id}.exponent")]);
    }
}

/// Id and value of each row of the benchmark's JSON; one row stands on a line.
fn row_values(text: &str) -> Vec<(String, f64)> {
    let row = |line: &str| {
        let (id, rest) = line.trim().strip_prefix("{\"id\": \"")?.split_once('"')?;
        let (_, rest) = rest.split_once("\"value\": ")?;
        Some((id.to_owned(), rest.split_once(',')?.0.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

/// The other benchmarks compile as their comments say; they are run by `make bench-telemetry`.
#[test]
fn benchmarks_compile() {
    for name in ["telemetry", "reader_telemetry", "instructions", "sync_paths"] {
        let source = toolchain::project().join("benches").join(name).with_extension("c");
        toolchain::compile("c99", &source, &["-D_GNU_SOURCE", "-O2", "-fsyntax-only"]);
    }
}
