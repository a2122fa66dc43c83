//! `include/walrec.h` is what `src/ffi` says, tells the version of the library, and compiles as C and as C++.

use std::ffi::CStr;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

mod header_generator;

const REMEDY: &str = "run `make header` and commit the result";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn header() -> String {
    std::fs::read_to_string(root().join("include/walrec.h")).expect("include/walrec.h is there")
}

/// The lines that differ, in the manner of diff, or nothing.
fn diff(kept: &str, generated: &str) -> Option<String> {
    if kept == generated {
        return None;
    }
    let (kept, generated): (Vec<_>, Vec<_>) = (kept.lines().collect(), generated.lines().collect());
    let same_begin = kept.iter().zip(&generated).take_while(|(a, b)| a == b).count();
    let most = kept.len().min(generated.len()) - same_begin;
    let same_end = kept.iter().rev().zip(generated.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let mut text = format!("@@ from line {} on @@\n", same_begin + 1);
    for line in &kept[same_begin..kept.len() - same_end] {
        writeln!(text, "-{line}").expect("a String takes all");
    }
    for line in &generated[same_begin..generated.len() - same_end] {
        writeln!(text, "+{line}").expect("a String takes all");
    }
    Some(text)
}

#[test]
fn header_is_up_to_date() {
    if let Some(diff) = diff(&header(), &header_generator::generate(root())) {
        panic!("include/walrec.h (-) is not what src/ffi gives (+); {REMEDY}\n{diff}");
    }
}

#[test]
fn a_drift_of_one_byte_is_seen() {
    let kept = header();
    let drifted = kept.replace("#define WALREC_E_ORDER -2", "#define WALREC_E_ORDER -3");
    let text = diff(&kept, &drifted).expect("a change is a difference");
    assert!(text.contains("-#define WALREC_E_ORDER -2\n+#define WALREC_E_ORDER -3\n"), "{text}");
    assert!(diff(&kept, kept.trim_end()).is_some(), "a missing newline is a difference");
    assert!(diff(&kept, &kept).is_none());
}

/// The value of a macro in the header.
fn macro_of<'a>(header: &'a str, name: &str) -> &'a str {
    let definition = format!("#define {name} ");
    let line = header.lines().find_map(|line| line.strip_prefix(&definition));
    line.unwrap_or_else(|| panic!("{name} is not in the header"))
}

#[test]
fn macros_tell_the_version_of_the_library() {
    let header = header();
    let number = |name| macro_of(&header, name).parse::<u32>().expect("a number");
    let version = (number("WALREC_VERSION_MAJOR"), number("WALREC_VERSION_MINOR"), number("WALREC_VERSION_PATCH"));
    assert_eq!(walrec::ffi::walrec_version_number(), version.0 * 10_000 + version.1 * 100 + version.2);
    let expected = "(WALREC_VERSION_MAJOR * 10000 + WALREC_VERSION_MINOR * 100 + WALREC_VERSION_PATCH)";
    assert_eq!(macro_of(&header, "WALREC_VERSION_NUMBER"), expected);
    // SAFETY: static terminated text.
    #[allow(unsafe_code, reason = "calls a function of the C face")]
    let text = unsafe { CStr::from_ptr(walrec::ffi::walrec_version_string()) };
    assert_eq!(macro_of(&header, "WALREC_VERSION_STRING"), format!("{text:?}"));
    assert_eq!(text.to_str(), Ok(env!("CARGO_PKG_VERSION")));
    assert_eq!(number("WALREC_ABI_VERSION"), walrec::ffi::walrec_abi_version());
}

/// The contract's numbers, written down a second time: they never change.
#[test]
fn numbers_are_the_contract_s() {
    const NUMBERS: [(&str, &str); 32] = [
        ("WALREC_OK", "0"),
        ("WALREC_END", "1"),
        ("WALREC_GAP", "2"),
        ("WALREC_E_INVALID", "-1"),
        ("WALREC_E_ORDER", "-2"),
        ("WALREC_E_BACKPRESSURE", "-3"),
        ("WALREC_E_CLOSED", "-4"),
        ("WALREC_E_FAILED", "-5"),
        ("WALREC_E_IO", "-6"),
        ("WALREC_E_NOSPACE", "-7"),
        ("WALREC_E_LOCKED", "-8"),
        ("WALREC_E_NOT_FOUND", "-9"),
        ("WALREC_E_CORRUPT", "-10"),
        ("WALREC_E_ABI", "-11"),
        ("WALREC_E_FORKED", "-12"),
        ("WALREC_E_PANIC", "-13"),
        ("WALREC_E_NOMEM", "-14"),
        ("WALREC_E_TIMEOUT", "-15"),
        ("WALREC_E_THREAD", "-16"),
        ("WALREC_KEEP_ALL", "UINT32_MAX"),
        ("WALREC_FLAG_REQUIRE_SHM", "1"),
        ("WALREC_FLAG_NO_COMPRESS", "2"),
        ("WALREC_FLAG_SALVAGE", "4"),
        ("WALREC_FULL_WAIT", "0"),
        ("WALREC_FULL_FAIL", "1"),
        ("WALREC_OPEN_STAGE_MISSING", "1"),
        ("WALREC_OPEN_STAGE_ON_DISK", "2"),
        ("WALREC_OPEN_STAGE_SET_ASIDE", "4"),
        ("WALREC_OPEN_CUT", "8"),
        ("WALREC_OPEN_SALVAGED", "16"),
        ("WALREC_OPEN_NOT_LOCKED_IN_MEMORY", "32"),
        ("WALREC_ABI_VERSION", "0"),
    ];
    let header = header();
    for (name, value) in NUMBERS {
        assert_eq!(macro_of(&header, name), value, "{name}");
    }
}

