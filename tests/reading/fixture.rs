//! Logs of several segments, part of them frozen.

#![allow(dead_code, reason = "each test uses its own part")]

use std::path::Path;

use crate::decoder::segment::block_offset;
use crate::decoder::support::write_file;
use crate::encode::{Plan, write_sidecars};
use crate::encode_frozen::{frame, many_frames};

/// The form of a segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Hot,
    /// As walrec freezes.
    ManyFrames,
    /// As `lz4` compresses.
    OneFrame,
}

/// `forms.len()` linked, guarded, sealed segments of `blocks` full blocks each; ids from 1.
pub fn plans(forms: &[Form], blocks: usize) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for index in 0..u32::try_from(forms.len()).unwrap() {
        let previous = plans.last();
        plans.push(Plan {
            index,
            capacity: blocks,
            created_ts_ns: 1_000 + 10 * u64::from(index),
            closed_ts_ns: 1_005 + 10 * u64::from(index),
            blocks: vec![256; blocks],
            open_events: 0,
            first_event_id: previous.map_or(1, Plan::next_event_id),
            guards: true,
            link: previous.map(Plan::chained_checksum),
        });
    }
    plans
}

pub fn name_of(index: u32, form: Form) -> String {
    format!("FS.{index:08}.wal{}", if form == Form::Hot { "" } else { ".lz4" })
}

/// The bytes of a segment in its form.
pub fn form_of(bytes: &[u8], blocks: usize, form: Form) -> Vec<u8> {
    match form {
        Form::Hot => bytes.to_vec(),
        Form::ManyFrames => many_frames(bytes, blocks).concat(),
        Form::OneFrame => frame(&bytes[..block_offset(blocks)], false),
    }
}

/// Writes the log; gives the last event's id.
pub fn write_mixed(dir: &Path, forms: &[Form], blocks: usize) -> u64 {
    let plans = plans(forms, blocks);
    for (plan, form) in plans.iter().zip(forms) {
        write_file(&dir.join(name_of(plan.index, *form)), &form_of(&plan.encode(), blocks, *form));
    }
    let last = plans.last().unwrap();
    write_sidecars(dir, last.index, block_offset(blocks), last.next_event_id() - 1);
    last.next_event_id() - 1
}
