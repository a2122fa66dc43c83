//! Makes `include/walrec.h`. Shared by `examples/generate_header.rs`, which writes the file, and
//! `tests/header.rs`, which compares it.

use std::path::Path;

/// The files with functions, structs and numbers for C, in the order in which they appear in the header.
const SOURCES: [&str; 12] = [
    "version",
    "status",
    "types",
    "last_error",
    "config",
    "recorder",
    "append",
    "durability",
    "telemetry",
    "reader",
    "reader_telemetry",
    "verify",
];

/// The text of the header for the crate at `root`.
pub fn generate(root: &Path) -> String {
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is readable");
    let macros = version_macros();
    config.after_includes = Some(format!("{macros}{}", config.after_includes.unwrap_or_default()));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root.join("src/ffi").join(source).with_extension("rs"));
    }
    let mut text = Vec::new();
    builder.generate().expect("src/ffi is readable").write(&mut text);
    let text = String::from_utf8(text).expect("the header is UTF-8");
    // Rust calls it safety; a reader of C looks for the pointers.
    let text = text.replace(" * # Safety\n", " * Pointers:\n").replace(")\nWALREC_NOEXCEPT;", ") WALREC_NOEXCEPT;");
    on_one_line(&text)
}

/// Puts a comment of one line on one line: `/** text */`.
fn on_one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < lines.len() {
        let indent = lines[i].len() - lines[i].trim_start().len();
        if lines[i].trim_start() == "/**" && lines.get(i + 2).is_some_and(|l| l.trim_start() == "*/") {
            let words = lines[i + 1].trim_start().trim_start_matches("* ");
            out.push_str(&lines[i][..indent]);
            out.push_str("/** ");
            out.push_str(words);
            out.push_str(" */");
            i += 3;
        } else {
            out.push_str(lines[i]);
            i += 1;
        }
        out.push('\n');
    }
    out
}

/// The version macros, from Cargo.toml.
fn version_macros() -> String {
    let [major, minor, patch] =
        [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")];
    format!(
        "
#define WALREC_VERSION_MAJOR {major}
#define WALREC_VERSION_MINOR {minor}
#define WALREC_VERSION_PATCH {patch}
#define WALREC_VERSION_NUMBER (WALREC_VERSION_MAJOR * 10000 + WALREC_VERSION_MINOR * 100 + WALREC_VERSION_PATCH)
#define WALREC_VERSION_STRING \"{major}.{minor}.{patch}\"
"
    )
}
