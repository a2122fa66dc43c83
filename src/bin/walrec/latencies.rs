//! Distributions of times: a table, text for HdrHistogram's plotter, and a drawing.

use serde::Serialize;
use walrec::telemetry::histogram::HistogramSnapshot;

use crate::output::{Align, grouped, table};

/// The percentiles of the table, in millionths.
const SHOWN: [(u32, &str); 6] = [
    (500_000, "p50"),
    (900_000, "p90"),
    (990_000, "p99"),
    (999_000, "p99.9"),
    (999_900, "p99.99"),
    (999_990, "p99.999"),
];

/// Nanoseconds of one kind.
pub(crate) struct Distribution {
    pub(crate) name: &'static str,
    pub(crate) times: HistogramSnapshot,
}

/// The same, for JSON.
#[derive(Serialize)]
pub(crate) struct Summary {
    name: &'static str,
    count: u64,
    mean_ns: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p99_9_ns: u64,
    p99_99_ns: u64,
    p99_999_ns: u64,
    max_ns: u64,
}

impl Distribution {
    pub(crate) fn summary(&self) -> Summary {
        let [p50_ns, p90_ns, p99_ns, p99_9_ns, p99_99_ns, p99_999_ns] =
            SHOWN.map(|(millionths, _)| self.times.quantile(millionths));
        let count = self.times.count();
        let mean_ns = self.times.sum() / count.max(1);
        let max_ns = self.times.max();
        Summary { name: self.name, count, mean_ns, p50_ns, p90_ns, p99_ns, p99_9_ns, p99_99_ns, p99_999_ns, max_ns }
    }

    /// A percentile's value; the last is exact.
    fn value_at(&self, millionths: u32) -> u64 {
        if millionths == 1_000_000 { self.times.max() } else { self.times.quantile(millionths) }
    }

    /// The percentile distribution as text: value in microseconds, percentile, count, 1/(1-percentile).
    pub(crate) fn hgrm(&self) -> String {
        let mut text = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n".to_owned();
        let count = u128::from(self.times.count());
        for millionths in ticks() {
            let value = self.value_at(millionths);
            let seen = (count * u128::from(millionths)).div_ceil(1_000_000);
            let (whole, rest) = (value / 1_000, value % 1_000);
            let share = f64::from(millionths) / 1e6;
            text += &format!("{:>12} {share:>14.12} {seen:>10}", format!("{whole}.{rest:03}"));
            if millionths < 1_000_000 {
                text += &format!(" {:>14.2}", 1.0 / (1.0 - share));
            }
            text.push('\n');
        }
        let Summary { mean_ns, max_ns, count, .. } = self.summary();
        text += &format!("#[Mean    = {:>12}.{:03}]\n", mean_ns / 1_000, mean_ns % 1_000);
        text += &format!("#[Max     = {:>12}.{:03}, Total count    = {count:>12}]\n", max_ns / 1_000, max_ns % 1_000);
        text
    }
}

/// Percentiles ever closer to 100, five for each halving of the rest: in millionths.
fn ticks() -> Vec<u32> {
    const PER_HALVING: u32 = 5;
    let (mut ticks, mut at, mut rest) = (Vec::new(), 0, 1_000_000_u32);
    while rest > 1 {
        let step = (rest / 2 / PER_HALVING).max(1);
        for _ in 0..PER_HALVING {
            ticks.push(at);
            at = (at + step).min(1_000_000);
        }
        rest = 1_000_000 - at;
    }
    ticks.push(1_000_000);
    ticks.dedup();
    ticks
}

