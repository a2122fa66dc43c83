//! x
use crate::arguments::Replay; use crate::failure::Failure; use crate::output::Output;
pub(crate) fn run(_options: &Replay, _output: &mut Output) -> Result<(), Failure> { Ok(()) }
