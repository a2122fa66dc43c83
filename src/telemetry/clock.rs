//! Time for the histograms: a counter of the processor where it has one that the kernel's own clock runs on, else the clock.
//!
//! The append thread reads it too, so a reading is no system call and takes no lock: some 20 cycles. The counter's rate is
//! measured once in a process, at its first recorder. It is taken to run at one rate and in step on all processors, as it has on
//! every x86-64 of the last ten years; where it does not, times are wrong and nothing else is. A time that would be negative is 0.
#![allow(unsafe_code, reason = "reads the time stamp counter")]

use std::sync::OnceLock;
use std::time::Instant;

/// A reading of the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment(u64);

impl Moment {
    /// Now, for work that is neither short nor bound to an order.
    #[inline]
    #[must_use]
    pub fn now() -> Self {
        Self(ticks())
    }

    /// Now, after everything before has been carried out by this processor and before anything after it has begun: for work of
    /// nanoseconds.
    #[inline]
    #[must_use]
    pub fn exact() -> Self {
        barrier();
        let ticks = ticks();
        barrier();
        Self(ticks)
    }

    /// Nanoseconds from this moment to `later`; 0 when it is not later.
    #[inline]
    #[must_use]
    pub fn ns_until(self, later: Self) -> u64 {
        Rate::get().to_ns(later.0.saturating_sub(self.0))
    }

    /// Nanoseconds from this moment to now.
    #[inline]
    #[must_use]
    pub fn elapsed_ns(self) -> u64 {
        self.ns_until(Self::now())
    }

    /// As a number, for an atomic.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The moment that gave `bits`.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Measures the counter's rate, once in a process: 200 microseconds. Later readings are cheap.
pub fn prepare() {
    let _ = Rate::get();
}

/// Nanoseconds a tick, as a fraction of 2^32.
#[derive(Clone, Copy, Debug)]
struct Rate(u64);

static RATE: OnceLock<Rate> = OnceLock::new();

impl Rate {
    #[inline]
    fn get() -> Self {
        *RATE.get_or_init(Self::measure)
    }

    #[inline]
    fn to_ns(self, ticks: u64) -> u64 {
        u64::try_from((u128::from(ticks) * u128::from(self.0)) >> 32).unwrap_or(u64::MAX)
    }

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    fn measure() -> Self {
        let begin = (Instant::now(), ticks());
        while begin.0.elapsed().as_micros() < 200 {
            std::hint::spin_loop();
        }
        // The closest of a few pairs: this thread may lose its processor between the two readings of one.
        let pair = |_| {
            let before = ticks();
            let ns = begin.0.elapsed().as_nanos();
            let after = ticks();
            (after.saturating_sub(before), before.saturating_sub(begin.1), ns)
        };
        let (_, ticks, ns) = (0..16).map(pair).min().unwrap_or((0, 1, 1));
        Self(u64::try_from((ns << 32) / u128::from(ticks.max(1))).unwrap_or(1 << 32))
    }

    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    fn measure() -> Self {
        Self(1 << 32)
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn ticks() -> u64 {
    // SAFETY: the instruction has no conditions.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn ticks() -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    // The kernel's page of the clock: no system call.
    u64::try_from(BEGIN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[inline]
fn barrier() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a fence of the baseline; it has no conditions.
    unsafe {
        std::arch::x86_64::_mm_lfence();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn agrees_with_the_clock() {
        prepare();
        let (clock, moment) = (Instant::now(), Moment::now());
        std::thread::sleep(Duration::from_millis(50));
        // The clock encloses the counter's two readings; 2 % are allowed for the rate as it was measured.
        let ns = moment.elapsed_ns();
        let outer = u64::try_from(clock.elapsed().as_nanos()).unwrap();
        assert!(ns >= 49_000_000 && ns <= outer + outer / 50, "{ns} ns against {outer}");
    }

    #[test]
    fn never_negative() {
        let earlier = Moment::now();
        let later = Moment::exact();
        assert_eq!(later.ns_until(earlier), 0);
        assert_eq!(Moment::from_bits(earlier.to_bits()), earlier);
    }
}
