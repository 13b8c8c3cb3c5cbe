//! The time of day, as answers say it (RFC 9110, section 6.6.1).

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

use http::HeaderValue;

const SECOND_NS: u64 = 1_000_000_000;

thread_local! {
    /// What is said until a time of the data path's clock.
    static SAID: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static(""))) };
}

/// The value of `Date`, at a time of the data path's clock in nanoseconds.
pub(crate) fn date(now: u64) -> HeaderValue {
    SAID.with_borrow_mut(|(until, said)| {
        if now >= *until {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            *until = now + SECOND_NS - u64::from(time.subsec_nanos());
            // There is nothing in it that a header can't have.
            *said = HeaderValue::try_from(written(time.as_secs())).unwrap_or(HeaderValue::from_static(""));
        }
        said.clone()
    })
}

/// A time in seconds since 1970, as RFC 9110 (section 5.6.7) wants it written.
fn written(seconds: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day last: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        WEEKDAYS[(days % 7) as usize],
        of_year - (153 * month + 2) / 5 + 1,
        MONTHS[month as usize],
        era * 400 + year + u64::from(month >= 10),
        second / 3600,
        second / 60 % 60,
        second % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_the_rfc_does() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(written(seconds), expected);
        }
    }

    #[test]
    fn a_date_is_said_for_a_second_at_most() {
        let first = date(1);
        assert_eq!(date(2), first);
        assert!(date(1 + SECOND_NS).to_str().unwrap().ends_with(" GMT"));
    }
}
