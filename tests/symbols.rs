//! What `libwalrec.so` shows to the linker and takes from the system: exported symbols, needed libraries, SONAME, and how it
//! is bound and protected.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The libraries a program that links walrec gets with it; every system with glibc and a C++ compiler's run time has them.
const NEEDED: [&str; 3] = ["ld-linux-x86-64.so.2", "libc.so.6", "libgcc_s.so.1"];

/// What the library may take, stripped as `make install` strips it.
const MAX_STRIPPED_BYTES: u64 = 1 << 20;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Builds the library as it is shipped, once, and gives its path.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--release", "--locked", "--lib"])
            .current_dir(root())
            .status()
            .expect("cargo runs");
        assert!(status.success(), "cargo build --release fails");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        root().join(target).join("release/libwalrec.so")
    })
}

/// What a binutils program says about the library.
fn ask(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .env("LC_ALL", "C")
        .args(arguments)
        .arg(library())
        .output()
        .unwrap_or_else(|error| panic!("{program} (of binutils) does not run: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Last words of lines, without a version after `@`.
fn names_of(listing: &str) -> BTreeSet<String> {
    let last =
        |line: &str| line.split_whitespace().last().map(|name| name.split('@').next().unwrap_or(name).to_owned());
    listing.lines().filter_map(last).collect()
}

#[test]
fn exports_are_exactly_the_listed_ones() {
    let kept =
        names_of(&std::fs::read_to_string(root().join("tests/exported_symbols.txt")).expect("the list is there"));
    assert!(!kept.is_empty() && kept.iter().all(|name| name.starts_with("walrec_")));
    let exported = names_of(&ask("nm", &["-D", "--defined-only"]));
    let (missing, unlisted) = (kept.difference(&exported), exported.difference(&kept));
    let (missing, unlisted): (Vec<_>, Vec<_>) = (missing.collect(), unlisted.collect());
    assert!(
        missing.is_empty() && unlisted.is_empty(),
        "libwalrec.so lacks {missing:?} and has {unlisted:?} beyond tests/exported_symbols.txt"
    );
    // The listing is of this library and not empty for another reason.
    assert!(names_of(&ask("nm", &["-D", "--undefined-only"])).contains("memcpy"));
}

#[test]
fn every_declared_function_is_exported_and_the_reverse() {
    let header = std::fs::read_to_string(root().join("include/walrec.h")).expect("the header is there");
    let exported = names_of(&ask("nm", &["-D", "--defined-only"]));
    assert_eq!(declared(&header), exported);
    assert_ne!(declared(&header.replace("walrec_append(", "walrec_apend(")), exported);
}

/// Functions declared in the header: a name before `(`, outside of comments and macros.
fn declared(header: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut in_comment = false;
    for line in header.lines() {
        let text = line.trim_start();
        in_comment |= text.starts_with("/*");
        // Declarations begin in the first column, with their type; fields and continued arguments are indented.
        let begins_here = !in_comment && !line.starts_with([' ', '#']);
        if let Some((before, _)) = line.split_once('(').filter(|_| begins_here) {
            names.extend(before.rsplit([' ', '*']).next().map(str::to_owned));
        }
        if text.contains("*/") {
            in_comment = false;
        }
    }
    names
}

/// Values of a tag in the dynamic section, as `readelf -d` writes them: `0x… (TAG) Something: [value]`.
fn dynamic(listing: &str, tag: &str) -> BTreeSet<String> {
    let tag = format!("({tag})");
    let lines = listing.lines().filter(|line| line.contains(&tag));
    let value = |line: &str| match (line.find('['), line.rfind(']')) {
        (Some(begin), Some(end)) => line[begin + 1..end].to_owned(),
        _ => line.split_once(&tag).map(|(_, rest)| rest.trim().to_owned()).unwrap_or_default(),
    };
    lines.map(value).collect()
}

#[test]
fn needs_the_c_library_and_the_unwinder_only() {
    let needed = dynamic(&ask("readelf", &["-dW"]), "NEEDED");
    assert!(needed.contains("libc.so.6"), "the listing is read: {needed:?}");
    let beyond: Vec<_> = needed.iter().filter(|name| !NEEDED.contains(&name.as_str())).collect();
    assert!(beyond.is_empty(), "needs {beyond:?} beyond {NEEDED:?}");
}

#[test]
fn is_small_and_tells_its_floor_of_glibc() {
    use std::io::Write as _;
    let stripped = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stripped.so");
    ask("strip", &["--strip-unneeded", "-o", stripped.to_str().expect("UTF-8")]);
    let bytes = |path: &Path| std::fs::metadata(path).expect("a library").len();
    // The file as it was built has line tables: it is measured as well as the other, and has to be too large.
    assert!(bytes(library()) > MAX_STRIPPED_BYTES && bytes(&stripped) > MAX_STRIPPED_BYTES / 4);
    let versions = ask("objdump", &["-T"]);
    let floor = versions.match_indices("GLIBC_2.").filter_map(|(at, found)| {
        versions[at + found.len()..].split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u32>().ok()
    });
    let floor = floor.max().expect("it needs a glibc");
    let bytes = bytes(&stripped);
    let figure = format!("FIGURE libwalrec.so: {bytes} bytes stripped, needs glibc 2.{floor}\n");
    // Past the harness, which keeps what a passing test prints.
    let _ = std::io::stderr().lock().write_all(figure.as_bytes());
    assert!(
        bytes <= MAX_STRIPPED_BYTES,
        "{bytes} bytes are above {MAX_STRIPPED_BYTES}. Does .cargo/config.toml hold? RUSTFLAGS in the environment takes its place"
    );
}

#[test]
fn carries_its_soname_and_is_bound_at_once_for_good() {
    let listing = ask("readelf", &["-dW"]);
    let soname = dynamic(&listing, "SONAME");
    assert_eq!(soname, BTreeSet::from([format!("libwalrec.so.{}", walrec::ffi::walrec_abi_version())]));
    let flags: Vec<String> = dynamic(&listing, "FLAGS_1").into_iter().collect();
    let flags = flags.join(" ");
    for flag in ["NOW", "NODELETE"] {
        assert!(flags.split_whitespace().any(|word| word == flag), "FLAGS_1 is {flags:?}, without {flag}");
    }
    assert!(dynamic(&listing, "TEXTREL").is_empty() && dynamic(&listing, "RPATH").is_empty());
    assert!(dynamic(&listing, "RUNPATH").is_empty());
}

#[test]
fn memory_is_protected() {
    let segments = ask("readelf", &["-lW"]);
    let line = |name: &str| {
        let found = segments.lines().find(|line| line.trim_start().starts_with(name));
        found.unwrap_or_else(|| panic!("no {name} in\n{segments}")).to_owned()
    };
    line("GNU_RELRO");
    assert!(!line("GNU_STACK").contains("RWE"), "the stack is executable");
    assert!(!segments.lines().any(|line| line.contains("LOAD") && line.contains("RWE")), "writable code");
}

/// Constructors would run in every process that links the library; the one allowed is the C run time's frame_dummy.
#[test]
fn no_constructor_of_its_own() {
    let sections = ask("readelf", &["-SW"]);
    let line = sections.lines().find(|line| line.contains(".init_array")).expect("the C run time's own");
    let fields: Vec<_> = line[line.find(".init_array").unwrap_or(0)..].split_whitespace().collect();
    // Name, type, address, offset, size.
    let bytes = usize::from_str_radix(fields[4], 16).expect("a size in hex");
    assert!(bytes <= 16, ".init_array has {bytes} bytes: more than frame_dummy and the standard library's arguments");
}

#[test]
fn notices_name_exactly_the_crates_that_are_linked() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("text");
    let linked: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "walrec")
        .collect();
    let notices = std::fs::read_to_string(root().join("THIRD-PARTY-NOTICES")).expect("the notices are there");
    // The table begins below its rule and ends at the next empty line.
    let table =
        notices.lines().skip_while(|line| !line.starts_with("-----")).skip(1).take_while(|line| !line.is_empty());
    let named: BTreeSet<&str> = table.filter_map(|line| line.split(' ').next()).collect();
    assert!(named.len() > 3, "the table is read");
    assert_eq!(named, linked, "crates named in THIRD-PARTY-NOTICES, and crates linked");
}
