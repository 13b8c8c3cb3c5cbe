//! The report's sections. Every figure in them comes from what was measured, and so does every word that judges.

pub(super) mod closing;
pub(super) mod goals;
pub(super) mod opening;
pub(super) mod overhead;
pub(super) mod peers;
pub(super) mod policies;
pub(super) mod response;
pub(super) mod summary;
pub(super) mod swap;

#[cfg(test)]
mod tests;

use super::{data::Findings, doc::Document, render::Parts};
use crate::stats::{Estimate, FEW};

/// Three digits, which is more than most measurements have.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.digits$}");
    if digits > 0 {
        return text;
    }
    let whole = text.trim_start_matches('-');
    let mut grouped = text[..text.len() - whole.len()].to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Two digits, for what is advised rather than measured.
pub(crate) fn rough(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return number(value);
    }
    let unit = 10_f64.powf(value.abs().log10().floor() - 1.0);
    let rounded = (value / unit).round() * unit;
    let text = number(rounded);
    // `number` has a third digit after the point.
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A median, with its interval if there is one; of few values, with the lowest, the highest, and how many there are.
pub(crate) fn show(estimate: Option<Estimate>) -> String {
    match estimate {
        None => "–".to_owned(),
        Some(Estimate { median, count: 1, .. }) => number(median),
        Some(Estimate { median, low, high, count }) if count < FEW => {
            format!("{} ({}–{} of {count})", number(median), number(low), number(high))
        }
        Some(Estimate { median, low, high, .. }) => {
            format!("{} ({}–{})", number(median), number(low), number(high))
        }
    }
}

/// What was counted rather than measured.
pub(crate) fn count(estimate: Option<Estimate>) -> String {
    let show = |value: f64| if value < 1000.0 { format!("{value:.0}") } else { number(value) };
    estimate.map_or("–".to_owned(), |estimate| show(estimate.median))
}

pub(crate) fn percent(share: f64) -> String {
    format!("{}%", number(share * 100.0))
}

/// The findings of a scenario; a sentence instead of them when there are none.
pub(crate) fn findings<'a>(document: &mut Document, parts: &'a Parts, scenario: &str) -> Option<&'a Findings> {
    let findings = parts.get(scenario);
    if findings.is_none() {
        document.text(format!("Not measured: the scenario `{scenario}` was not run."));
    }
    findings
}

/// Its remarks, which belong beside its figures.
pub(crate) fn remarks(document: &mut Document, findings: &Findings) {
    document.list(findings.remarks.iter().map(|remark| format!("Note: {remark}")).collect());
}
