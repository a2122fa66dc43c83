//! The timer, the CPUs, and order statistics.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// Ticks before what is timed: everything before has ended, nothing after has begun.
#[inline(always)]
pub fn begin() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: both instructions are in every x86-64.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    since_start()
}

/// Ticks after it.
#[inline(always)]
pub fn end() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above; rdtscp is in every one that this is measured on.
    unsafe {
        let mut cpu = 0;
        let ticks = core::arch::x86_64::__rdtscp(&raw mut cpu);
        core::arch::x86_64::_mm_lfence();
        ticks
    }
    #[cfg(not(target_arch = "x86_64"))]
    since_start()
}

#[cfg(not(target_arch = "x86_64"))]
fn since_start() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// How long a tick is.
pub fn ticks_per_ns() -> f64 {
    static RATE: OnceLock<f64> = OnceLock::new();
    *RATE.get_or_init(|| {
        let (clock, from) = (Instant::now(), begin());
        thread::sleep(Duration::from_millis(100));
        (begin() - from) as f64 / clock.elapsed().as_nanos() as f64
    })
}

/// CPUs of the machine.
pub fn cpus() -> usize {
    // SAFETY: no pointers.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1).max(1)
}

/// Keeps the calling thread, and those it starts from now on, on one CPU. Where that is not allowed they stay where they are.
pub fn pin(cpu: usize) {
    // SAFETY: a set of zeros is the empty set; the call reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}

/// The value that a part of them does not exceed; 0 of nothing.
pub fn quantile(values: &mut [u64], part: f64) -> u64 {
    values.sort_unstable();
    let at = (values.len() as f64 * part) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// The one in the middle, or between the two there; NaN of nothing. What is not a number is left out.
pub fn median(values: &[f64]) -> f64 {
    let mut values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let middle = |at: usize| values.get(at).copied().unwrap_or(f64::NAN);
    f64::midpoint(middle(values.len() / 2), middle(values.len().saturating_sub(1) / 2))
}
