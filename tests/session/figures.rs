//! What a campaign came across, and that it came across enough.

use std::fmt;

use walrec::storage::simulated::SimulatedSystem;

/// What a campaign came across.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub states: u64,
    pub(super) cut_tails: u64,
    pub(super) above_durable: u64,
    pub(super) below_appended: u64,
    pub(super) recoveries_cut: u64,
    pub(super) processes_killed: u64,
    pub(super) from_stage: u64,
    pub(super) in_open: u64,
    pub(super) went_on: u64,
    pub(super) frozen: u64,
    pub(super) both_forms: u64,
    pub(super) leaving: u64,
    pub(super) retired: u64,
    pub(super) faulty: u64,
    pub(super) full: u64,
    pub(super) stages_gone: u64,
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.states += other.states;
        self.cut_tails += other.cut_tails;
        self.above_durable += other.above_durable;
        self.below_appended += other.below_appended;
        self.recoveries_cut += other.recoveries_cut;
        self.processes_killed += other.processes_killed;
        self.from_stage += other.from_stage;
        self.in_open += other.in_open;
        self.went_on += other.went_on;
        self.frozen += other.frozen;
        self.both_forms += other.both_forms;
        self.leaving += other.leaving;
        self.retired += other.retired;
        self.faulty += other.faulty;
        self.full += other.full;
        self.stages_gone += other.stages_gone;
    }

    pub(super) fn look_at(&mut self, system: &SimulatedSystem) {
        let names = system.list(super::LOG).unwrap_or_default();
        let has = |ending: &str| names.iter().any(|name| name.ends_with(ending));
        self.frozen += u64::from(has(".wal.lz4"));
        self.leaving += u64::from(has(".del"));
        let both = names.iter().any(|name| names.contains(&format!("{name}.lz4")));
        self.both_forms += u64::from(both);
    }

    /// Each kind of state must have come up, else the campaign proved less than it says.
    pub fn assert_telling(&self) {
        for (count, what) in [
            (self.cut_tails, "torn tails"),
            (self.above_durable, "recoveries above the watermark"),
            (self.below_appended, "recoveries below what was appended"),
            (self.recoveries_cut, "recoveries cut short"),
            (self.from_stage, "events from the stage"),
            (self.in_open, "cuts during an open"),
            (self.went_on, "logs written on"),
            (self.frozen, "frozen segments"),
            (self.both_forms, "segments in both forms"),
            (self.leaving, "segments on their way out"),
            (self.retired, "logs whose front was retired"),
            (self.faulty, "sessions in which calls had failed"),
            (self.full, "recoveries on a full disk"),
            (self.stages_gone, "stages taken away"),
        ] {
            assert!(count > 0, "the campaign saw no {what}");
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} states, 0 lost, 0 wrong; {} with a torn tail, {} recovered above the watermark, {} below the last append, {} with \
             the recovery cut short too, {} killed processes with {} events from the stage, {} cut during an open, {} written on, {} with \
             frozen segments, {} with one in both forms, {} with one on its way out, {} without their front, {} after calls that \
             had failed, {} opened on a full disk, {} killed processes whose stage was taken away",
            self.states,
            self.cut_tails,
            self.above_durable,
            self.below_appended,
            self.recoveries_cut,
            self.processes_killed,
            self.from_stage,
            self.in_open,
            self.went_on,
            self.frozen,
            self.both_forms,
            self.leaving,
            self.retired,
            self.faulty,
            self.full,
            self.stages_gone
        )
    }
}
