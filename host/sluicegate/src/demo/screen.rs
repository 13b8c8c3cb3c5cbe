//! The terminal: drawn on without flicker, and given back as it was.

use std::{
    io::{self, Write as _, stdout},
    panic, thread,
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    execute, queue,
    style::Print,
    terminal::{
        self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
        LeaveAlternateScreen,
    },
};
use tokio::sync::mpsc;

/// Keys that may wait: nobody types faster than they are read.
const WAITING_KEYS: usize = 16;

/// What a key press asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Swap the policy now.
    Swap,
    /// End.
    Quit,
}

/// The terminal's other screen. Dropping this gives the terminal back.
#[derive(Debug)]
pub(super) struct Screen(());

impl Screen {
    /// Takes the terminal over.
    pub(super) fn open() -> io::Result<(Self, mpsc::Receiver<Key>)> {
        restore_before_panics();
        terminal::enable_raw_mode()?;
        // From here on, whatever goes wrong, the terminal is given back.
        let screen = Self(());
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        let (sender, keys) = mpsc::channel(WAITING_KEYS);
        thread::Builder::new().name("keys".into()).spawn(move || read_keys(&sender))?;
        Ok((screen, keys))
    }

    /// Shows these lines and nothing else. They fit, or the last ones are left out.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let height = usize::from(terminal::size()?.1);
        let mut frame = Vec::new();
        queue!(frame, BeginSynchronizedUpdate, MoveTo(0, 0))?;
        for (row, line) in lines.iter().take(height).enumerate() {
            queue!(frame, MoveTo(0, row as u16), Print(line), Clear(ClearType::UntilNewLine))?;
        }
        if lines.len() < height {
            queue!(frame, MoveTo(0, lines.len() as u16), Clear(ClearType::FromCursorDown))?;
        }
        queue!(frame, EndSynchronizedUpdate)?;
        let mut stdout = stdout().lock();
        stdout.write_all(&frame)?;
        stdout.flush()
    }

    /// How many characters fit in a line.
    pub(super) fn width(&self) -> usize {
        terminal::size().map_or(80, |(columns, _)| columns.into())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back. If that fails the terminal is gone, and there is nobody to tell.
fn restore() {
    let _ = execute!(stdout(), Show, LeaveAlternateScreen);
    let _ = terminal::disable_raw_mode();
}

/// The message of a panic on this thread would be lost with the other screen, so that one goes first.
fn restore_before_panics() {
    let usual = panic::take_hook();
    let here = thread::current().id();
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() == here {
            restore();
        }
        usual(info);
    }));
}

/// Reads keys until nobody wants them any more. Its thread ends with the process: a read can't be given up.
fn read_keys(keys: &mpsc::Sender<Key>) {
    // A terminal that can't be read has no keys; the demo still ends at a signal.
    while let Ok(event) = event::read() {
        let Some(key) = meaning(&event) else { continue };
        if keys.blocking_send(key).is_err() {
            return;
        }
    }
}

fn meaning(event: &Event) -> Option<Key> {
    let key = event.as_key_event().filter(|key| key.kind == KeyEventKind::Press)?;
    match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Key::Quit),
        KeyCode::Char('s' | 'S' | ' ') => Some(Key::Swap),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn keys_mean_something() {
        let meaning = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(meaning(KeyCode::Char(' '), KeyModifiers::NONE), Some(Key::Swap));
        assert_eq!(meaning(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit));
        assert_eq!(meaning(KeyCode::Char('c'), KeyModifiers::NONE), None);
    }
}
