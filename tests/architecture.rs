//! The layers, the fences and the sizes of `src/`, held by scanning the sources.
//!
//! Each rule is a function over (path, text) that gives the faults, so that each has a negative control on made-up
//! text beside the run over the real files.

use std::collections::BTreeSet;
use std::path::Path;

/// The layers. A file may import from layers of a lower rank and from its own, never from a peer.
const LAYERS: [(&str, u32); 8] = [
    ("format", 0),
    ("sync", 0),
    ("telemetry", 1),
    ("storage", 2),
    ("segment", 3),
    ("recorder", 4),
    ("recovery", 4),
    ("ffi", 5),
];

/// Every file with unsafe code, and what for.
const FILES_WITH_UNSAFE: &[(&str, &str)] = &[
    ("src/ffi/append.rs", "pointers from C"),
    ("src/ffi/config.rs", "pointers from C"),
    ("src/ffi/durability.rs", "pointers from C"),
    ("src/ffi/last_error.rs", "pointers from C"),
    ("src/ffi/reader.rs", "pointers from C"),
    ("src/ffi/reader_telemetry.rs", "pointers from C"),
    ("src/ffi/recorder.rs", "pointers from C"),
    ("src/ffi/sized.rs", "pointers from C"),
    ("src/ffi/status.rs", "exported names"),
    ("src/ffi/telemetry.rs", "pointers from C"),
    ("src/ffi/types.rs", "the type of log_cb"),
    ("src/ffi/verify.rs", "pointers from C"),
    ("src/ffi/version.rs", "exported names"),
    ("src/format/block_sums.rs", "vector instructions"),
    ("src/format/event.rs", "events copied as the bytes they are"),
    ("src/format/guard.rs", "the CRC32 instruction"),
    ("src/recorder/manager.rs", "decides whether the parts are dropped"),
    ("src/recorder/opening/mod.rs", "fills a slot that nobody has in use yet"),
    ("src/recorder/segment_writer.rs", "the hot path's stores"),
    ("src/recorder/shared.rs", "atomics inside the mapped cursor page"),
    ("src/recorder/worker/flusher.rs", "bytes of stage slots"),
    ("src/recorder/worker/preparer.rs", "bytes of stage slots"),
    ("src/storage/doorbell.rs", "a descriptor by its number"),
    ("src/storage/fork.rs", "pthread_atfork"),
    ("src/storage/mapping.rs", "maps memory"),
    ("src/storage/real.rs", "calls of libc that std does not have"),
    ("src/storage/real/file.rs", "calls of libc that std does not have"),
    ("src/storage/simulated/disk.rs", "copies from and to simulated mappings"),
    ("src/storage/simulated/tests.rs", "writes through a simulated mapping"),
    ("src/storage/stage.rs", "atomics and slices over mapped memory"),
    ("src/sync/modelled.rs", "values that models hand over"),
    ("src/sync/prefetch.rs", "the prefetch instruction"),
    ("src/sync/runner.rs", "signals, thread names and pins"),
    ("src/sync/spsc_ring.rs", "slots handed over by two positions"),
    ("src/telemetry/clock.rs", "the time stamp counter"),
];

/// The command line: a program of its own, on the library's public interface.
const COMMAND: &str = "src/bin/walrec/";
/// What the command may use of the library: not the C face, nor the pieces that threads are made of.
const COMMAND_USES: [&str; 6] = ["format", "recorder", "recovery", "segment", "storage", "telemetry"];
/// The command's own crates, and its feature: the library is the same with and without them.
const COMMAND_CRATES: [&str; 9] =
    ["arrow_array", "arrow_ipc", "arrow_schema", "clap", "humantime", "parquet", "serde", "serde_json", "signal_hook"];

/// The one file that maps memory, and the words only it may use.
const MAPPING_FILE: &str = "src/storage/mapping.rs";
const MAPPING_WORDS: [&str; 5] = ["memmap2", "mmap", "munmap", "mremap", "madvise"];

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
/// Longer files, with the reason.
const LONG_FILES: &[(&str, &str)] = &[("src/storage/simulated/tests.rs", "one test after another, each on its own")];
/// Longer functions as `path::name`, with the reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

