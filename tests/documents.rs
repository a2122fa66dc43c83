//! The documents against what they speak of: README's program compiles and runs, links and make targets lead somewhere, and the
//! names, numbers, messages and files that the documents list are the code's.
//!
//! Each rule is a function that gives the faults, so that each has a control on made-up text beside the run over the
//! real documents.

#[path = "c/toolchain.rs"]
#[allow(dead_code, reason = "shared with c_face.rs, which uses more of it")]
mod toolchain;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use walrec::format::Reason;

/// Names that look like the header's and are environment variables of tests.
const VARIABLES: [&str; 4] = ["WALREC_SEED", "WALREC_LIBRARY_DIR", "WALREC_POWER_CASE", "WALREC_COLD_ONLY"];

fn root() -> PathBuf {
    toolchain::project()
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents: path from the root, and text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["", "docs"] {
        let folder = root().join(folder);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push((path.clone(), text_of(&path)));
            }
        }
    }
    found.sort();
    assert!(found.len() >= 6, "the documents are found");
    found
}

fn document(name: &str) -> String {
    text_of(&root().join(name))
}

fn header() -> String {
    text_of(&root().join("include/walrec.h"))
}

/// The content of the fenced blocks of a language.
fn blocks_of(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut inside: Option<(bool, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), inside.take()) {
            (Some(name), None) => inside = Some((name == language, String::new())),
            (Some(_), Some((true, block))) => blocks.push(block),
            (Some(_), Some((false, _))) | (None, None) => {}
            (None, Some((wanted, block))) => inside = Some((wanted, block + line + "\n")),
        }
    }
    blocks
}

/// The cells of the rows of all tables.
fn rows_of(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter(|line| line.starts_with('|'));
    rows.map(|line| line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The text below the heading with this name, up to the next heading.
fn below<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let is_heading = |line: &&str| line.starts_with('#');
    let named = |line: &&str| is_heading(line) && line.trim_start_matches('#').trim() == heading;
    text.lines().skip_while(|line| !named(line)).skip(1).take_while(|line| !is_heading(line)).collect()
}

/// The pieces between single backticks.
fn code_spans(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with("```")).flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// All words of `[A-Za-z0-9_]` with this prefix.
fn names_with<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.len() > prefix.len() && word.starts_with(prefix) && !word.ends_with('_')).collect()
}

fn write_program(directory: &Path, name: &str) -> PathBuf {
    let blocks = blocks_of(&document("README.md"), "c");
    assert_eq!(blocks.len(), 1, "README has one C program");
    let source = directory.join(name);
    fs::write(&source, &blocks[0]).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    source
}

/// Runs README's program in `directory`, and says what it printed.
fn run_there(program: &Path, directory: &Path) -> String {
    let mut command = Command::new(program);
    command.current_dir(directory).env("LD_LIBRARY_PATH", toolchain::build_directory());
    toolchain::run_tool(&mut command, "README's program does not run.")
}

#[test]
fn the_program_of_the_readme_compiles_and_runs() {
    let library = toolchain::library_directory().join("libwalrec.so").display().to_string();
    let directory = toolchain::fresh_directory("readme", false);
    for (language, name) in [("c99", "orders.c"), ("c++17", "orders.cpp")] {
        let program = directory.join(format!("{name}.out"));
        // In C++ `{0}` is one initializer too few for -Wextra; in C it is the idiom.
        let quiet = if language == "c99" { "-Wextra" } else { "-Wno-missing-field-initializers" };
        let output = program.display().to_string();
        let arguments = [quiet, "-o", &output, &library, &toolchain::rpath(), "-pthread"];
        toolchain::compile(language, &write_program(&directory, name), &arguments);
        let _ = fs::remove_dir_all(directory.join("orders.log"));
        assert_eq!(run_there(&program, &directory), "event 1: ok, ok\n");
        assert_eq!(run_there(&program, &directory), "event 2: ok, ok\n");
    }
    let _ = fs::remove_dir_all(&directory);
}

/// The program of docs/EMBEDDING.md compiles, and goes on where it ended.
#[test]
fn the_program_for_an_engine_compiles_and_runs() {
    let library = toolchain::library_directory().join("libwalrec.so").display().to_string();
    let directory = toolchain::fresh_directory("embedding", false);
    let blocks = blocks_of(&document("docs/EMBEDDING.md"), "cpp");
    assert_eq!(blocks.len(), 1, "docs/EMBEDDING.md has one program");
    let (source, program) = (directory.join("engine.cpp"), directory.join("engine"));
    fs::write(&source, &blocks[0]).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    toolchain::compile(
        "c++17",
        &source,
        &["-o", &program.display().to_string(), &library, &toolchain::rpath(), "-pthread"],
    );
    for (event, position) in [(1000, 1000), (2000, 2000)] {
        let said = run_there(&program, &directory);
        assert_eq!(said, format!("event {event}, position {position}, durable {event}\n"));
    }
    let _ = fs::remove_dir_all(&directory);
}

