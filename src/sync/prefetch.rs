//! Prefetch: has a line on its way before it is needed.
#![allow(unsafe_code, reason = "the instruction has no safe name")]

/// Bytes of a line.
pub const LINE_BYTES: usize = 64;

/// Fetches the line at `address` for writing, wherever that is: a hint that never faults. `_mm_prefetch` with the write hint would become
/// a read prefetch: the instruction is no part of the baseline, though every 64-bit processor takes it, older ones as a no-op.
#[inline(always)]
pub fn fetch_for_write<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch of any address is a hint and never faults.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// The same for each line of a value.
pub fn fetch_all_for_write<T>(value: *const T) {
    for offset in (0..size_of::<T>()).step_by(LINE_BYTES) {
        fetch_for_write(value.wrapping_byte_add(offset));
    }
}
