#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use walrec_fuzz::Target;

fuzz_target!(|data: &[u8]| walrec_fuzz::run(Target::Frozen, data));
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    walrec_fuzz::mutate(Target::Frozen, data, size, max_size, seed)
});
