//! Injected faults for tests: every operation on the file system first passes a numbered point.

/// Passes the next point.
#[cfg(not(test))]
#[inline]
pub(super) fn point() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) use self::inject::point;

#[cfg(test)]
pub(super) mod inject {
    use std::cell::Cell;
    use std::io;

    /// The fault at the chosen point.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// This operation fails.
        Once,
        /// This operation and all later ones fail, including cleanup: as if the process had been killed.
        Killed,
    }

    thread_local! {
        static FAULT: Cell<Option<(usize, Fault)>> = const { Cell::new(None) };
        static REACHED: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs `body` with a fault at point `at`, counted from 0; returns whether the point was reached.
    pub(crate) fn with_fault<T>(at: usize, fault: Fault, body: impl FnOnce() -> T) -> (T, bool) {
        FAULT.set(Some((at, fault)));
        REACHED.set(false);
        let result = body();
        FAULT.set(None);
        (result, REACHED.get())
    }

    pub(crate) fn point() -> io::Result<()> {
        match FAULT.get() {
            None => Ok(()),
            Some((0, fault)) => {
                REACHED.set(true);
                FAULT.set(if fault == Fault::Killed { Some((0, fault)) } else { None });
                Err(io::Error::other("a fault for the test"))
            }
            Some((left, fault)) => {
                FAULT.set(Some((left - 1, fault)));
                Ok(())
            }
        }
    }
}
