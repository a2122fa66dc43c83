//! The tables for a person, and the figures as JSON.

use std::time::Duration;

use crate::child::SYNC_EACH;
use crate::clock;
use crate::kill;
use crate::parent::{Extent, Measured};
use crate::peer::Survives;

/// What a figure belongs to, and which way is better.
struct Metric {
    table: &'static str,
    name: String,
    head: String,
    more_is_better: bool,
    digits: usize,
}

fn metrics() -> Vec<Metric> {
    let accepted = |name: &str, head: &str, digits| {
        let (name, head) = (name.to_owned(), head.to_owned());
        Metric { table: "accepted", name, head, more_is_better: false, digits }
    };
    let mut all = vec![
        accepted("ns an event", "ns/event", 1),
        accepted("call p50 ns", "call p50", 0),
        accepted("call p99 ns", "p99", 0),
        accepted("call p99.9 ns", "p99.9", 0),
    ];
    let mut durable = |name: String, head: String, more_is_better, digits| {
        all.push(Metric { table: "durable", name, head, more_is_better, digits });
    };
    for each in SYNC_EACH {
        durable(format!("each {each} sync us"), format!("sync/{each} us"), false, 0);
        durable(format!("each {each} events/s"), String::from("events/s"), true, 0);
    }
    durable(String::from("stream events/s"), String::from("stream ev/s"), true, 0);
    all
}

/// The median over the rounds.
fn value(measured: &Measured, metric: &Metric) -> Option<f64> {
    measured.figures.get(&metric.name).map(|rounds| clock::median(rounds))
}

/// How many times better walrec is: the median over the rounds of the ratio in each.
fn ratio(walrec: &Measured, measured: &Measured, metric: &Metric) -> Option<f64> {
    let (ours, theirs) = (walrec.figures.get(&metric.name)?, measured.figures.get(&metric.name)?);
    let better = |(ours, theirs): (&f64, &f64)| if metric.more_is_better { ours / theirs } else { theirs / ours };
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(better).collect();
    Some(clock::median(&ratios))
}

/// What is measured, where, and with which settings.
pub fn print_head(machine: &[(&str, String)], extent: &Extent, all: &[Measured]) {
    println!("walrec and other logs, 64-byte events\n");
    for (name, text) in machine {
        println!("   {name:<12} {text}");
    }
    let ms = extent.limit.as_millis();
    println!("   {:<12} {} in turns, parts of {ms} ms; {} kills each", "rounds", extent.rounds, extent.kills);
    println!("\nversions, and settings where they are not the defaults:");
    for Measured { row, .. } in all {
        println!("   {:<14} {:<16} {}", row.name, row.version, row.settings);
    }
    println!("\nwhere an accepted event lies, before any sync, and what that outlives:");
    for Measured { row, .. } in all {
        println!("   {:<14} {:<16} {}", row.name, row.survives.text(), row.lies_in);
    }
}

/// Both tables, the kills, and what did not run.
pub fn print(all: &[Measured], spent: Duration) {
    println!(
        "\n1. Accepted: bursts of 500,000 after a rest, the appending thread alone; single calls less the timer's own time; ns."
    );
    let timer = all[0].figures.get("timer ns").map_or(f64::NAN, |rounds| clock::median(rounds));
    println!("   x = how many times less walrec takes, of the ns an event. The timer alone: {timer:.0} ns");
    print_table(all, "accepted", &["ns an event"]);
    println!(
        "\n2. Durable: so many events and then a sync, median us of both, and events a second; stream: 4,000,000 accepted without"
    );
    println!("   a pause, then one sync. x = how many times less walrec takes, or more it does");
    print_table(all, "durable", &["each 1 sync us", "each 64 sync us", "each 1024 sync us", "stream events/s"]);
    print_kills(all);
    for measured in all {
        for why in &measured.failures {
            println!("\n*** {} DID NOT RUN: {why} ***", measured.row.name);
        }
    }
    println!("\ntook {} s", spent.as_secs());
}

