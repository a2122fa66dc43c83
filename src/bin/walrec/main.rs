//! `walrec`, the command line: looks at logs, reads them, and measures the machine they lie on.
//!
//! Stands on the crate's public Rust interface alone, as any program could; nothing of it is in the library. Invariants:
//! 1. Nothing is written into a log directory. Only `salvage`, `bench`, `doctor --measure` and `export` write at all, where they were told to.
//! 2. Every failure names its file and ends in one of the exit codes of [`failure`]; a reader that closes standard output early
//!    (`| head`) ends the command quietly.
//! 3. With `--json`, standard output carries JSON and nothing else, one value a line.

#![allow(
    clippy::format_push_string,
    reason = "text for people: writing into a String cannot fail, and its result would be noise"
)]

mod arguments;
mod bench;
#[cfg(feature = "export")]
mod columns;
mod doctor;
mod dump;
mod event_text;
#[cfg(feature = "export")]
mod export;
mod failure;
mod findings;
mod info;
mod interrupt;
mod latencies;
mod listing;
mod machine;
mod new_file;
mod output;
mod replay;
mod salvage;
mod stats;
mod tail;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use arguments::{Arguments, Command};
use failure::Failure;
use output::Output;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for; everything else is a wrong use.
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            return ExitCode::from(if asked { 0 } else { failure::USAGE });
        }
    };
    let mut output = Output::new(arguments.json);
    let outcome = run(&arguments.command, &mut output);
    match outcome.and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.end_with(&failure),
    }
}

fn run(command: &Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Info(options) => info::run(options, output),
        Command::Verify(options) => verify::run(options, output),
        Command::Dump(options) => dump::run(options, output),
        Command::Tail(options) => tail::run(options, output),
        Command::Salvage(options) => salvage::run(options, output),
        #[cfg(feature = "export")]
        Command::Export(options) => export::run(options, output),
        #[cfg(not(feature = "export"))]
        Command::Export(_) => Err(Failure::Usage("this walrec was built without export: make cli EXPORT=1".into())),
        Command::Stats(options) => stats::run(options, output),
        Command::Doctor(options) => doctor::run(options, output),
        Command::Replay(options) => replay::run(options, output),
        Command::Bench(options) => bench::run(options, output),
    }
}
