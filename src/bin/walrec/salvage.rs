//! x
use crate::arguments::Salvage; use crate::failure::Failure; use crate::output::Output;
pub(crate) fn run(_options: &Salvage, _output: &mut Output) -> Result<(), Failure> { Ok(()) }
