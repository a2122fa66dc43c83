//! One measurement: criterion times it, and its samples are kept for the tables.

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Throughput};

/// What one run of a measurement gets done.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub events: u64,
    pub bytes: u64,
}

/// The samples of a measurement, in seconds.
pub struct Sampled {
    pub name: &'static str,
    pub work: Work,
    seconds: Vec<f64>,
}

impl Sampled {
    /// `None` when it was filtered out.
    pub fn median(&self) -> Option<f64> {
        median(&self.seconds)
    }

    /// As above.
    pub fn least(&self) -> Option<f64> {
        least(&self.seconds)
    }
}

pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

pub fn least(values: &[f64]) -> Option<f64> {
    values.iter().copied().reduce(f64::min)
}

/// Lets criterion measure `run`, which gives the time of one run.
pub fn sample(
    group: &mut BenchmarkGroup<'_, WallTime>,
    lines: &mut Vec<Sampled>,
    name: &'static str,
    work: Work,
    mut run: impl FnMut() -> Duration,
) {
    let mut seconds = Vec::new();
    group.throughput(Throughput::Bytes(work.bytes));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| {
            let took: Vec<Duration> = (0..count).map(|_| run()).collect();
            seconds.extend(took.iter().map(Duration::as_secs_f64));
            took.iter().sum()
        });
    });
    lines.push(Sampled { name, work, seconds });
}