/// A file: its path from the root, with `/`, and its text.
type Source = (String, String);

fn sources() -> Vec<Source> {
    fn collect(root: &Path, directory: &Path, found: &mut Vec<Source>) {
        for entry in std::fs::read_dir(directory).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                collect(root, &path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("below the root").to_str().expect("UTF-8").to_owned();
                found.push((name, std::fs::read_to_string(&path).expect("a source is text")));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect(root, &root.join("src"), &mut found);
    found.sort();
    assert!(found.len() > 20, "the sources are found");
    found
}

/// The text with comments, strings and character literals blanked, line by line as before.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match chars[i] {
            '/' if chars.get(i + 1) == Some(&'/') => end_of_line(&chars, i),
            '/' if chars.get(i + 1) == Some(&'*') => end_of_block_comment(&chars, i),
            '"' => end_of_string(&chars, i),
            'r' if !follows_word(&chars, i) => end_of_raw_string(&chars, i).unwrap_or(i),
            '\'' => end_of_character(&chars, i).unwrap_or(i),
            _ => i,
        };
        if end == i {
            code.push(chars[i]);
            i += 1;
        } else {
            code.extend(chars[i..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            i = end;
        }
    }
    code
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A letter before, except the b and c of byte and C strings.
fn follows_word(chars: &[char], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|place| chars[place]).filter(|&c| is_word(c));
    match before(1) {
        None => false,
        Some('b' | 'c') => before(2).is_some(),
        Some(_) => true,
    }
}

fn end_of_line(chars: &[char], begin: usize) -> usize {
    chars[begin..].iter().position(|&c| c == '\n').map_or(chars.len(), |length| begin + length)
}

fn end_of_block_comment(chars: &[char], begin: usize) -> usize {
    let (mut depth, mut i) = (0, begin);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') if depth == 1 => return i + 2,
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], begin: usize) -> usize {
    let mut i = begin + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

fn end_of_raw_string(chars: &[char], begin: usize) -> Option<usize> {
    let hashes = chars[begin + 1..].iter().take_while(|&&c| c == '#').count();
    let quote = begin + 1 + hashes;
    if chars.get(quote) != Some(&'"') {
        return None;
    }
    let closes =
        |&at: &usize| chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
    Some((quote + 1..chars.len()).find(closes).map_or(chars.len(), |at| at + 1 + hashes))
}

/// A character literal; a lifetime gives None.
fn end_of_character(chars: &[char], begin: usize) -> Option<usize> {
    if chars.get(begin + 1) == Some(&'\\') {
        let close = chars[begin + 3..].iter().position(|&c| c == '\'')?;
        return Some(begin + 3 + close + 1);
    }
    (chars.get(begin + 2) == Some(&'\'')).then_some(begin + 3)
}

/// Where `word` stands as a word of its own.
fn word_places<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !code[..at].chars().next_back().is_some_and(is_word)
            && !code[at + word.len()..].chars().next().is_some_and(is_word)
    })
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    &text[..text.find(|c: char| !is_word(c)).unwrap_or(text.len())]
}

/// First path segments after `crate::`, also in `crate::{a::b, c}`; or after the name of another root.
fn modules_imported(code: &str, root: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for at in word_places(code, root) {
        let Some(rest) = code[at + root.len()..].trim_start().strip_prefix("::") else { continue };
        let rest = rest.trim_start();
        let Some(group) = rest.strip_prefix('{') else {
            modules.insert(first_word(rest).to_owned());
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (place, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && is_word(c) => {
                    modules.insert(first_word(&group[place..]).to_owned());
                    begins = false;
                }
                _ => {}
            }
        }
    }
    modules
}

/// The most `super::` in a row.
fn longest_climb(code: &str) -> usize {
    let climb = |at: usize| {
        let mut rest = &code[at..];
        let mut count = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            (rest, count) = (next, count + 1);
        }
        count
    };
    word_places(code, "super").map(climb).max().unwrap_or(0)
}

