//! What the fuzzers share with `tests/hostile`: the targets, the logs they begin with, the independent decoder, and the rules.

#![allow(clippy::unwrap_used, reason = "a broken fixture ends the run")]

#[path = "../../tests/decoder/mod.rs"]
mod decoder;
#[path = "../../tests/decoder/encode.rs"]
mod encode;
mod entries;
#[path = "../../tests/hostile/examine.rs"]
mod examine;
mod frame_ops;
#[path = "../../tests/hostile/frames.rs"]
mod frames;
#[path = "../../tests/hostile/logs.rs"]
mod logs;
mod script;
mod targets;
#[path = "../../tests/decoder/with_library.rs"]
mod with_library;
mod world;

pub use targets::Target;

/// Runs one input; a rule that is broken is a crash to libFuzzer.
pub fn run(target: Target, data: &[u8]) {
    keep_freed_memory();
    if let Err(why) = target.run(data) {
        panic!("{target:?}: {why}");
    }
}

/// Changes an input: often in its own form, else as libFuzzer likes.
pub fn mutate(target: Target, data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    if seed.is_multiple_of(4) {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let room = max_size.min(data.len());
    target.mutate(&mut data[..room], size.min(room), seed)
}

/// Lets the C library keep freed memory: each input builds and drops machines.
fn keep_freed_memory() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // SAFETY: the calls only set parameters of the allocator.
    ONCE.call_once(|| unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    });
}
