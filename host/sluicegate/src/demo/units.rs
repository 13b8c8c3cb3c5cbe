//! Times, as people read them.

/// A time in milliseconds, given in nanoseconds. None is a dash.
pub(super) fn ms(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    match ns {
        0 => "-".into(),
        1..100_000_000 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

/// A short time, given in nanoseconds. None is a dash.
pub(super) fn short(ns: u64) -> String {
    match ns {
        0 => "-".into(),
        1..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{} µs", ns / 1000),
        _ => ms(ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        assert_eq!([0, 9_940_000, 99_000_000, 201_400_000].map(ms), ["-", "9.9 ms", "99.0 ms", "201 ms"]);
        assert_eq!([0, 310, 12_000, 20_000_000].map(short), ["-", "310 ns", "12 µs", "20.0 ms"]);
    }
}