fn print_table(all: &[Measured], table: &str, with_ratio: &[&str]) {
    let metrics: Vec<Metric> = metrics().into_iter().filter(|metric| metric.table == table).collect();
    print!("   {:<14} {:<10}", "", "survives");
    for metric in &metrics {
        print!(" {:>12}", metric.head);
        if with_ratio.contains(&metric.name.as_str()) {
            print!(" {:>8}", "x");
        }
    }
    println!();
    for measured in all.iter().filter(|measured| metrics.iter().any(|metric| value(measured, metric).is_some())) {
        let survives = if table == "accepted" { measured.row.survives } else { Survives::Power };
        print!("   {:<14} {:<10}", measured.row.name, survives.text());
        for metric in &metrics {
            let text = value(measured, metric)
                .filter(|value| value.is_finite())
                .map_or(String::from("-"), |value| grouped(value, metric.digits));
            print!(" {text:>12}");
            if with_ratio.contains(&metric.name.as_str()) {
                let text = ratio(&all[0], measured, metric).map_or(String::from("-"), |ratio| format!("{ratio:.2}"));
                print!(" {text:>8}");
            }
        }
        println!();
    }
}

/// With commas between thousands.
fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    rest.map_or(out.clone(), |rest| format!("{out}.{rest}"))
}

fn print_kills(all: &[Measured]) {
    println!(
        "\n3. What is left after kill -9 of the appending process: events accepted and lost, of all kills together"
    );
    println!("   {:<14} {:<10} {:>6} {:>12} {:>12} {:>12}", "", "survives", "kills", "accepted", "lost", "most lost");
    for measured in all.iter().filter(|measured| !measured.kills.is_empty()) {
        let (kills, survives) = (&measured.kills, measured.row.survives);
        let sum = |of: fn(&kill::Left) -> u64| grouped(kills.iter().map(of).sum::<u64>() as f64, 0);
        let most = grouped(kills.iter().map(kill::Left::lost).max().unwrap_or(0) as f64, 0);
        let (accepted, lost) = (sum(|left| left.accepted), sum(kill::Left::lost));
        print!(
            "   {:<14} {:<10} {:>6} {accepted:>12} {lost:>12} {most:>12}",
            measured.row.name,
            survives.text(),
            kills.len()
        );
        println!("{}", if kill::holds(survives, kills) { "" } else { "   *** NOT WHAT IT CLAIMS ***" });
    }
}

/// One object: the machine, and a row for each figure.
pub fn json(all: &[Measured], machine: &[(&str, String)]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " "));
    let number = |value: Option<f64>| {
        value.filter(|value| value.is_finite()).map_or(String::from("null"), |value| format!("{value:.4}"))
    };
    let mut rows = Vec::new();
    for measured in all {
        let row = &measured.row;
        let begin = format!(
            "{{\"peer\": {}, \"version\": {}, \"survives\": {}",
            quoted(row.name),
            quoted(&row.version),
            quoted(row.survives.text())
        );
        for metric in metrics() {
            let Some(rounds) = measured.figures.get(&metric.name) else { continue };
            let rounds: Vec<String> = rounds.iter().map(|&value| number(Some(value))).collect();
            rows.push(format!(
                "{begin}, \"table\": {}, \"metric\": {}, \"value\": {}, \"walrec_times_better\": {}, \"rounds\": [{}]}}",
                quoted(metric.table),
                quoted(&metric.name),
                number(value(measured, &metric)),
                number(ratio(&all[0], measured, &metric)),
                rounds.join(", ")
            ));
        }
        for left in &measured.kills {
            let metric = format!(
                "\"table\": \"killed\", \"accepted\": {}, \"lost\": {}, \"wrong\": {}",
                left.accepted,
                left.lost(),
                left.wrong
            );
            rows.push(format!("{begin}, {metric}}}"));
        }
        rows.extend(measured.failures.iter().map(|why| format!("{begin}, \"did_not_run\": {}}}", quoted(why))));
    }
    let machine: Vec<String> =
        machine.iter().map(|(name, text)| format!("{}: {}", quoted(name), quoted(text))).collect();
    format!("{{\"machine\": {{{}}},\n \"rows\": [\n  {}\n]}}\n", machine.join(", "), rows.join(",\n  "))
}
