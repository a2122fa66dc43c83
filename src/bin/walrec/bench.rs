//! x
use crate::arguments::Bench; use crate::failure::Failure; use crate::output::Output;
pub(crate) fn run(_options: &Bench, _output: &mut Output) -> Result<(), Failure> { Ok(()) }
