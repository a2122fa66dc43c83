//! Another library in Rust, linked statically beside walrec: it allocates, unwinds and catches.

#[unsafe(no_mangle)]
pub extern "C" fn beside_sum(n: u64) -> u64 {
    let sum = || {
        assert!(n != 13, "unwinds");
        (0..=n).collect::<Vec<u64>>().iter().sum()
    };
    std::panic::catch_unwind(sum).unwrap_or(u64::MAX)
}
