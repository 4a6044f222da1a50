//! Ctrl-C and SIGTERM during training: the first ends it after the current step, the second ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The signals that are handled here instead of ending the program at once.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    received: Arc<AtomicUsize>,
    /// Whether the next signal ends the program.
    kill: Arc<AtomicBool>,
}

impl Interrupt {
    /// Handles the signals. If the system does not allow this, they end the program as before.
    pub(crate) fn install() -> Self {
        let this = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // In the order of registration: the first signal passes the shutdown, and arms it.
            let _ = flag::register_conditional_shutdown(signal, 128 + signal, this.kill.clone())
                .and_then(|_| flag::register(signal, this.kill.clone()))
                .and_then(|_| flag::register_usize(signal, this.received.clone(), signal.unsigned_abs() as usize));
        }
        this
    }

    /// The exit code for the received signal, if there was one.
    pub(crate) fn code(&self) -> Option<u8> {
        match self.received.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(u8::try_from(signal).map_or(u8::MAX, |signal| 128 + signal)),
        }
    }
}

impl Drop for Interrupt {
    /// From here on a signal ends the program again.
    fn drop(&mut self) {
        self.kill.store(true, Ordering::SeqCst);
    }
}