/// What looks for the library without saying which minor version it is for: it would take any that is there.
fn of_any_version(text: &str, version: &str, next: &str) -> Vec<String> {
    let package = ("find_package(walrec", format!(" {version} REQUIRED)"));
    let config = ("pkg-config --cflags --libs", format!(" 'walrec >= {version} walrec < {next}'"));
    let lines = |(what, asked): (&str, String)| -> Vec<String> {
        let found = text.split(what).skip(1).filter(|rest| !rest.starts_with(&asked));
        found.map(|rest| format!("{what}{}", rest.lines().next().unwrap_or_default())).collect()
    };
    [package, config].into_iter().flat_map(lines).collect()
}

#[test]
fn the_library_is_looked_for_by_this_version() {
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    let next = minor.parse::<u32>().expect("a number") + 1;
    let (version, next) = (format!("{major}.{minor}"), format!("{major}.{next}"));
    let manual = (root().join("docs/man/walrec.3"), document("docs/man/walrec.3").replace("\\-", "-"));
    let mut asked = 0;
    for (path, text) in documents().into_iter().chain([manual]) {
        assert_eq!(of_any_version(&text, &version, &next), Vec::<String>::new(), "{}", path.display());
        asked += text.matches("find_package(walrec ").count() + text.matches("--libs 'walrec ").count();
    }
    assert!(asked >= 6, "the places are found");
    let control = "find_package(walrec REQUIRED)\n$(pkg-config --cflags --libs walrec) -o orders";
    assert_eq!(of_any_version(control, &version, &next).len(), 2);
}

#[test]
fn the_compiler_lines_of_the_readme_work() {
    let library = toolchain::library_directory().display().to_string();
    let directory = toolchain::fresh_directory("readme-lines", false);
    write_program(&directory, "orders.c");
    write_program(&directory, "orders.cpp");
    let blocks = blocks_of(&document("README.md"), "sh").concat();
    let lines: Vec<&str> = blocks.lines().filter(|line| line.contains(" -lwalrec ")).collect();
    assert_eq!(lines.len(), 2, "one line for C, one for C++");
    let minimal = lines[0].replace("orders.c", "examples-c/minimal.c").replace("-o orders", "-o minimal");
    let example = document("examples-c/minimal.c");
    assert!(example.contains(&format!("\n *   {minimal}\n")), "examples-c/minimal.c is compiled by: {minimal}");
    for line in lines {
        let line = line
            .replace("-Iinclude", &format!("-I'{}'", root().join("include").display()))
            .replace("$PWD/target/release", &format!("'{library}'"))
            .replace("-Ltarget/release", &format!("-L'{library}'"));
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(&directory);
        toolchain::run_tool(&mut shell, "README's line needs cc and g++; this test is never skipped.");
        let printed = run_there(&directory.join("orders"), &directory);
        assert!(printed.ends_with(": ok, ok\n"), "{line}: {printed}");
    }
    let _ = fs::remove_dir_all(&directory);
}

/// Links that lead nowhere, below `folder`.
fn dead_links(folder: &Path, text: &str) -> Vec<String> {
    let slug = |heading: &str| -> String {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
    };
    // What stands in a code block is no link: `[&](...)` is C++.
    let prose: String = text.split("```").step_by(2).collect();
    let mut dead = Vec::new();
    for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
        let target = folder.join(path);
        if !path.is_empty() && !target.exists() {
            dead.push(link.to_owned());
            continue;
        }
        let Some(anchor) = anchor else { continue };
        let there = if path.is_empty() { text.to_owned() } else { text_of(&target) };
        let mut headings = there.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
        if !headings.any(|heading| slug(heading.trim()) == anchor) {
            dead.push(link.to_owned());
        }
    }
    dead
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for (path, text) in documents() {
        let folder = path.parent().expect("a file has a folder");
        assert_eq!(dead_links(folder, &text), Vec::<String>::new(), "{}", path.display());
        links += text.matches("](").count();
    }
    assert!(links >= 10, "the links are found");
    let control = "# One two\n[a](Cargo.toml) [b](#one-two) [c](no-such-file.md) [d](#three)";
    assert_eq!(dead_links(&root(), control), ["no-such-file.md", "#three"]);
}

/// Targets of `make` in code spans and shell blocks that the Makefile does not have.
fn missing_targets(text: &str, makefile: &str) -> Vec<String> {
    let shell = blocks_of(text, "sh").concat();
    let lines = code_spans(text).into_iter().chain(shell.lines());
    let commands = lines.filter_map(|line| line.strip_prefix("make "));
    let targets = commands.filter_map(|rest| rest.split_whitespace().next()).map(str::to_owned);
    targets.filter(|target| !makefile.lines().any(|line| line.starts_with(&format!("{target}:")))).collect()
}

#[test]
fn every_make_target_is_in_the_makefile() {
    let makefile = document("Makefile");
    for (path, text) in documents() {
        assert_eq!(missing_targets(&text, &makefile), Vec::<String>::new(), "{}", path.display());
    }
    assert!(document("README.md").contains("\nmake test "), "README names its commands");
    let control = "`make run` `make nothing`\n```sh\nmake no-more N=1\n```\n";
    assert_eq!(missing_targets(control, &makefile), ["nothing", "no-more"]);
}