/// The compiler of this machine, or None, said loudly.
fn compiler(variable: &str, usual: &str) -> Option<String> {
    let name = std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
    if Command::new(&name).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Some(name);
    }
    eprintln!("SKIPPED: no compiler {name} here, so the header was not compiled with it ({variable}= names another)");
    None
}

fn compile(compiler: &str, language: &str, standard: &str, source: &str) -> Result<(), String> {
    use std::io::Write as _;
    let mut child = Command::new(compiler)
        .args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"])
        .args([&format!("-std={standard}"), "-x", language, "-I", "include", "-"])
        .current_dir(root())
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    child.stdin.take().expect("piped").write_all(source.as_bytes()).map_err(|error| error.to_string())?;
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

const SOURCE: &str = r#"#include "walrec.h"
#include "walrec.h"
struct in_tag_form { struct walrec_event_t event; struct walrec_config_t config; struct walrec_open_report_t report; };
typedef char event_is_64_bytes[sizeof(walrec_event_t) == 64 ? 1 : -1];
typedef char config_is_144_bytes[sizeof(walrec_config_t) == 144 ? 1 : -1];
typedef char meta_state_is_16_bytes[sizeof(walrec_meta_state_t) == 16 ? 1 : -1];
typedef char report_is_128_bytes[sizeof(walrec_open_report_t) == 128 ? 1 : -1];
typedef char guard_is_last[offsetof(walrec_event_t, guard) == 60 && offsetof(walrec_event_t, user_bytes) == 43 ? 1 : -1];
"#;

#[test]
fn header_compiles_alone_and_twice_in_every_standard() {
    let languages = [("CC", "gcc", "c", ["c99", "c11", "c17"]), ("CXX", "g++", "c++", ["c++11", "c++17", "c++20"])];
    for (variable, usual, language, standards) in languages {
        let Some(compiler) = compiler(variable, usual) else { continue };
        for standard in standards {
            for source in ["#include \"walrec.h\"\n", SOURCE] {
                compile(&compiler, language, standard, source).unwrap_or_else(|text| panic!("{standard}: {text}"));
            }
        }
        // The compiler is heard when something is wrong.
        let wrong = SOURCE.replace("== 64", "== 65");
        assert!(compile(&compiler, language, standards[0], &wrong).is_err(), "{language}");
    }
}

/// What doxygen says of the headers in `include`: an error for each comment that is wrong or missing.
fn doxygen(include: &Path, name: &str) -> Result<(), String> {
    use std::io::Write as _;
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&output);
    let kept = std::fs::read_to_string(root().join("docs/Doxyfile")).expect("docs/Doxyfile is there");
    let settings =
        format!("{kept}\nINPUT = {} docs/headers.dox\nOUTPUT_DIRECTORY = {}\n", include.display(), output.display());
    let mut child = Command::new("doxygen")
        .arg("-")
        .current_dir(root())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    std::fs::create_dir_all(&output).map_err(|error| error.to_string())?;
    child.stdin.take().expect("piped").write_all(settings.as_bytes()).map_err(|error| error.to_string())?;
    let finished = child.wait_with_output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&finished.stderr).into_owned();
    let page = std::fs::read_to_string(output.join("html/walrec_8h.html")).unwrap_or_default();
    assert!(!finished.status.success() || page.contains("walrec_append_batch"), "the functions have no page\n{said}");
    if finished.status.success() && said.is_empty() { Ok(()) } else { Err(said) }
}

#[test]
fn doxygen_understands_every_comment_and_misses_none() {
    if !Command::new("doxygen").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: doxygen is not here, so the comments of the headers were NOT checked");
        return;
    }
    doxygen(&root().join("include"), "doxygen").unwrap_or_else(|said| panic!("{said}"));
    let wrong = [
        ("walrec.hpp", "/** Appends a copy. */", "/** Appends a copy. \\param nothing there is none */"),
        ("walrec.hpp", "/** Appends a copy. */", ""),
        ("walrec_inline.h", " * walrec_reserve, inlined: the same contract.", " * \\wrong of its kind"),
        ("walrec.h", "/** The appended position, never torn. */", ""),
    ];
    let include = Path::new(env!("CARGO_TARGET_TMPDIR")).join("doxygen-wrong");
    for (header, part, instead) in wrong {
        std::fs::create_dir_all(&include).expect("a directory");
        for name in ["walrec.h", "walrec.hpp", "walrec_inline.h"] {
            let text = std::fs::read_to_string(root().join("include").join(name)).expect("a header");
            assert!(name != header || text.contains(part), "{part}");
            let text = if name == header { text.replacen(part, instead, 1) } else { text };
            std::fs::write(include.join(name), text).expect("a header");
        }
        assert!(doxygen(&include, "doxygen-control").is_err(), "{header}: {instead}");
    }
}
