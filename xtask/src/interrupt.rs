//! Ctrl-C, SIGTERM and SIGHUP: noted once here, looked at by everything that waits.
//!
//! A second signal ends the process at once: a person who asks twice means it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Failure, Kind, Result};

static STOP: std::sync::OnceLock<Arc<AtomicBool>> = std::sync::OnceLock::new();

/// Starts listening. Call once, before any thread is started.
pub fn install() -> Result<()> {
    let stop = STOP.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds the flag unset and only sets it, the second ends us.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(stop))?;
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}

/// True once a signal has come.
pub fn requested() -> bool {
    STOP.get().is_some_and(|stop| stop.load(Ordering::Relaxed))
}

/// An error once a signal has come: for loops that can be left at any turn.
pub fn check() -> Result<()> {
    if requested() { Err(failure().into()) } else { Ok(()) }
}

/// The failure that an interrupt is reported as.
pub fn failure() -> Failure {
    Failure::new(Kind::Interrupted, "interrupted; nothing half-written was kept")
        .next("run the same command again: it goes on where this one stopped")
}
