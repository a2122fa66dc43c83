//! Killed at each call that changes something, before it and after it, also while recovering.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Instant;

use super::case::{Case, When};
use super::random::{Random, number_from};
use super::stand::{Played, Stand, is_steady, sample_from};
use super::toolchain;

/// So many of the sites are in the short form, in one of two ways each.
const SAMPLE: u64 = 80;

/// The process died at the site, and the next one found everything.
pub fn judge(played: &Played) -> Result<(), String> {
    if played.live.status.signal() != Some(9) {
        return Err(format!("it was not killed but ended: {}\n{}", played.live.status, played.live.text));
    }
    match &played.check {
        Some(check) if check.status.success() => Ok(()),
        Some(check) => Err(format!("after the kill: {}\n{}{}", check.status, played.live.text, check.text)),
        None => Err("nobody looked".into()),
    }
}

#[test]
fn killed_at_each_call() {
    let begin = Instant::now();
    let seed = number_from("WALREC_SEED", 20_240_229);
    let sample = sample_from("WALREC_SITES", SAMPLE);
    let stand = Stand::new("kills");
    let sites = stand.sites(true);
    let mut random = Random(seed);
    let mut cases = Vec::new();
    for site in sites.keys() {
        for what in ["KILL", "KILLED"] {
            // Drawn for each, so that a seed's sample does not depend on what came before.
            let drawn = random.below(2 * sites.len() as u64) < sample;
            // Nothing has changed by an open: the kill after it is the kill before the next call.
            if drawn && (what == "KILL" || site.call != "openat") {
                cases.push(Case { site: site.clone(), when: When::Once, what: what.into() });
            }
        }
    }
    let cases = Case::narrow(cases);
    let mut rows: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let (mut failures, mut missed) = (Vec::new(), Vec::new());
    stand.play_all(&cases, |case, played| {
        let row = rows.entry(case.site.call.clone()).or_default();
        row.0 += 1;
        match played {
            None => missed.push(case.clone()),
            Some(played) => {
                row.1 += 1;
                if let Err(why) = judge(&played) {
                    failures.push(format!("WALREC_CASE={:?}\n{why}", case.to_string()));
                }
            }
        }
    });
    let reached: u64 = rows.values().map(|row| row.1).sum();
    for (call, (total, reached)) in &rows {
        toolchain::announce(&format!("  {call:<10} {reached:>5} of {total:>5} killed"));
    }
    for case in &missed {
        let lives = sites.get(&case.site).copied().unwrap_or(0);
        toolchain::announce(&format!("  not reached: {case}: only {lives} of the recorded lives came by it"));
    }
    toolchain::announce(&format!(
        "FIGURE sites: seed {seed}, {} sites of calls that change something, killed at {reached} of {} chosen, {} lost or wrong, {} s",
        sites.len(),
        cases.len(),
        failures.len(),
        begin.elapsed().as_secs()
    ));
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
    let steady = missed.iter().find(|case| sites.get(&case.site).is_some_and(|&lives| is_steady(lives)));
    assert!(steady.is_none(), "not reached, though each recorded life came by it: {}", steady.unwrap());
}
