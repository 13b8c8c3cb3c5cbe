//! Logs while the table is on the screen: the last line is kept, to be shown below it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::{
    Layer as _, filter::LevelFilter, fmt, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt,
};

/// The last thing that was logged.
#[derive(Clone, Debug, Default)]
pub(super) struct Notice(Arc<Mutex<Option<String>>>);

impl Notice {
    /// Keeps warnings and errors from now on, instead of writing them across the table.
    pub(super) fn start() -> Self {
        let notice = Self::default();
        let layer = fmt::layer().without_time().with_target(false).with_ansi(false).with_writer(notice.clone());
        tracing_subscriber::registry().with(layer.with_filter(LevelFilter::WARN)).init();
        notice
    }

    /// The last line, if anything was logged since [`clear`](Self::clear).
    pub(super) fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets it.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl io::Write for Notice {
    /// The subscriber writes each event at once.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // What cannot be printed would move the cursor.
        let text = String::from_utf8_lossy(event).replace(char::is_control, " ");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.trim().to_owned());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Notice {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
