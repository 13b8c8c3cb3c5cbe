//! The demo while it runs: swaps the policy, and shows what comes of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::{
    Signals,
    eras::Eras,
    load::Stats,
    origins::Origin,
    proxy::{Active, Proxy},
    report::Report,
    sample::{self, Sampler},
    screen::Key,
    show::Show,
};

/// The policies that take turns: the one that everybody knows, and one that looks at the load.
pub(super) const POLICIES: [&str; 2] = ["round-robin", "p2c"];

/// How often to look whether another policy serves, which is how a changed file is found out about.
const LOOK: Duration = Duration::from_millis(50);

/// Longer than any demo.
const NEVER: Duration = Duration::from_secs(1 << 30);

/// A running demo.
pub(super) struct Session {
    /// The proxy.
    pub(super) proxy: Proxy,
    origins: Vec<Origin>,
    stats: Arc<Stats>,
    show: Show,
    sampler: Sampler,
    eras: Eras,
    active: Active,
    /// How often the policies take turns; none if there is only one.
    every: Option<Duration>,
    next_swap: Instant,
    start: Instant,
}

impl Session {
    /// A demo whose load is about to begin.
    pub(super) fn new(
        proxy: Proxy,
        origins: Vec<Origin>,
        stats: Arc<Stats>,
        show: Show,
        every: Option<Duration>,
    ) -> Self {
        let sampler = Sampler::new(&proxy, &origins, &stats);
        let active = proxy.active();
        let (eras, start) = (Eras::default(), Instant::now());
        let next_swap = start + every.unwrap_or(NEVER);
        let mut session = Self { proxy, origins, stats, show, sampler, eras, active, every, next_swap, start };
        session.enter();
        session
    }

    /// Runs until `end`, a signal, or a key.
    pub(super) async fn run(&mut self, end: Option<Instant>, signals: &mut Signals) -> Result<()> {
        let end = end.unwrap_or(self.start + NEVER);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_show = self.start;
        if matches!(self.show, Show::Lines) {
            // Just before a swap that is due at a whole second, not after it.
            next_show += self.show.period() - 2 * LOOK;
        }
        loop {
            tokio::select! {
                _ = look.tick() => {
                    self.follow()?;
                    if Instant::now() >= next_show {
                        next_show += self.show.period();
                        self.figures()?;
                    }
                }
                () = sleep_until(self.next_swap.into()) => self.swap().await?,
                key = self.show.key() => match key {
                    Key::Swap => self.swap().await?,
                    Key::Quit => return Ok(()),
                },
                () = signals.recv() => return Ok(()),
                () = sleep_until(end.into()) => return Ok(()),
            }
        }
    }

    /// Gives the terminal back, stops the proxy, and says what it all came to.
    pub(super) async fn end(mut self, elapsed: Duration) -> Report {
        self.eras.set_picks(sample::picks(&self.proxy, self.active.generation));
        let (answered, failed) = (self.stats.latency.snapshot().count(), self.stats.failed());
        let report = Report {
            requests: answered + failed,
            failed,
            swaps: self.sampler.swaps(&self.proxy),
            elapsed,
            eras: self.eras.all().to_vec(),
            last_failure: self.stats.last_failure(),
        };
        drop(self.show);
        self.proxy.drain().await;
        report
    }

    /// Has the other policy pick. Nothing, if there is only one.
    async fn swap(&mut self) -> Result<()> {
        let Some(every) = self.every else { return Ok(()) };
        let other = POLICIES.into_iter().find(|policy| *policy != self.active.policy).unwrap_or(POLICIES[0]);
        self.eras.set_picks(sample::picks(&self.proxy, self.active.generation));
        self.proxy.swap_to(other).await?;
        self.next_swap = Instant::now() + every;
        self.follow()
    }

    /// Takes in which policy picks.
    fn follow(&mut self) -> Result<()> {
        let active = self.proxy.active();
        if active != self.active {
            let from = self.label();
            self.active = active;
            self.enter();
            let took = self.sampler.last_swap(&self.proxy);
            self.show.swapped(self.start.elapsed(), &from, &self.label(), took)?;
        }
        self.eras.set_picks(sample::picks(&self.proxy, self.active.generation));
        Ok(())
    }

    fn enter(&mut self) {
        let era = self.eras.enter(&self.label());
        self.stats.enter(era);
    }

    /// What the policy is called. Of a file there are many: each build is one of its own.
    fn label(&self) -> String {
        match self.every {
            Some(_) => self.active.policy.clone(),
            None => format!("{} #{}", self.active.policy, self.active.generation),
        }
    }

    fn figures(&mut self) -> Result<()> {
        let view = self.sampler.view(&self.proxy, &self.origins, &self.stats, &self.eras);
        let next = self.every.map(|_| self.next_swap.saturating_duration_since(Instant::now()));
        Ok(self.show.figures(&view, next)?)
    }
}