fn layer_of(path: &str) -> Option<&str> {
    let (layer, _) = path.strip_prefix("src/")?.split_once('/')?;
    Some(layer)
}

fn rank_of(layer: &str) -> Option<u32> {
    LAYERS.iter().find(|(name, _)| *name == layer).map(|&(_, rank)| rank)
}

fn layer_faults((path, text): &Source) -> Vec<String> {
    let code = code_of(text);
    if path.starts_with("src/bin/") {
        return command_faults(path, &code);
    }
    let Some(layer) = layer_of(path) else {
        // lib.rs says what there is; nothing else stands beside it.
        return if path == "src/lib.rs" { Vec::new() } else { vec![format!("{path}: outside of every layer")] };
    };
    let Some(rank) = rank_of(layer) else { return vec![format!("{path}: no layer is called {layer}")] };
    let mut faults = Vec::new();
    for module in modules_imported(&code, "crate") {
        let allowed = module == layer || rank_of(&module).is_some_and(|imported| imported < rank);
        if !allowed {
            faults.push(format!("{path}: {layer} must not import crate::{module}"));
        }
    }
    // Climbing by `super` stays inside the layer; the inline module of tests begins one step deeper.
    let steps = path.matches('/').count() - 1 - usize::from(path.ends_with("/mod.rs"));
    let (main, tests) = code.split_at(code.find("mod tests {").unwrap_or(code.len()));
    for (part, steps) in [(main, steps), (tests, steps + 1)] {
        let climb = longest_climb(part);
        if climb > steps {
            faults.push(format!("{path}: {climb} times super:: leaves the layer; write crate::"));
        }
    }
    faults
}

/// A file of the command stands in its folder, and takes from the library what the list says.
fn command_faults(path: &str, code: &str) -> Vec<String> {
    let outside = (!path.starts_with(COMMAND)).then(|| format!("{path}: outside of {COMMAND}"));
    let used = modules_imported(code, "walrec").into_iter().filter(|module| !COMMAND_USES.contains(&module.as_str()));
    outside.into_iter().chain(used.map(|module| format!("{path}: the command must not use walrec::{module}"))).collect()
}

/// A file of the library that knows of the command.
fn knows_the_command((path, text): &Source) -> Vec<String> {
    if path.starts_with("src/bin/") {
        return Vec::new();
    }
    let code = code_of(text);
    let crates = COMMAND_CRATES.iter().filter(|name| word_places(&code, name).next().is_some());
    let features = ["cli", "export"].into_iter().filter(|name| text.contains(&format!("feature = \"{name}\"")));
    crates.copied().chain(features).map(|what| format!("{path}: {what} belongs to the command")).collect()
}

/// Compares what a rule found with its list of exceptions: nothing unlisted, nothing listed in vain.
fn against_list(found: &BTreeSet<String>, list: &[(&str, &str)], what: &str) -> Vec<String> {
    let listed: BTreeSet<String> = list.iter().map(|(name, _)| (*name).to_owned()).collect();
    let unlisted = found.difference(&listed).map(|name| format!("{name}: {what}, and is not on the list"));
    let unused = listed.difference(found).map(|name| format!("{name}: is on the list for nothing ({what})"));
    let unreasoned = list.iter().filter(|(_, reason)| reason.is_empty()).map(|(name, _)| format!("{name}: no reason"));
    unlisted.chain(unused).chain(unreasoned).collect()
}

fn unsafe_files(sources: &[Source]) -> BTreeSet<String> {
    let has = |text: &str| word_places(&code_of(text), "unsafe").next().is_some();
    sources.iter().filter(|(_, text)| has(text)).map(|(path, _)| path.clone()).collect()
}

fn mapping_faults((path, text): &Source) -> Vec<String> {
    if path == MAPPING_FILE {
        return Vec::new();
    }
    let code = code_of(text);
    let used = MAPPING_WORDS.iter().filter(|word| word_places(&code, word).next().is_some());
    used.map(|word| format!("{path}: {word} belongs into {MAPPING_FILE}")).collect()
}

