//! The fuzzers' targets, run without a fuzzer: over their corpus, and over a few thousand changes of it by a fixed seed. So they hold on
//! every machine, and cannot rot.

use std::fs;
use std::path::{Path, PathBuf};

use crate::memory::keep_freed_memory;
use crate::script::{HEAD_BYTES, MOST_OPS, OP_BYTES, Random};
use crate::targets::Target;

/// A target's corpus, in order.
fn corpus_of(target: Target) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name());
    let mut files: Vec<PathBuf> = match fs::read_dir(&directory) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(why) => panic!("{}: {why}", directory.display()),
    };
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

fn run(target: Target) {
    keep_freed_memory();
    let (seed, runs) = (number("WALREC_SEED", 20_240_607), number("WALREC_FUZZ_RUNS", 500));
    let corpus = corpus_of(target);
    assert!(!corpus.is_empty(), "{target:?} has no corpus");
    let mut sound = 0;
    for (path, input) in &corpus {
        let found = target.run(input).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        sound += u64::from(found.is_sound());
    }
    let mut random = Random(seed);
    let begin = std::time::Instant::now();
    for _ in 0..runs {
        let mut input = [0; HEAD_BYTES + MOST_OPS * OP_BYTES];
        let chosen = &corpus[random.below(corpus.len())].1;
        let mut size = chosen.len().min(input.len());
        input[..size].copy_from_slice(&chosen[..size]);
        for _ in 0..=random.below(4) {
            size = target.mutate(&mut input, size, u32::try_from(random.next() >> 32).unwrap());
        }
        let input = &input[..size];
        let hex = || input.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let outcome = std::panic::catch_unwind(|| target.run(input));
        let found = outcome.unwrap_or_else(|_| panic!("{target:?}: input {}: a panic", hex()));
        sound += u64::from(found.unwrap_or_else(|why| panic!("{target:?}: input {}: {why}", hex())).is_sound());
    }
    let all = runs + corpus.len() as u64;
    eprintln!("FIGURE {target:?}: {all} inputs, {sound} of them sound, seed {seed}, {:?}", begin.elapsed());
    assert!(sound > 0 && sound < all, "both outcomes are seen");
}

/// `WALREC_FUZZ_INPUT=frozen:PATH` runs one input that a fuzzer found.
#[test]
fn one_input() {
    let Ok(text) = std::env::var("WALREC_FUZZ_INPUT") else { return };
    let (name, path) = text.split_once(':').expect("WALREC_FUZZ_INPUT=TARGET:PATH");
    let target = Target::ALL.into_iter().find(|target| target.name() == name).expect("a target's name");
    let found = target.run(&fs::read(path).unwrap()).unwrap_or_else(|why| panic!("{path}: {why}"));
    eprintln!("{path}: {found:?}");
}

#[test]
fn segment_inputs() {
    run(Target::Segment);
}

#[test]
fn frozen_inputs() {
    run(Target::Frozen);
}

#[test]
fn small_file_inputs() {
    run(Target::SmallFiles);
}

#[test]
fn directory_inputs() {
    run(Target::Directory);
}
