//! Every place at which the library calls the system, as a site for a fault: the process killed there, an error there once or for
//! ever, a short read or write.
//!
//! A child lives a short life (`tests/c/fault_child.c`) under a preload library that sees each call of libwalrec.so
//! (`tests/c/fault_shim.c`). A first life records the sites: a site is a call, the file's name, and its number among these; so it
//! is the same one whatever the threads do. Then each site meets each fault that its call can meet, in a life of its own, and what
//! must hold is held: by the child, which sees it from inside, and here.
//!
//! In short form a sample is run, by seed (WALREC_SEED). WALREC_SITES=all and WALREC_FAULTS=all run everything (`make sites`, `make
//! faults`), a number so many cases. A failing case prints the value of WALREC_CASE that plays it again alone: `SCENARIO CALL NAME NUMBER WHEN WHAT`.

#[path = "../c/random.rs"]
mod random;
#[path = "../c/toolchain.rs"]
#[allow(dead_code, reason = "shared with c_face.rs, which uses more of it")]
mod toolchain;

mod case;
mod controls;
mod errors;
mod kills;
mod plain_renames;
mod poison;
mod reported_once;
mod stand;
mod traced;