fn long_files(sources: &[Source]) -> BTreeSet<String> {
    sources.iter().filter(|(_, text)| text.lines().count() > MAX_FILE_LINES).map(|(path, _)| path.clone()).collect()
}

/// Name and lines of each function with a body.
fn functions(text: &str) -> Vec<(String, usize)> {
    let code = code_of(text);
    let mut found = Vec::new();
    for at in word_places(&code, "fn") {
        let name = first_word(&code[at + 2..]);
        if name.is_empty() {
            continue; // the type of a function pointer
        }
        let (mut depth, mut brackets) = (0, 0);
        for (place, c) in code[at..].char_indices() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                ';' if depth == 0 && brackets == 0 => break, // declared only
                '{' => depth += 1,
                '}' if depth == 1 => {
                    found.push((name.to_owned(), code[at..at + place].matches('\n').count() + 1));
                    break;
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    found
}

fn long_functions(sources: &[Source]) -> BTreeSet<String> {
    let mut long = BTreeSet::new();
    for (path, text) in sources {
        let over = functions(text).into_iter().filter(|&(_, lines)| lines > MAX_FUNCTION_LINES);
        long.extend(over.map(|(name, _)| format!("{path}::{name}")));
    }
    long
}

#[track_caller]
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn made_up(path: &str, text: &str) -> Source {
    (path.to_owned(), text.to_owned())
}

#[test]
fn imports_point_downward_only() {
    let sources = sources();
    assert_none(&sources.iter().flat_map(layer_faults).collect::<Vec<_>>());
    for (layer, _) in LAYERS {
        assert!(sources.iter().any(|(path, _)| layer_of(path) == Some(layer)), "the layer {layer} has no file");
    }
}

#[test]
fn an_import_upward_or_sideways_is_seen() {
    let bad = [
        ("src/format/a.rs", "use crate::storage::File;"),
        ("src/format/a.rs", "use crate::sync::Bell;"),
        ("src/recorder/a.rs", "use crate::recovery::Manager;"),
        ("src/recorder/worker/a.rs", "use crate::{format::Event, recovery::{Manager, x}};"),
        ("src/recovery/a.rs", "fn f() { crate::recorder::open() }"),
        ("src/segment/a.rs", "use crate :: recorder::X;"),
        ("src/storage/a.rs", "use super::super::recorder::X;"),
        ("src/storage/mod.rs", "use super::recorder::X;"),
        ("src/storage/a.rs", "mod tests { use super::super::super::recorder::X; }"),
        ("src/util/a.rs", ""),
        ("src/helpers.rs", ""),
        ("src/recorder/a.rs", "use crate::Event;"),
    ];
    for (path, text) in bad {
        assert_eq!(layer_faults(&made_up(path, text)).len(), 1, "{path}: {text}");
    }
    let good = [
        ("src/recorder/a.rs", "use crate::{format::{Event, Id}, segment, storage::recovery}; use crate::recorder::b;"),
        ("src/recorder/a.rs", "// crate::recovery\nconst A: &str = \"crate::recovery::X\"; /* crate::ffi */"),
        ("src/recorder/worker/a.rs", "use super::super::b; mod tests { use super::*; }"),
        ("src/recorder/a.rs", "pub(crate) fn f() {}"),
        ("src/lib.rs", "pub use crate::ffi::X;"),
    ];
    for (path, text) in good {
        assert_none(&layer_faults(&made_up(path, text)));
    }
}

#[test]
fn the_command_stands_on_the_public_interface() {
    let sources = sources();
    assert!(sources.iter().any(|(path, _)| path == "src/bin/walrec/main.rs"), "the command is found");
    assert_none(&sources.iter().flat_map(knows_the_command).collect::<Vec<_>>());
    let faulty = [
        ("src/bin/other.rs", "fn main() {}"),
        ("src/bin/walrec/a.rs", "use walrec::ffi::X;"),
        ("src/bin/walrec/a.rs", "use walrec::{format::Event, sync::Bell};"),
    ];
    for (path, text) in faulty {
        assert_eq!(layer_faults(&made_up(path, text)).len(), 1, "{path}: {text}");
    }
    assert_none(&layer_faults(&made_up("src/bin/walrec/a.rs", "use walrec::{format::Event, segment}; use crate::b;")));
    for text in ["use serde::Serialize;", "#[cfg(feature = \"cli\")] mod a;", "#[cfg(feature = \"export\")] mod a;"] {
        assert_eq!(knows_the_command(&made_up("src/segment/a.rs", text)).len(), 1, "{text}");
    }
}

#[test]
fn unsafe_code_is_where_the_list_says() {
    assert_none(&against_list(&unsafe_files(&sources()), FILES_WITH_UNSAFE, "has unsafe code"));
}

#[test]
fn unlisted_unsafe_code_and_unused_entries_are_seen() {
    let files = [
        made_up("src/a.rs", "fn f() { unsafe { g() } }"),
        made_up("src/b.rs", "#![deny(unsafe_code)] // unsafe\nconst A: &str = r#\"unsafe \"quoted\" \"#;"),
        made_up("src/c.rs", "fn f<'a>(x: &'a u8) -> char { '\"' } unsafe impl Send for X {}"),
    ];
    let found = unsafe_files(&files);
    assert_eq!(found, BTreeSet::from(["src/a.rs".to_owned(), "src/c.rs".to_owned()]));
    assert_none(&against_list(&found, &[("src/a.rs", "why"), ("src/c.rs", "why")], "x"));
    assert_eq!(against_list(&found, &[("src/a.rs", "why")], "x").len(), 1, "c.rs is not listed");
    let list = [("src/a.rs", "why"), ("src/b.rs", "why"), ("src/c.rs", "")];
    assert_eq!(against_list(&found, &list, "x").len(), 2, "b.rs is listed in vain, c.rs without a reason");
}

#[test]
fn one_file_maps_memory() {
    assert!(sources().iter().any(|(path, _)| path == MAPPING_FILE), "{MAPPING_FILE} is there");
    assert_none(&sources().iter().flat_map(mapping_faults).collect::<Vec<_>>());
}

#[test]
fn mapping_elsewhere_is_seen() {
    for text in ["use memmap2::MmapMut;", "fn f() { unsafe { libc::mmap() } }", "libc::munmap(a, b);"] {
        assert_eq!(mapping_faults(&made_up("src/storage/stage.rs", text)).len(), 1, "{text}");
        assert_none(&mapping_faults(&made_up(MAPPING_FILE, text)));
    }
    assert_none(&mapping_faults(&made_up("src/storage/stage.rs", "//! not by mmap\nuse super::mapping::Mapping;")));
}

#[test]
fn files_and_functions_are_short_or_have_a_reason() {
    let sources = sources();
    let mut faults = against_list(&long_files(&sources), LONG_FILES, "has more than 500 lines");
    faults.extend(against_list(&long_functions(&sources), LONG_FUNCTIONS, "has more than 70 lines"));
    assert_none(&faults);
}

#[test]
fn long_files_and_functions_are_seen() {
    let lines = |count: usize| "    x();\n".repeat(count);
    let long = made_up("src/a.rs", &format!("fn short() {{}}\nfn long() {{\n{}}}\n", lines(69)));
    assert_eq!(functions(&long.1), [("short".to_owned(), 1), ("long".to_owned(), 71)]);
    assert_eq!(long_functions(&[long]), BTreeSet::from(["src/a.rs::long".to_owned()]));
    let fits = format!("fn fits() {{ // }}\n{}}}\ntrait T {{ fn declared(x: [u8; 2]) -> fn(u8); }}\n", lines(68));
    assert_eq!(functions(&fits), [("fits".to_owned(), 70)]);
    assert!(long_functions(&[made_up("src/a.rs", &fits)]).is_empty());
    assert_eq!(long_files(&[made_up("src/a.rs", &lines(501)), made_up("src/b.rs", &lines(500))]).len(), 1);
}
