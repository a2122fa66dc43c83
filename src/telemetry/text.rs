//! A snapshot as text: for a person, and for Prometheus.
//!
//! The second is the text exposition format 0.0.4: HELP and TYPE once for each family, then its lines; seconds and bytes as base
//! units. A histogram's bounds are the powers of two of nanoseconds less one, 15 ns to 17 s, where its buckets end exactly.

use std::fmt::Write as _;

use super::histogram::HistogramSnapshot;
use super::snapshot::Snapshot;
use super::table::{Line, Standing, Table, Texts};
use crate::format::Reason;

/// Powers of two that bound a Prometheus histogram.
const BOUNDS: std::ops::RangeInclusive<u32> = 4..=34;

/// A snapshot's lines, whatever table they are of: what is written of them is compiled once.
struct Lines<'a> {
    title: &'static str,
    gauges: Vec<(Texts, u64)>,
    counts: Vec<(Texts, u64)>,
    failures_family: &'static str,
    failures: &'a [u64],
    timings: Vec<(Texts, &'a HistogramSnapshot)>,
}

impl<'a> Lines<'a> {
    fn of<T: Table>(snapshot: &'a Snapshot<T>) -> Self {
        Self {
            title: T::TITLE,
            gauges: snapshot.gauges.each(),
            counts: T::Count::LINES.iter().map(|&count| (count.line(), snapshot.count(count))).collect(),
            failures_family: T::FAILURES,
            failures: &snapshot.checksum_failures,
            timings: T::Timing::LINES.iter().map(|&timing| (timing.line(), snapshot.timing(timing))).collect(),
        }
    }
}

/// For a person: what stands, what was counted, and the times' quantiles.
#[must_use]
pub fn human<T: Table>(snapshot: &Snapshot<T>) -> String {
    human_lines(&Lines::of(snapshot))
}

fn human_lines(lines: &Lines<'_>) -> String {
    let mut out = String::with_capacity(8 << 10);
    put(&mut out, format_args!("{}\n", lines.title));
    if !lines.gauges.is_empty() {
        out.push_str("\nnow\n");
    }
    for &([name, _, _, help], value) in &lines.gauges {
        line(&mut out, name, &number(value), help);
    }
    out.push_str("\ncounted\n");
    for &([name, _, _, help], value) in &lines.counts {
        line(&mut out, name, &number(value), help);
    }
    for (reason, &failures) in Reason::ALL.iter().zip(lines.failures) {
        if failures > 0 {
            line(&mut out, "checksum_failures", &number(failures), reason.text());
        }
    }
    put(
        &mut out,
        format_args!(
            "\n{:<18}{:>12}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
            "times", "count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"
        ),
    );
    for &([name, ..], histogram) in &lines.timings {
        put(&mut out, format_args!("{name:<18}{:>12}", histogram.count()));
        if let Some(mean) = histogram.sum().checked_div(histogram.count()) {
            let quantiles = [500_000, 900_000, 990_000, 999_000, 999_900].map(|part| histogram.quantile(part));
            for ns in [mean].into_iter().chain(quantiles).chain([histogram.max()]) {
                put(&mut out, format_args!("{:>9}", time(ns)));
            }
        }
        out.push('\n');
    }
    out
}

#[inline(never)]
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = out.write_fmt(text);
}

#[inline(never)]
fn line(out: &mut String, name: &str, value: &str, help: &str) {
    let text = format!("{name:<20}{value:>22}  {help}");
    out.push_str(text.trim_end());
    out.push('\n');
}

#[inline(never)]
fn number(value: u64) -> String {
    if value == u64::MAX { "unknown or no end".into() } else { value.to_string() }
}

/// Three or four digits and a unit.
fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns}ns"),
        10_000..10_000_000 => format!("{}us", ns / 1_000),
        10_000_000..10_000_000_000 => format!("{}ms", ns / 1_000_000),
        _ => format!("{}s", ns / 1_000_000_000),
    }
}

/// For Prometheus.
#[must_use]
pub fn prometheus<T: Table>(snapshot: &Snapshot<T>) -> String {
    prometheus_lines(&Lines::of(snapshot))
}

