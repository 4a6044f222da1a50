//! Ctrl-C and SIGTERM during a training: the first asks for an end after the current step, the second ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Signals that have been taken over from the system, which would end the program at once.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    received: Arc<AtomicUsize>,
    /// Whether the next signal ends the program.
    kill: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes the signals over. Where the system does not allow it they end the program, as before.
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

    /// The exit code of a program that was ended by the signal that came, if one came.
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
