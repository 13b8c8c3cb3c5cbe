//! Lines for the proxy's log.

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something is wrong.
    Error,
    /// Something may become wrong.
    Warn,
    /// Something an operator may want to know.
    Info,
    /// Something the author wants to know.
    Debug,
}

/// Sends a line to the proxy's log, where it stands with the policy's name. More than a few lines a second are
/// dropped and counted there. Natively, lines go to standard error.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::guest::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}
