//! Where the figures go: to a table on the terminal, or to lines of text.

use std::{
    env,
    io::{self, IsTerminal as _, stdout},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::sync::mpsc;

use super::{
    notice::Notice,
    origins::Origin,
    plain,
    proxy::Proxy,
    sample::View,
    screen::{Key, Screen},
    table::{self, Frame},
};

/// Whether there is a terminal that can show a table.
pub(super) fn is_terminal() -> bool {
    stdout().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// What the demo is seen by.
pub(super) enum Show {
    /// A table, which is drawn again and again.
    Table(Box<Table>),
    /// A line a second.
    Lines,
}

/// A table on the terminal.
pub(super) struct Table {
    screen: Screen,
    keys: mpsc::Receiver<Key>,
    notice: Notice,
    frame: Frame,
    is_coloured: bool,
}

impl Show {
    /// Takes the terminal over if there is one, which is when there is a notice.
    pub(super) fn start(proxy: &Proxy, rate: u32, origins: &[Origin], notice: Option<Notice>) -> Result<Self> {
        let address = proxy.address()?;
        let Some(notice) = notice else {
            let slow = origins.iter().find(|origin| origin.is_slow).map_or("slow", |origin| &origin.nature);
            plain::begin(address, rate, slow, origins.len())?;
            return Ok(Self::Lines);
        };
        let admin = proxy.server.admin_address().map_or("none".into(), |admin| format!("http://{admin}/"));
        let frame = Frame { rate, proxy: format!("http://{address}/"), admin, next: None, notice: None };
        let (screen, keys) = Screen::open().context("can't draw on the terminal")?;
        // https://no-color.org: set and not empty.
        let is_coloured = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(Self::Table(Box::new(Table { screen, keys, notice, frame, is_coloured })))
    }

    /// How often to show the figures: a table should look alive, lines should not run away.
    pub(super) fn period(&self) -> Duration {
        match self {
            Self::Table(_) => Duration::from_millis(250),
            Self::Lines => Duration::from_secs(1),
        }
    }

    /// Shows the figures. `next` is the time to the next swap.
    pub(super) fn figures(&mut self, view: &View, next: Option<Duration>) -> io::Result<()> {
        let Self::Table(table) = self else { return plain::second(view) };
        table.frame.next = next;
        table.frame.notice = table.notice.last();
        let lines = table::render(view, &table.frame, table.screen.width(), table.is_coloured);
        table.screen.draw(&lines)
    }

    /// Says that the policy was replaced. The table shows that anyway.
    pub(super) fn swapped(
        &mut self,
        elapsed: Duration,
        from: &str,
        to: &str,
        took: Option<Duration>,
    ) -> io::Result<()> {
        match self {
            Self::Table(table) => {
                // Whatever was wrong was about a policy that is gone.
                table.notice.clear();
                Ok(())
            }
            Self::Lines => plain::swapped(elapsed, from, to, took),
        }
    }

    /// The next key press. Never comes without a terminal.
    pub(super) async fn key(&mut self) -> Key {
        if let Self::Table(table) = self
            && let Some(key) = table.keys.recv().await
        {
            return key;
        }
        std::future::pending().await
    }
}
