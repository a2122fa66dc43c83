//! x
use crate::arguments::Stats; use crate::failure::Failure; use crate::output::Output;
pub(crate) fn run(_options: &Stats, _output: &mut Output) -> Result<(), Failure> { Ok(()) }
