//! What a policy costs, for people and for programs.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Bench, Row, stand::Costs};
use crate::check::report::{bytes, time};

impl Bench {
    /// A table of the calls, and one of the rest.
    pub(super) fn to_text(&self, name: &str) -> String {
        let Self { digest, lane, .. } = self;
        let mut text = format!("{name}: {}, sha256 {}, {lane} lane\n", bytes(self.bytes), digest.short());
        text.push_str(&format!("compiled in {}\n\n", time(self.compile)));
        text.push_str(&format!(
            "{:9}  {:18} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
            "endpoints", "call", "calls", "mean", "p50", "p99", "p99.9", "max"
        ));
        for row in &self.rows {
            for (call, Costs { calls, mean, quantiles: [p50, p99, p999, max] }) in &row.costs {
                let [mean, p50, p99, p999, max] = [mean, p50, p99, p999, max].map(|ns| short(*ns));
                text.push_str(&format!(
                    "{:9}  {:18} {calls:>9} {mean:>9} {p50:>9} {p99:>9} {p999:>9} {max:>9}\n",
                    row.endpoints,
                    call.name()
                ));
            }
        }
        text.push_str(&format!(
            "\n{:9}  {:>21} {:>12} {:>12} {:>12}\n",
            "endpoints", "instructions per pick", "memory", "instance", "rehearsal"
        ));
        for row in &self.rows {
            let (memory, instance, rehearsal) = (bytes(row.memory_bytes), time(row.instance), time(row.rehearsal));
            text.push_str(&format!(
                "{:9}  {:>21.0} {memory:>12} {instance:>12} {rehearsal:>12}\n",
                row.endpoints, row.instructions
            ));
        }
        text
    }

    /// The same as one object, whose keys stay.
    pub(super) fn to_json(&self, name: &str, config: &Value) -> Value {
        json!({
            "policy": name,
            "sha256": self.digest.to_string(),
            "size_bytes": self.bytes,
            "lane": self.lane,
            "config": config,
            "clock": self.clock,
            "compile_ms": millis(self.compile),
            "endpoints": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(),
        })
    }
}

impl Row {
    fn to_json(&self) -> Value {
        let call = |costs: &Costs| {
            let [p50, p99, p999, max] = costs.quantiles;
            json!({
                "calls": costs.calls,
                "mean_ns": tenths(costs.mean),
                "p50_ns": p50,
                "p99_ns": p99,
                "p999_ns": p999,
                "max_ns": max,
            })
        };
        let calls = self.costs.iter().map(|(of, costs)| (of.name().to_owned(), call(costs)));
        json!({
            "endpoints": self.endpoints,
            "instructions_per_pick": tenths(self.instructions),
            "memory_bytes": self.memory_bytes,
            "instance_ms": millis(self.instance),
            "rehearsal_ms": millis(self.rehearsal),
            "calls": calls.collect::<Map<_, _>>(),
        })
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Nanoseconds, in the unit that keeps them short.
fn short(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} us", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!([12.3, 1234.0, 12_345_678.0].map(short), ["12 ns", "1.2 us", "12.3 ms"]);
    }
}
