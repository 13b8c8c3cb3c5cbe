//! An examination, for people and for programs.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use serde_json::{Value, json};
use sluicegate_policy::{Artifact, LaneKind, Refusal, Rehearsal};

use super::Examination;

pub(crate) const GREEN: u8 = 32;
pub(crate) const RED: u8 = 31;

impl Examination {
    /// An aligned listing of all that is known.
    pub(crate) fn to_text(&self) -> String {
        let mut listing = Listing(String::new());
        listing.line("file", &self.file);
        listing.line("size", bytes(self.size));
        listing.line("sha256", self.digest);
        if let Some(artifact) = &self.artifact {
            describe(artifact, &mut listing);
        }
        let limits = &self.limits;
        listing
            .line("limits", format_args!("pick {}, setup {}", time(limits.pick_timeout), time(limits.setup_timeout)));
        let (memory, module) = (bytes(limits.memory_bytes), bytes(limits.module_bytes));
        listing.line("", format_args!("memory {memory} for each worker, file {module}"));
        if let Ok(rehearsal) = &self.verdict {
            self.describe_rehearsal(rehearsal, &mut listing);
        }
        listing.0
    }

    fn describe_rehearsal(&self, rehearsal: &Rehearsal, listing: &mut Listing) {
        let Rehearsal { picks, pick_ns, memory_bytes, declined, .. } = rehearsal;
        listing.line("rehearsal", format_args!("{picks} picks among {} endpoints, every answer good", self.endpoints));
        listing.line("", format_args!("median pick {pick_ns} ns, memory {}", bytes(*memory_bytes)));
        if declined > &0 {
            let all = if declined == picks { ": it picks nothing by itself" } else { "" };
            listing.line("", format_args!("{declined} picks declined, left to the proxy{all}"));
        }
    }

    /// The same as one object, whose keys stay. What is not known is `null`.
    pub(crate) fn to_json(&self) -> Value {
        let artifact = self.artifact.as_deref();
        let limits = &self.limits;
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        json!({
            "ok": self.verdict.is_ok(),
            "file": self.file,
            "size_bytes": self.size,
            "sha256": self.digest.to_string(),
            "lane": artifact.map(|artifact| artifact.lane().label()),
            "lane_reason": artifact.map(|artifact| &artifact.lane_reason),
            "contract": artifact.map(Artifact::contract_version),
            "exports": artifact.map(|artifact| json!({
                "balancer": true,
                "feedback": artifact.exports.feedback,
                "probing": artifact.exports.probing,
                "timer": artifact.exports.timer,
                "state": artifact.exports.state,
            })),
            "imports": artifact.map(|artifact| &artifact.imports),
            "compile_ms": artifact.map(|artifact| millis(artifact.load_time)),
            "limits": {
                "pick_timeout_ms": millis(limits.pick_timeout),
                "setup_timeout_ms": millis(limits.setup_timeout),
                "memory_bytes": limits.memory_bytes,
                "module_bytes": limits.module_bytes,
            },
            "rehearsal": self.verdict.as_ref().ok().map(|rehearsal| json!({
                "endpoints": self.endpoints,
                "picks": rehearsal.picks,
                "declined": rehearsal.declined,
                "pick_ns": rehearsal.pick_ns,
                "memory_bytes": rehearsal.memory_bytes,
            })),
            "refusal": self.verdict.as_ref().err().map(|refusal| json!({
                "label": refusal.label(),
                "reason": refusal.to_string(),
            })),
        })
    }
}

fn describe(artifact: &Artifact, listing: &mut Listing) {
    let how = match artifact.lane() {
        LaneKind::Fast => "fast: called directly",
        LaneKind::Portable => "portable: called through the component model",
    };
    listing.line("lane", how);
    listing.line("", format_args!("because it is {}", artifact.lane_reason));
    listing.line("contract", artifact.contract_version());
    listing.line("exports", "balancer   yes, as it must");
    let hears = if artifact.exports.feedback { "yes: hears how requests went" } else { "no" };
    listing.line("", format_args!("feedback   {hears}"));
    let probes = if artifact.exports.probing { "yes: hears what its probes came to" } else { "no" };
    listing.line("", format_args!("probing    {probes}"));
    let ticks = if artifact.exports.timer { "yes: is called from time to time" } else { "no" };
    listing.line("", format_args!("timer      {ticks}"));
    let keeps = if artifact.exports.state { "yes: hands on what it has learnt" } else { "no: starts fresh at a swap" };
    listing.line("", format_args!("state      {keeps}"));
    let mut imports = artifact.imports.iter().map(String::as_str);
    listing.line("imports", imports.next().unwrap_or("nothing"));
    imports.for_each(|import| listing.line("", import));
    listing.line("compiled", format_args!("in {}", time(artifact.load_time)));
}

struct Listing(String);

impl Listing {
    fn line(&mut self, key: &str, value: impl Display) {
        self.0.push_str(&format!("{key:<11}{value}\n"));
    }
}

/// The verdict on a policy that the proxy would take.
pub(crate) fn ok() -> String {
    painted("ok", GREEN, &io::stdout())
}

/// The verdict on a policy that it would not.
pub(crate) fn refused(refusal: &Refusal) -> String {
    format!("{}: {}: {refusal}", painted("refused", RED, &io::stderr()), refusal.label())
}

/// Colour is for terminals, and for people who did not ask to be spared (<https://no-color.org>).
pub(crate) fn painted(text: &str, color: u8, stream: &impl IsTerminal) -> String {
    let spared = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if stream.is_terminal() && !spared { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Writes to standard output. Whoever closes it early (`| head`) has seen enough.
pub(crate) fn show(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// A size, for people.
pub(crate) fn bytes(count: usize) -> String {
    match count {
        0..1024 => format!("{count} bytes"),
        1024..0x10_0000 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ if count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        _ => format!("{:.1} MiB", count as f64 / f64::from(1 << 20)),
    }
}

/// A time, for people.
pub(crate) fn time(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        millis if millis >= 1000.0 => format!("{} s", millis / 1000.0),
        millis if millis >= 10.0 => format!("{millis:.0} ms"),
        millis => format!("{} ms", (millis * 10.0).round() / 10.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        let sizes = [7, 2048, 1536 << 10, 64 << 20].map(bytes);
        assert_eq!(sizes, ["7 bytes", "2.0 KiB", "1.5 MiB", "64 MiB"]);
        let times = [Duration::from_micros(1234), Duration::from_millis(61), Duration::from_millis(1500)].map(time);
        assert_eq!(times, ["1.2 ms", "61 ms", "1.5 s"]);
    }
}
