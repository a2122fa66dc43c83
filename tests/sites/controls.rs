//! That the harness catches what it is for: a write that was not done, a stage that is gone, a site that is not there.

use std::fs;

use super::case::Case;
use super::kills;
use super::stand::Stand;
use super::toolchain;

fn case(text: &str) -> Case {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn what_goes_wrong_is_caught() {
    let stand = Stand::new("controls");
    // The flusher's first events, said to be written.
    let lie = stand.play_once(&case("fresh pwrite log/FS.00000000.wal 1 once LIE"));
    assert_eq!(lie.fired, 1);
    assert!(
        !lie.live.status.success() && lie.live.text.contains("FAILED"),
        "a write that was not done passes:\n{}",
        lie.live.text
    );

    // Killed before a segment's first events are written, and its stage taken away: they are gone.
    let killed = case("fresh pwrite log/FS.00000001.wal 1 once KILL");
    let found = stand.play_with(&killed, |work| {
        let line = fs::read_to_string(work.join("log/walrec.stage")).unwrap_or_default();
        let stage = line.find('/').map_or("", |at| line[at..].trim_end());
        fs::remove_dir_all(stage).unwrap_or_else(|error| panic!("{stage}: {error}"));
    });
    let why = kills::judge(&found).expect_err("events that are gone are not missed");
    assert!(why.contains("were appended"), "{why}");

    let nowhere = stand.play_once(&case("fresh fdatasync log/no-such-file 1 once EIO"));
    assert_eq!((nowhere.fired, nowhere.live.status.success()), (0, true));
    assert_eq!(nowhere.live.text.matches("outcome well").count(), 1, "{}", nowhere.live.text);
    toolchain::announce("FIGURE sites, controls: a write that was not done, and a stage that was taken away: caught");
}