/// The percentiles, a column for each distribution.
pub(crate) fn percentiles(distributions: &[Distribution]) -> String {
    let columns: Vec<(&str, Align)> = std::iter::once(("ns", Align::Left))
        .chain(distributions.iter().map(|distribution| (distribution.name, Align::Right)))
        .collect();
    let row = |name: &str, value: &dyn Fn(&Distribution) -> u64| {
        std::iter::once(name.to_owned()).chain(distributions.iter().map(|one| grouped(value(one)))).collect::<Vec<_>>()
    };
    let mut rows: Vec<Vec<String>> =
        SHOWN.iter().map(|(millionths, name)| row(name, &|one| one.times.quantile(*millionths))).collect();
    rows.push(row("max", &|one| one.times.max()));
    rows.push(row("mean", &|one| one.times.sum() / one.times.count().max(1)));
    rows.push(row("count", &|one| one.times.count()));
    table(&columns, &rows)
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 90.0;
const TOP: f64 = 40.0;
const COLOURS: [&str; 3] = ["#1f6fb4", "#c8502d", "#8a8a8a"];
/// Powers of ten on both axes: 1/(1 - percentile) up to a million, and nanoseconds up to a second.
const DECADES_X: f64 = 6.0;
const DECADES_Y: f64 = 9.0;

fn x_of(millionths: u32) -> f64 {
    let rest = (1.0 - f64::from(millionths) / 1e6).max(1e-6);
    LEFT + WIDTH * -rest.log10() / DECADES_X
}

fn y_of(ns: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a place in a drawing")]
    let decades = (ns.max(1) as f64).log10().min(DECADES_Y);
    TOP + HEIGHT * (1.0 - decades / DECADES_Y)
}

/// Time by percentile, both logarithmic, as an SVG.
pub(crate) fn drawing(title: &str, distributions: &[Distribution]) -> String {
    let (width, height) = (LEFT + WIDTH + 30.0, TOP + HEIGHT + 60.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{title}</text>\n"
    );
    let (right, bottom) = (LEFT + WIDTH, TOP + HEIGHT);
    let grid = "stroke=\"#dddddd\"";
    let times = ["1 ns", "10 ns", "100 ns", "1 us", "10 us", "100 us", "1 ms", "10 ms", "100 ms", "1 s"];
    for (label, ns) in times.iter().zip((0..).map(|power| 10_u64.pow(power))) {
        let y = y_of(ns);
        svg += &format!("<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" {grid}/>\n");
        svg += &format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n", LEFT - 8.0, y + 4.0);
    }
    let shares = [(0, "0"), (900_000, "90 %"), (990_000, "99 %"), (999_000, "99.9 %"), (999_900, "99.99 %")];
    for (millionths, label) in shares.into_iter().chain([(999_990, "99.999 %"), (999_999, "99.9999 %")]) {
        let x = x_of(millionths);
        svg += &format!("<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" {grid}/>\n");
        svg += &format!("<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>\n", bottom + 20.0);
    }
    for (place, (one, colour)) in (0_u32..).zip(distributions.iter().zip(COLOURS)) {
        let points: Vec<String> = ticks()
            .iter()
            .map(|&millionths| format!("{:.1},{:.1}", x_of(millionths), y_of(one.value_at(millionths))))
            .collect();
        let points = points.join(" ");
        svg += &format!("<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n");
        let x = LEFT + 180.0 * f64::from(place);
        svg += &format!("<text x=\"{x}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>\n", bottom + 46.0, one.name);
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use walrec::telemetry::histogram::Histogram;

    fn distribution() -> Distribution {
        let histogram = Histogram::default();
        (1..=10_000).for_each(|ns| histogram.record(ns));
        Distribution { name: "append", times: histogram.snapshot() }
    }

    #[test]
    fn the_plotters_text_climbs_to_the_maximum() {
        let text = distribution().hgrm();
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|cell| cell.parse().unwrap()).collect())
            .collect();
        assert!(rows.len() > 40 && rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] < pair[1][1]));
        assert_eq!(rows[rows.len() - 1], [10.0, 1.0, 10_000.0]);
    }

    #[test]
    fn the_drawing_stays_inside_its_frame() {
        let svg = drawing("x", &[distribution()]);
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=LEFT + WIDTH).contains(&x) && (TOP..=TOP + HEIGHT).contains(&y), "{point}");
        }
    }
}
