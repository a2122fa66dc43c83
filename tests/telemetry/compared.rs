//! The histogram beside the library hdrhistogram: what both say of the same values, and what recording one costs. Printed; the errors
//! alone are asserted.

use std::hint::black_box;
use std::time::Instant;

use walrec::telemetry::histogram::Histogram;

const VALUES: usize = 1_000_000;

/// Values as times of appends are: most near 30 ns, a long tail up to a second.
fn values() -> Vec<u64> {
    let mut seed = 20_240_607_u64;
    let mut draw = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    (0..VALUES).map(|_| 20 + draw() % 32 + (1 << (draw().trailing_zeros() * 3 / 2).min(29))).collect()
}

/// How far off `told` is.
#[allow(clippy::cast_precision_loss, reason = "printed to two digits")]
fn percent(told: u64, exact: u64) -> f64 {
    100.0 * (told as f64 - exact as f64) / exact as f64
}

#[test]
fn as_right_as_a_library_s_with_its_cost_beside() {
    let mut values = values();
    let own = Histogram::default();
    // Two significant digits: 1 %; the nearest to 1/32 that it has.
    let mut other = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 42, 2).unwrap();
    let (mut own_ns, mut other_ns) = (f64::MAX, f64::MAX);
    for round in 0..5 {
        let begin = Instant::now();
        for &value in &values {
            own.record(black_box(value));
        }
        let middle = Instant::now();
        for &value in &values {
            other.record(black_box(value)).unwrap();
        }
        let end = Instant::now();
        if round > 0 {
            own_ns = own_ns.min((middle - begin).as_secs_f64() * 1e9 / 1e6);
            other_ns = other_ns.min((end - middle).as_secs_f64() * 1e9 / 1e6);
        }
    }
    println!(
        "FIGURE recording a value: {own_ns:.1} ns (atomic, for many writers), hdrhistogram {other_ns:.1} ns (one writer)"
    );
    values.sort_unstable();
    let own = own.snapshot();
    assert_eq!((own.count(), other.len(), own.max()), (5 * VALUES as u64, 5 * VALUES as u64, values[VALUES - 1]));
    for millionths in [500_000_u32, 900_000, 990_000, 999_000, 999_900, 1_000_000] {
        let exact = values[(VALUES * millionths as usize).div_ceil(1_000_000) - 1];
        let (told, others) = (own.quantile(millionths), other.value_at_quantile(f64::from(millionths) / 1e6));
        println!(
            "FIGURE quantile {:.4}: exactly {exact} ns; told {told} ({:+.2} %), hdrhistogram {others} ({:+.2} %)",
            f64::from(millionths) / 1e6,
            percent(told, exact),
            percent(others, exact)
        );
        assert!(told.abs_diff(exact) <= exact / 32 + 1, "{millionths}: {told} for {exact}");
    }
}
