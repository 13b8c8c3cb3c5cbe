//! Logs: for people on a terminal, JSON for programs.

use std::io::{self, IsTerminal};

use sluicegate_control::config::{Log, LogFormat};
use tracing::Level;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Lines that may wait to be written. When a reader is too slow, lines are lost rather than requests held up.
const WAITING_LINES: usize = 64_000;

/// Starts logging to standard error, through a thread of its own. What is logged is lost once the guard is dropped.
pub(crate) fn start(log: &Log) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES).finish(io::stderr());
    let terminal = io::stderr().is_terminal();
    // RUST_LOG, where set, has the last word: for finding out about one module.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directives(log)));
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let subscriber = tracing_subscriber::registry().with(filter);
    if json {
        subscriber.with(fmt::layer().json().flatten_event(true).with_writer(writer)).init();
    } else {
        subscriber.with(fmt::layer().with_ansi(terminal).with_target(false).with_writer(writer)).init();
    }
    guard
}

/// The level is for what this proxy says. At `debug`, a compiler describes every function that it works on, for which it
/// takes several times as long. The access log is a matter of its own, which `access` turns off.
fn directives(log: &Log) -> String {
    let level = log.level;
    let access = if log.access { ",sluicegate::access=INFO" } else { "" };
    format!("{},sluicegate={level}{access}", level.min(Level::INFO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_no_more_talkative_than_info() {
        let of = |level| directives(&Log { level, access: false, ..Log::default() });
        assert_eq!(of(Level::TRACE), "INFO,sluicegate=TRACE");
        assert_eq!(of(Level::DEBUG), "INFO,sluicegate=DEBUG");
        assert_eq!(of(Level::INFO), "INFO,sluicegate=INFO");
        assert_eq!(of(Level::ERROR), "ERROR,sluicegate=ERROR");
    }

    #[test]
    fn the_access_log_has_a_switch_of_its_own() {
        let log = Log { level: Level::WARN, access: true, ..Log::default() };
        assert_eq!(directives(&log), "WARN,sluicegate=WARN,sluicegate::access=INFO");
    }
}