fn prometheus_lines(lines: &Lines<'_>) -> String {
    let mut out = String::with_capacity(64 << 10);
    let mut family = Family::default();
    for &([_, name, label, help], value) in &lines.gauges {
        family.begin(&mut out, name, "gauge", help);
        // Seconds without an end; bytes that are not known.
        let text = match value {
            u64::MAX if name.ends_with("_seconds") => "+Inf".into(),
            u64::MAX => "NaN".into(),
            value => value.to_string(),
        };
        sample(&mut out, name, label, &text);
    }
    for &([_, name, label, help], value) in &lines.counts {
        family.begin(&mut out, name, "counter", help);
        sample(&mut out, name, label, &value.to_string());
    }
    let name = lines.failures_family;
    family.begin(&mut out, name, "counter", "Bytes that did not verify, by walrec_reason_str's number and text");
    for (reason, failures) in Reason::ALL.iter().zip(lines.failures).skip(1) {
        let label = format!("reason=\"{}\",text=\"{}\"", reason.as_u32(), escaped(reason.text()));
        sample(&mut out, name, &label, &failures.to_string());
    }
    for &([_, name, label, help], times) in &lines.timings {
        family.begin(&mut out, name, "histogram", help);
        histogram(&mut out, name, label, times);
    }
    out
}

/// HELP and TYPE are written where a family begins.
#[derive(Default)]
struct Family(&'static str);

impl Family {
    #[inline(never)]
    fn begin(&mut self, out: &mut String, name: &'static str, kind: &str, help: &str) {
        if self.0 != name {
            self.0 = name;
            put(out, format_args!("# HELP walrec_{name} {help}\n# TYPE walrec_{name} {kind}\n"));
        }
    }
}

#[inline(never)]
fn sample(out: &mut String, name: &str, label: &str, value: &str) {
    match label {
        "" => put(out, format_args!("walrec_{name} {value}\n")),
        label => put(out, format_args!("walrec_{name}{{{label}}} {value}\n")),
    }
}

#[inline(never)]
fn histogram(out: &mut String, name: &str, label: &str, histogram: &HistogramSnapshot) {
    let before = if label.is_empty() { String::new() } else { format!("{label},") };
    for bits in BOUNDS {
        let bound = seconds((1 << bits) - 1);
        let count = histogram.count_below_power(bits);
        put(out, format_args!("walrec_{name}_bucket{{{before}le=\"{bound}\"}} {count}\n"));
    }
    put(out, format_args!("walrec_{name}_bucket{{{before}le=\"+Inf\"}} {}\n", histogram.count()));
    sample(out, &format!("{name}_sum"), label, &seconds(histogram.sum()));
    sample(out, &format!("{name}_count"), label, &histogram.count().to_string());
}

/// Nanoseconds as seconds, to the last digit.
fn seconds(ns: u64) -> String {
    let text = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::table::{Reader, ReaderCount, ReaderTiming, Recorder};
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_as_text() {
        assert_eq!(
            [0, 1, 15, 1_000_000_000, 17_179_869_183].map(seconds)[..],
            ["0", "0.000000001", "0.000000015", "1", "17.179869183"]
        );
        assert_eq!(
            [0, 9_999, 10_000, 9_999_999, 10_000_000_000].map(time)[..],
            ["0ns", "9999ns", "10us", "9999us", "10s"]
        );
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    fn hold_families<T: Table>() {
        let gauges = T::Gauges::default().each();
        let mut lines: Vec<_> = gauges.iter().map(|(texts, _)| *texts).collect();
        lines.extend(T::Count::LINES.iter().map(|count| count.line()));
        lines.extend(T::Timing::LINES.iter().map(|timing| timing.line()));
        let mut seen = BTreeSet::new();
        let mut last = "";
        for [_, family, label, help] in lines {
            assert!(family == last || seen.insert(family), "{family} is torn apart");
            assert_eq!(help.is_empty(), family == last, "{family}: help on its first line alone");
            assert!(!help.contains(['\\', '\n']));
            assert!(label.is_empty() || label.matches('"').count() == 2, "{family}: {label}");
            last = family;
        }
        assert!(T::Timing::LINES.iter().all(|timing| timing.line()[1].ends_with("_seconds")));
        assert!(T::Count::LINES.iter().all(|count| count.line()[1].ends_with("_total")));
    }

    #[test]
    fn the_tables_families_stand_together_and_carry_their_units() {
        hold_families::<Recorder>();
        hold_families::<Reader>();
        assert!(ReaderTiming::ALL.iter().all(|timing| timing.texts().1.starts_with("reader_")));
        assert!(ReaderCount::ALL.iter().all(|count| count.texts().1.starts_with("reader_")));
    }
}