#[test]
fn the_table_of_reasons_is_the_codes() {
    let format = document("docs/FORMAT.md");
    let rows = rows_of(&below(&format, "Reasons").join("\n"));
    let written: Vec<(String, String)> = rows.into_iter().skip(2).map(|row| (row[0].clone(), row[1].clone())).collect();
    let known: Vec<(String, String)> =
        Reason::ALL.iter().map(|reason| (reason.as_u32().to_string(), reason.text().to_owned())).collect();
    assert_eq!(written, known);
}

/// Numbers beside names of the header, `| WALREC_X | 1 |`, that are not the header's.
fn wrong_numbers(text: &str, header: &str) -> (usize, Vec<String>) {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for row in rows_of(text).into_iter().filter(|row| row.len() > 1) {
        let (name, number) = (row[0].trim_matches('`'), &row[1]);
        if name.starts_with("WALREC_") && number.parse::<i64>().is_ok() {
            seen += 1;
            let defined = format!("#define {name} {number}");
            if !header.lines().any(|line| line.trim() == defined) {
                wrong.push(format!("{name} {number}"));
            }
        }
    }
    (seen, wrong)
}

#[test]
fn names_and_numbers_of_the_interface_are_the_headers() {
    let header = header();
    let cmake = document("packaging/walrec-config.cmake.in");
    let inline = document("include/walrec_inline.h");
    let declared: BTreeSet<&str> = names_with(&header, "WALREC_")
        .into_iter()
        .chain(names_with(&header, "walrec_"))
        .chain(names_with(&cmake, "walrec_"))
        .chain(names_with(&inline, "walrec_"))
        .collect();
    // Prometheus knows the metrics by the families of these files, with a prefix.
    let table = text_of(&root().join("src/telemetry/table.rs")) + &text_of(&root().join("src/telemetry/text.rs"));
    let is_metric =
        |name: &str| name.strip_prefix("walrec_").is_some_and(|family| table.contains(&format!("\"{family}\"")));
    let mut numbers = 0;
    for (path, text) in documents() {
        let spans = code_spans(&text).join("\n") + &blocks_of(&text, "c").concat();
        let used: BTreeSet<&str> =
            names_with(&spans, "WALREC_").into_iter().chain(names_with(&spans, "walrec_")).collect();
        let unknown: Vec<_> =
            used.difference(&declared).filter(|name| !VARIABLES.contains(name) && !is_metric(name)).collect();
        assert!(unknown.is_empty(), "{}: not in the header: {unknown:?}", path.display());
        let (seen, wrong) = wrong_numbers(&text, &header);
        assert_eq!(wrong, Vec::<String>::new(), "{}", path.display());
        numbers += seen;
    }
    assert!(numbers >= 6, "the flags of the open report have their numbers");
    let control = "| `WALREC_E_ORDER` | -2 |\n| `WALREC_E_CLOSED` | -5 |";
    assert_eq!(wrong_numbers(control, &header), (2, vec!["WALREC_E_CLOSED -5".to_owned()]));
}

/// All sources, as paths from `src` and text.
fn sources() -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                collect(&path, found);
            } else {
                found.push((path.clone(), text_of(&path)));
            }
        }
    }
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    found
}

#[test]
fn every_message_that_is_explained_is_in_the_code() {
    let durability = document("docs/DURABILITY.md");
    let code: String = sources().into_iter().map(|(_, text)| text).collect();
    let rows = rows_of(&below(&durability, "Messages").join("\n"));
    let messages: Vec<&str> = rows.iter().skip(2).filter_map(|row| row[1].split('`').nth(1)).collect();
    assert!(messages.len() >= 10, "the messages are found: {messages:?}");
    let gone: Vec<_> = messages.iter().filter(|message| !code.contains(*message)).collect();
    assert!(gone.is_empty(), "explained, but not in the code: {gone:?}");
}

#[test]
fn the_code_map_has_every_file() {
    let architecture = document("ARCHITECTURE.md");
    let map = below(&architecture, "Code map").join("\n");
    let named: BTreeSet<&str> =
        code_spans(&map).into_iter().filter(|name| name.strip_suffix(".rs").is_some()).collect();
    let mut there = BTreeSet::new();
    for (path, _) in sources() {
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are UTF-8").to_owned();
        // A folder's mod.rs is told with the folder.
        if !matches!(name.as_str(), "mod.rs" | "lib.rs") {
            there.insert(name);
        }
    }
    let unnamed: Vec<_> = there.iter().filter(|name| !named.contains(name.as_str())).collect();
    assert!(unnamed.is_empty(), "not in the code map: {unnamed:?}");
    let tests = ["power_cut.rs", "kill9.rs", "c_face.rs", "mod.rs"];
    let gone: Vec<_> = named.iter().filter(|name| !there.contains(**name) && !tests.contains(name)).collect();
    assert!(gone.is_empty(), "in the code map, and gone: {gone:?}");
    assert!(tests[..3].iter().all(|name| root().join("tests").join(name).is_file()), "a test in the code map is gone");
}
