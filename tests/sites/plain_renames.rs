//! A file system that knows no RENAME_NOREPLACE: the process is killed before and after each call that gives a file another name.
//! Whatever it leaves opens again. Two names for one file would not: that is what a backup by hard link looks like.

use super::case::{Case, SCENARIOS, Site, When};
use super::kills;
use super::stand::Stand;
use super::toolchain;

#[test]
fn killed_while_a_file_gets_its_name() {
    let stand = Stand::with_plain_renames("plain");
    let mut cases = Vec::new();
    for scenario in SCENARIOS {
        for line in stand.record(scenario).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let &[call @ ("renameat" | "linkat" | "renameat2"), name, number, _] = &*words else { continue };
            assert_ne!(call, "renameat2", "{scenario}: the flag is known after all");
            // Those that replace are not meant, and of the others the first of each name will do.
            if !name.contains(".tmp") && number == "1" && name.contains("FS.") {
                let site = Site { scenario: scenario.into(), call: call.into(), name: name.into(), number: 1 };
                let kill = |what: &str| Case { site: site.clone(), when: When::Once, what: what.into() };
                cases.extend(["KILL", "KILLED"].map(kill));
            }
        }
    }
    // A dozen of them, spread over the scenarios.
    let step = (cases.len() / 12).max(1) | 1;
    let chosen: Vec<Case> = cases.iter().step_by(step).cloned().collect();
    let mut played = 0;
    stand.play_all(&chosen, |case, found| {
        let Some(found) = found else { return };
        kills::judge(&found).unwrap_or_else(|why| panic!("{case}: {why}"));
        played += u32::from(found.fired > 0);
    });
    assert!(played >= 8, "{played} of {} cases came to be", chosen.len());
    toolchain::announce(&format!(
        "FIGURE sites, without RENAME_NOREPLACE: {played} kills of {}, all open again",
        cases.len()
    ));
}
