use super::*;
use crate::demo::{
    proxy::Active,
    sample::{Quantiles, Row},
};

fn row(name: &str, nature: &str) -> Row {
    let latency = Quantiles { count: 200, p50: 3_000_000, p90: 4_000_000, p99: 512_000_000 };
    let (name, nature, is_slow) = (name.to_owned(), nature.to_owned(), nature.starts_with("SLOW"));
    Row { name, nature, is_slow, requests: 12_345_678, rate: 200.0, in_flight: 4096, latency }
}

fn view() -> View {
    let era = |label: &str, p99, is_current| EraRow { label: label.into(), p99, is_current };
    View {
        elapsed: Duration::from_secs(3601),
        active: Active { policy: "round-robin".into(), generation: 1234, lane: "portable" },
        picks: Quantiles { count: 1, p50: 310, p90: 400, p99: 62_000 },
        swaps: 1233,
        last_swap: Some(Duration::from_micros(1300)),
        endpoints: vec![row("127.0.0.1:65535", "SLOW 500 ms"); 6],
        clients: row("as clients see it", ""),
        failed: 0,
        eras: vec![era("round-robin", 588_000_000, false), era("p2c", 9_000_000, true)],
    }
}

fn frame(notice: Option<&str>) -> Frame {
    let (proxy, admin) = ("http://127.0.0.1:65535/".to_owned(), "http://127.0.0.1:65535/".to_owned());
    Frame { rate: 50_000, proxy, admin, next: Some(Duration::from_secs(4)), notice: notice.map(Into::into) }
}

#[test]
fn it_fits_the_smallest_usual_terminal() {
    let refusal = "ERROR policy refused: ".repeat(40);
    for notice in [None, Some(refusal.as_str())] {
        let lines = render(&view(), &frame(notice), 1000, false);
        assert_eq!(lines.len(), 24, "{lines:#?}");
        let widest = lines[..18].iter().map(|line| line.chars().count()).max();
        assert!(widest.unwrap() <= 80, "{lines:#?}");
        let narrow = render(&view(), &frame(notice), 20, false);
        assert!(narrow.iter().all(|line| line.chars().count() <= 20), "{narrow:#?}");
    }
}

#[test]
fn colours_only_where_they_are_wanted() {
    let is_coloured = |wanted| render(&view(), &frame(None), 80, wanted).concat().contains('\u{1b}');
    assert_eq!([true, false].map(is_coloured), [true, false]);
}
