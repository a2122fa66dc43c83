//! Finds what is not a crate: walrec's shared library, RocksDB, spdlog. Where the last two are missing, their rows say so.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Debian's places for headers.
const ROCKSDB: &str = "/usr/include/rocksdb/version.h";
const SPDLOG: &str = "/usr/include/spdlog/async.h";

/// Crates whose versions the tables name.
const CRATES: [&str; 6] = ["raft-engine", "okaywal", "open-wal", "wal-db", "walrus-rust", "rusteron-client"];

fn main() {
    for path in ["build.rs", "native", "Cargo.lock", ROCKSDB, SPDLOG] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=WALREC_LIBRARY_DIR");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    walrec(&root);
    versions();
    if let Some(version) = rocksdb_version() {
        println!("cargo::rustc-cfg=have_rocksdb");
        println!("cargo::rustc-env=VERSION_ROCKSDB={version}");
        println!("cargo::rustc-link-lib=rocksdb");
    }
    if Path::new(SPDLOG).exists() {
        println!("cargo::rustc-cfg=have_spdlog");
        // By the headers alone, so that both are compiled as everything else here.
        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").opt_level(2).define("FMT_HEADER_ONLY", None);
        build.file("native/spdlog.cpp").compile("peers_spdlog");
    }
}

fn walrec(root: &Path) {
    cc::Build::new().file("native/walrec.c").include(root.join("include")).opt_level(2).compile("peers_walrec");
    let library = env::var_os("WALREC_LIBRARY_DIR").map_or_else(|| root.join("target/release"), PathBuf::from);
    println!("cargo::rustc-link-search=native={}", library.display());
    println!("cargo::rustc-link-lib=dylib=walrec");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", library.display());
}

/// From the lock file, `name = "x"` and then `version = "y"`.
fn versions() {
    let lock = fs::read_to_string("Cargo.lock").expect("the lock file is there");
    for name in CRATES {
        let begin = format!("name = \"{name}\"\nversion = \"");
        let version = lock.split(&begin).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("?");
        println!("cargo::rustc-env=VERSION_{}={version}", name.to_uppercase().replace('-', "_"));
    }
}

fn rocksdb_version() -> Option<String> {
    let header = fs::read_to_string(ROCKSDB).ok()?;
    let number = |name: &str| {
        let line = header.lines().find(|line| line.starts_with(&format!("#define ROCKSDB_{name} ")))?;
        line.split_whitespace().nth(2).map(str::to_owned)
    };
    Some(format!("{}.{}.{}", number("MAJOR")?, number("MINOR")?, number("PATCH")?))
}
