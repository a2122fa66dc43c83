//! The manual pages: man has nothing to say about them, and the library's names every function, as the header declares it.

#[path = "c/toolchain.rs"]
#[allow(dead_code, reason = "each crate that includes this uses its own part")]
mod toolchain;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use toolchain::{announce, is_there, project};

fn text_of(path: &str) -> String {
    fs::read_to_string(project().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What man says about a page: nothing, if it is well made.
fn complaints(page: &str) -> String {
    let mut man = Command::new("man");
    man.args(["--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l", "-"]).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "100");
    let mut child =
        man.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("man is here");
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("man reads");
    String::from_utf8_lossy(&child.wait_with_output().expect("man ends").stderr).into_owned()
}

#[test]
fn man_has_nothing_to_say() {
    if !is_there("man") {
        announce("SKIP manual: DID NOT RUN: man is not here (Debian: man-db)");
        return;
    }
    for name in ["walrec.1", "walrec.3"] {
        let page = text_of(&format!("docs/man/{name}"));
        assert_eq!(complaints(&page), "", "{name}");
        let (title, version) = (page.lines().next().unwrap_or_default(), env!("CARGO_PKG_VERSION"));
        assert!(title.contains(&format!("walrec {version}")), "{name}: {title}");
        for (part, instead) in [(".SH NAME", ".SHH NAME"), (".SH NAME", ".SH NAME\n\\*[nothing]")] {
            assert!(!complaints(&page.replace(part, instead)).is_empty(), "{name} with {instead:?} passes");
        }
    }
}

fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("walrec_")).map(str::to_owned).collect()
}

/// The declarations of functions in C text, in one form: no comments, macros, `struct`, or line ends.
fn declarations(text: &str) -> BTreeSet<String> {
    let mut code = String::new();
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code.push_str(rest);
    let lines = code.lines().filter(|line| !line.starts_with(['#', '.']) && !line.starts_with("extern"));
    let code = lines.collect::<Vec<_>>().join(" ").replace("WALREC_NOEXCEPT", "").replace("struct ", "");
    let one = |declared: &str| declared.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(");
    let is_function = |declared: &str| {
        let name = declared.split('(').next().unwrap_or_default();
        declared.ends_with(')') && !name.contains("typedef") && (name.contains(" walrec_") || name.contains("*walrec_"))
    };
    code.split([';', '{', '}']).map(one).filter(|declared| is_function(declared)).collect()
}

fn section<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, below) = page.split_once(&format!("\n.SH {name}\n")).unwrap_or_else(|| panic!("no {name}"));
    below.split("\n.SH ").next().unwrap_or_default()
}

#[test]
fn the_page_of_the_library_has_every_function() {
    let page = text_of("docs/man/walrec.3");
    let exported: BTreeSet<String> = text_of("tests/exported_symbols.txt").lines().map(str::to_owned).collect();
    assert_eq!(names(section(&page, "NAME")), exported);
    let declared = declarations(&text_of("include/walrec.h"));
    assert_eq!(declared.len(), exported.len(), "{declared:?}");
    assert_eq!(declarations(section(&page, "SYNOPSIS")), declared);
    // A parameter that is another is seen.
    let wrong = section(&page, "SYNOPSIS").replace("int32_t fd", "int fd");
    assert_ne!(declarations(&wrong), declared);
}
