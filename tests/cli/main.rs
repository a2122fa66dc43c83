//! The command `walrec`, from outside: what it prints, its exit codes, and that it changes nothing, on logs that are closed, damaged, in
//! use, left by a kill, or not there.
//!
//! The shell blocks of docs/ are run too. `make commands` runs the same commands for docs/COMMANDS.md and writes down what they print.

#![allow(clippy::format_push_string, reason = "text for people")]
#![allow(clippy::print_stdout, reason = "a test prints its figures")]
#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

mod book;
mod closed;
mod damaged;
mod export;
mod ground;
mod lean;
mod live;
mod page;
mod usage;
