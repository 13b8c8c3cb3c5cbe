//! The table: lines of text, for a terminal of 80 by 24 or more.

use std::time::Duration;

use crossterm::style::{Attribute, Color, ResetColor, SetAttribute, SetForegroundColor};

use super::{
    help,
    sample::{EraRow, Row, View},
    units::{ms, short},
};

/// The longest bar.
const BAR: u64 = 36;

/// What the table says besides the figures.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Requests a second, as asked for.
    pub(super) rate: u32,
    /// Where clients connect to.
    pub(super) proxy: String,
    /// Where the proxy's own figures are.
    pub(super) admin: String,
    /// The time to the next swap; none if that comes when the policy's file changes.
    pub(super) next: Option<Duration>,
    /// What went wrong last.
    pub(super) notice: Option<String>,
}

/// How a piece of text looks. Without colours, all look the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Plain,
    Strong,
    Faint,
    Good,
    Bad,
}

/// A line in pieces.
#[derive(Clone, Debug, Default)]
struct Line(Vec<(Look, String)>);

impl Line {
    fn of(look: Look, text: impl Into<String>) -> Self {
        Self(vec![(look, text.into())])
    }

    fn and(mut self, look: Look, text: impl Into<String>) -> Self {
        self.0.push((look, text.into()));
        self
    }

    /// No wider than the terminal: a line that wraps would move all others.
    fn render(&self, width: usize, is_coloured: bool) -> String {
        let mut left = width;
        let mut rendered = String::new();
        for (look, text) in &self.0 {
            let clipped: String = text.chars().take(left).collect();
            left -= clipped.chars().count();
            match look.escapes().filter(|_| is_coloured) {
                Some((on, off)) => rendered.extend([&on, &clipped, &off].map(String::as_str)),
                None => rendered.push_str(&clipped),
            }
        }
        rendered
    }
}

impl Look {
    fn escapes(self) -> Option<(String, String)> {
        let coloured = |color| (SetForegroundColor(color).to_string(), ResetColor.to_string());
        let off = SetAttribute(Attribute::NormalIntensity).to_string();
        match self {
            Self::Plain => None,
            Self::Strong => Some((SetAttribute(Attribute::Bold).to_string(), off)),
            Self::Faint => Some((SetAttribute(Attribute::Dim).to_string(), off)),
            Self::Good => Some(coloured(Color::Green)),
            Self::Bad => Some(coloured(Color::Red)),
        }
    }
}

/// The lines of the table, each as wide as the terminal or less.
pub(super) fn render(view: &View, frame: &Frame, width: usize, is_coloured: bool) -> Vec<String> {
    let mut lines = header(view, frame);
    lines.push(Line::default());
    lines.push(Line::of(Look::Faint, columns(["endpoint", "requests", "per s", "in flight", "p50", "p99"])));
    lines.extend(view.endpoints.iter().map(|row| {
        let look = if row.is_slow { Look::Bad } else { Look::Plain };
        figures(row, look)
    }));
    lines.push(figures(&view.clients, Look::Strong));
    lines.push(Line::default());
    lines.push(Line::of(Look::Faint, " p99 as clients see it, of all requests so far, by policy"));
    lines.extend(bars(&view.eras));
    lines.push(Line::default());
    lines.extend(below(frame, width));
    lines.push(Line::default());
    lines.push(footer(frame));
    lines.iter().map(|line| line.render(width, is_coloured)).collect()
}

fn header(view: &View, frame: &Frame) -> Vec<Line> {
    let seconds = view.elapsed.as_secs();
    let title = format!(" {} requests/s to {}, for {}:{:02}", frame.rate, frame.proxy, seconds / 60, seconds % 60);
    let policy = format!(
        "  generation {}, {} lane, pick {} (p99 {})",
        view.active.generation,
        view.active.lane,
        short(view.picks.p50),
        short(view.picks.p99)
    );
    let took = view.last_swap.map_or(String::new(), |took| format!(", the last took {}", ms(took.as_nanos() as u64)));
    let next = match frame.next {
        Some(next) => format!("; the next in {:.0} s", next.as_secs_f64().ceil()),
        None => "; the next when the policy's file changes".into(),
    };
    let failed = if view.failed == 0 { Look::Good } else { Look::Bad };
    vec![
        Line::of(Look::Strong, " sluicegate demo ").and(Look::Plain, title),
        Line::of(Look::Plain, " policy  ").and(Look::Strong, &view.active.policy).and(Look::Plain, policy),
        Line::of(Look::Plain, format!(" swaps   {}{took}{next}", view.swaps)),
        Line::of(Look::Plain, " failed  ")
            .and(failed, format!("{} of {}", view.failed, view.clients.requests + view.failed)),
    ]
}

/// What went wrong, or else how to write a policy, in as many lines either way.
fn below(frame: &Frame, width: usize) -> Vec<Line> {
    let Some(notice) = &frame.notice else {
        return help::OWN_POLICY.map(|line| Line::of(Look::Faint, format!(" {line}"))).into();
    };
    let characters: Vec<char> = notice.chars().collect();
    let pieces = characters.chunks(width.saturating_sub(2).max(1)).take(help::OWN_POLICY.len());
    let mut lines: Vec<Line> =
        pieces.map(|piece| Line::of(Look::Bad, format!(" {}", piece.iter().collect::<String>()))).collect();
    lines.resize_with(help::OWN_POLICY.len(), Line::default);
    lines
}

fn footer(frame: &Frame) -> Line {
    let keys = match frame.next {
        Some(_) => Line::of(Look::Strong, " s").and(Look::Plain, " swap now  "),
        None => Line::default(),
    };
    keys.and(Look::Strong, " q")
        .and(Look::Plain, " quit   ")
        .and(Look::Faint, format!("metrics: {}metrics", frame.admin))
}

fn figures(row: &Row, look: Look) -> Line {
    let name = match row.nature.as_str() {
        "" => format!("{} (p90 {})", row.name, ms(row.latency.p90)),
        nature => format!("{}  {nature}", row.name),
    };
    Line::of(
        look,
        columns([
            &name,
            &row.requests.to_string(),
            &format!("{:.0}", row.rate),
            &row.in_flight.to_string(),
            &ms(row.latency.p50),
            &ms(row.latency.p99),
        ]),
    )
}

fn columns(cells: [&str; 6]) -> String {
    let [name, requests, rate, in_flight, p50, p99] = cells;
    format!(" {name:<31}{requests:>9}{rate:>7}{in_flight:>11}{p50:>10}{p99:>10}")
}

/// The latest two policies, side by side.
fn bars(eras: &[EraRow]) -> Vec<Line> {
    let shown = &eras[eras.len().saturating_sub(2)..];
    let longest = shown.iter().map(|era| era.p99).max().unwrap_or(0).max(1);
    let line = |era: &EraRow| {
        let bar = "━".repeat((era.p99 * BAR).div_ceil(longest) as usize);
        let look = if era.p99 * 2 > longest { Look::Bad } else { Look::Good };
        let now = if era.is_current { "  < now" } else { "" };
        Line::of(Look::Plain, format!("   {:<18.18}{:>8}  ", era.label, ms(era.p99)))
            .and(look, bar)
            .and(Look::Plain, now)
    };
    let mut lines: Vec<Line> = shown.iter().map(line).collect();
    // The lines below stay where they are when the second policy comes.
    lines.resize_with(2, Line::default);
    lines
}

#[cfg(test)]
mod tests;
