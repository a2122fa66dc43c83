//! Writes `include/walrec.h` from `src/ffi`. Run by `make header`.

use std::path::Path;

#[path = "../tests/header_generator/mod.rs"]
mod header_generator;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir_all(root.join("include"))?;
    std::fs::write(root.join("include/walrec.h"), header_generator::generate(root))
}
