//! docs/alerts.yml and docs/grafana.json ask for what the exporter gives: names, labels, and of counters their rates.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use walrec::telemetry::text;

use super::prometheus::sample_text;
use super::reader::sample;

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).expect("a document")
}

/// The queries of alerting rules: each is one line after `expr:`.
fn of_rules(rules: &str) -> Vec<String> {
    rules.lines().filter_map(|line| line.trim_start().strip_prefix("expr: ")).map(str::to_owned).collect()
}

/// The queries of a dashboard, wherever they stand in it.
fn of_dashboard(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Object(fields) => {
            let own = ["expr", "definition"].iter().filter_map(|name| fields.get(*name)?.as_str());
            own.map(str::to_owned).chain(fields.values().flat_map(of_dashboard)).collect()
        }
        serde_json::Value::Array(values) => values.iter().flat_map(of_dashboard).collect(),
        _ => Vec::new(),
    }
}

/// What a scrape gives: each name with the labels seen on it, and whether it only grows.
struct Exporter {
    labels: BTreeMap<String, BTreeSet<String>>,
    growing: BTreeSet<String>,
}

impl Exporter {
    fn new(texts: &[String]) -> Self {
        let mut exporter = Self { labels: BTreeMap::new(), growing: BTreeSet::new() };
        for line in texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#')) {
            let sample = line.rsplit_once(' ').expect("a sample has a value").0;
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let seen = exporter.labels.entry(name.to_owned()).or_default();
            seen.extend(labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()).map(str::to_owned));
            if ["_total", "_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end)) {
                exporter.growing.insert(name.to_owned());
            }
        }
        // Counted by reason, so there is no line before the first.
        for name in ["walrec_checksum_failures_total", "walrec_reader_checksum_failures_total"] {
            exporter.labels.entry(name.to_owned()).or_default();
            exporter.growing.insert(name.to_owned());
        }
        exporter
    }

    /// What a query asks for that is not there, or not so.
    fn faults(&self, query: &str) -> Vec<String> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut faults = Vec::new();
        for (at, _) in query.match_indices("walrec_").filter(|&(at, _)| !query[..at].ends_with(is_word)) {
            let rest = &query[at..];
            let (name, after) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
            let Some(labels) = self.labels.get(name) else {
                faults.push(format!("{name}: no such metric"));
                continue;
            };
            // A matcher on instance is the scrape's own.
            let selector =
                after.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
            let asked = selector.split(',').filter(|one| !one.is_empty() && !one.starts_with("instance"));
            faults.extend(asked.filter(|one| !labels.contains(*one)).map(|one| format!("{name}: no {one}")));
            let over_time = ["rate(", "increase("].iter().any(|function| query[..at].ends_with(function));
            if over_time != (self.growing.contains(name)) {
                faults.push(format!("{name}: a rate of what only grows, and the value of what does not"));
            }
        }
        if faults.is_empty() && !query.contains("walrec_") {
            faults.push(format!("{query}: asks for nothing of walrec"));
        }
        faults
    }
}

#[test]
fn rules_and_dashboard_ask_for_what_there_is() {
    let (_watched, recorder) = sample_text();
    let exporter = Exporter::new(&[recorder, text::prometheus(&sample())]);
    assert!(exporter.labels.len() > 60 && exporter.growing.len() > 40, "the names are found");
    let rules = of_rules(&document("alerts.yml"));
    let dashboard = of_dashboard(&serde_json::from_str(&document("grafana.json")).unwrap());
    assert!(rules.len() >= 7 && dashboard.len() >= 25, "{} {}", rules.len(), dashboard.len());
    let faults: Vec<String> = rules.iter().chain(&dashboard).flat_map(|query| exporter.faults(query)).collect();
    assert_eq!(faults, Vec::<String>::new());
    for (wrong, count) in [
        ("walrec_nothing_total > 1", 1),
        ("rate(walrec_durable_lag_seconds[5m])", 1),
        ("walrec_segments{instance=~\"$instance\",state=\"lost\"}", 1),
        ("rate(walrec_poisoned[1m])", 1),
        ("walrec_worker_errors_total > 0", 1),
        ("up == 0", 1),
        ("walrec_segments{state=\"active\"} + rate(walrec_worker_errors_total[1m])", 0),
    ] {
        assert_eq!(exporter.faults(wrong).len(), count, "control: {wrong}");
    }
}

/// What Grafana needs of a file that it imports: panels with numbers of their own, on a grid, and every source a variable.
#[test]
fn the_dashboard_can_be_imported() {
    let dashboard: serde_json::Value = serde_json::from_str(&document("grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let numbers: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len(), panels.len());
    for panel in panels {
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        assert!(!panel["title"].as_str().unwrap().is_empty());
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty() && targets.iter().all(|target| target["refId"].is_string()), "{panel}");
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let named: Vec<&str> = variables.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(named, ["datasource", "instance"]);
    assert!(dashboard["uid"].is_string() && dashboard["schemaVersion"].as_u64() >= Some(36));
}
