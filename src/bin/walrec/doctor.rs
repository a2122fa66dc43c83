//! x
use crate::arguments::Doctor; use crate::failure::Failure; use crate::output::Output;
pub(crate) fn run(_options: &Doctor, _output: &mut Output) -> Result<(), Failure> { Ok(()) }
