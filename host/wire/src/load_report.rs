//! What an endpoint says of its own load, in the ORCA format (xDS `xds.data.orca.v3.OrcaLoadReport`), as gRPC's proposals
//! A51 and A58 use it and Envoy reads it.
//!
//! It comes as a header or a trailer, in one of three ways:
//!
//! - `endpoint-load-metrics: TEXT cpu_utilization=0.3, rps_fractional=120, named_metrics.queue_depth=4`
//! - `endpoint-load-metrics: JSON {"cpu_utilization": 0.3, "named_metrics": {"queue_depth": 4}}`
//! - `endpoint-load-metrics-bin:` (or `endpoint-load-metrics: BIN `) followed by the message itself, in base64.
//!
//! Only some of its fields are read. Whatever is not a number that makes sense (negative, not finite) counts as not said,
//! like a field that is not there.

mod message;
#[cfg(test)]
mod tests;
mod text;

/// The header that says in words which of the formats follows.
pub const HEADER: &str = "endpoint-load-metrics";
/// The header with the binary message.
pub const BINARY_HEADER: &str = "endpoint-load-metrics-bin";

/// Longer ones are not read. A report with a hundred named metrics has half of it.
pub const MAX_BYTES: usize = 8 << 10;

/// The fields that are read. What is not said, or makes no sense, is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// How busy the application says it is; 1.0 is all that it can take, and more is possible.
    pub application_utilization: Option<f64>,
    /// The same of its processors.
    pub cpu_utilization: Option<f64>,
    /// Requests a second.
    pub rps_fractional: Option<f64>,
    /// Errors a second.
    pub eps: Option<f64>,
    /// `named_metrics.queue_depth`: requests that it has and has not answered.
    pub queue_depth: Option<f64>,
    /// `named_metrics.latency_us`: how long it takes to answer a request with that many of them.
    pub latency_us: Option<f64>,
}

impl Report {
    /// The value of [`HEADER`]; none when it is no report.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = Some(value.trim_ascii()).filter(|value| value.len() <= MAX_BYTES)?;
        let after = |format: &[u8]| value.strip_prefix(format).map(<[u8]>::trim_ascii);
        if let Some(text) = after(b"TEXT ") {
            text::parse(text)
        } else if let Some(json) = after(b"JSON ") {
            text::parse_json(json)
        } else {
            after(b"BIN ").and_then(Self::parse_binary)
        }
    }

    /// The value of [`BINARY_HEADER`]; none when it is no report.
    pub fn parse_binary(value: &[u8]) -> Option<Self> {
        let value = Some(value.trim_ascii()).filter(|value| value.len() <= MAX_BYTES)?;
        message::parse(&message::from_base64(value)?)
    }

    /// `application_utilization`, or else `cpu_utilization` (gRPC A58), in millionths.
    pub fn utilization_ppm(&self) -> Option<u32> {
        let used = self.application_utilization.filter(|used| *used > 0.0).or(self.cpu_utilization)?;
        Some(scaled(used, 1e6))
    }

    /// `rps_fractional`, in thousandths.
    pub fn requests_milli_per_s(&self) -> Option<u32> {
        Some(scaled(self.rps_fractional?, 1e3))
    }

    /// `eps`, in thousandths.
    pub fn errors_milli_per_s(&self) -> Option<u32> {
        Some(scaled(self.eps?, 1e3))
    }

    /// `named_metrics.queue_depth`.
    pub fn queue_depth(&self) -> Option<u32> {
        Some(scaled(self.queue_depth?, 1.0))
    }

    /// `named_metrics.latency_us`.
    pub fn latency_us(&self) -> Option<u32> {
        Some(scaled(self.latency_us?, 1.0))
    }

    /// Takes in a field, by its name in the message.
    fn set(&mut self, name: &str, value: f64) {
        let place = match name {
            "application_utilization" => &mut self.application_utilization,
            "cpu_utilization" => &mut self.cpu_utilization,
            "rps_fractional" => &mut self.rps_fractional,
            "eps" => &mut self.eps,
            _ => return,
        };
        *place = sensible(value);
    }

    /// Takes in one of `named_metrics`.
    fn set_named(&mut self, name: &str, value: f64) {
        match name {
            "queue_depth" => self.queue_depth = sensible(value),
            "latency_us" => self.latency_us = sensible(value),
            _ => {}
        }
    }
}

fn sensible(value: f64) -> Option<f64> {
    Some(value).filter(|value| value.is_finite() && *value >= 0.0)
}

/// Rounded; the largest number if it is too large. `value` is not negative.
fn scaled(value: f64, scale: f64) -> u32 {
    // `as` stops at the ends of the range.
    (value * scale).round() as u32
}
