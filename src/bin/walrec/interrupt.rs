//! Ctrl-C and the like, where something would be left behind: told by a flag, so that the command ends by its own way. The second one
//! ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::failure::Failure;

pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on signals set the flag.
    pub(crate) fn watched() -> Result<Self, Failure> {
        let came = Arc::default();
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            let registered = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&came))
                .and_then(|_| flag::register(signal, Arc::clone(&came)));
            registered.map_err(|error| Failure::System(format!("signal {signal}: {error}")))?;
        }
        Ok(Self(came))
    }

    pub(crate) fn came(&self) -> bool {
        // Relaxed: the flag alone is told.
        self.0.load(Ordering::Relaxed)
    }

    /// An error once it came.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.came() { Err(Failure::System("interrupted".into())) } else { Ok(()) }
    }
}
