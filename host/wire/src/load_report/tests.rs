use proptest::prelude::*;

use super::{
    Report,
    message::{self, from_base64},
};

#[test]
fn the_formats_say_the_same() {
    let expected = Report {
        application_utilization: Some(0.5),
        cpu_utilization: Some(0.25),
        rps_fractional: Some(120.5),
        eps: Some(2.0),
        queue_depth: Some(4.0),
        latency_us: Some(1500.0),
    };
    let check = |value: &str| assert_eq!(Report::parse(value.as_bytes()), Some(expected), "{value}");
    check(
        "TEXT application_utilization=0.5, cpu_utilization=0.25,rps_fractional=120.5, eps=2,\
         named_metrics.queue_depth=4, named_metrics.latency_us=1500, named_metrics.other=7, mem_utilization=1",
    );
    check(
        r#"JSON {"application_utilization": 0.5, "cpu_utilization": 0.25, "rps_fractional": 120.5, "eps": 2,
           "named_metrics": {"queue_depth": 4, "latency_us": 1500, "other": 7}, "mem_utilization": 1, "x": {}}"#,
    );
    check(
        r#"JSON {"applicationUtilization": 0.5, "cpuUtilization": 0.25, "rpsFractional": 120.5, "eps": 2,
           "namedMetrics": {"queue_depth": 4, "latency_us": 1500}}"#,
    );
    // What protobuf's own encoder makes of it.
    let message = "CQAAAAAAANA/MQAAAAAAIF5AOQAAAAAAAABAQhYKC3F1ZXVlX2RlcHRoEQAAAAAAABBAQhUKCmxhdGVuY3lfdXMRAAAAAABwl0BJAAAAAAAA4D8";
    check(&format!("BIN {message}="));
    assert_eq!(Report::parse_binary(message.as_bytes()), Some(expected));
}

#[test]
fn what_is_no_report_is_none() {
    for bad in ["", "TEXT", "TEXT x", "TEXT eps=a", "JSON", "JSON []", "JSON {", "eps=1", "BIN A", "BIN *", "BIN CQ=="]
    {
        assert_eq!(Report::parse(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(Report::parse(&[b"TEXT eps=1,".repeat(1000), b"eps=1".to_vec()].concat()), None, "too long");
    assert_eq!(Report::parse_binary(b""), Some(Report::default()), "a message without a field");
}

#[test]
fn numbers_that_make_no_sense_are_not_said() {
    for value in ["-1", "NaN", "inf", "-inf"] {
        let report = Report::parse(format!("TEXT eps={value}, cpu_utilization=0.5").as_bytes()).unwrap();
        assert_eq!((report.eps, report.cpu_utilization), (None, Some(0.5)), "{value}");
    }
}

#[test]
fn numbers_are_scaled_and_stop_at_the_largest() {
    let report = Report::parse(b"TEXT application_utilization=0, cpu_utilization=1.2345678, eps=1e300").unwrap();
    assert_eq!(report.utilization_ppm(), Some(1_234_568), "of the processors, as the application says nothing");
    assert_eq!(report.errors_milli_per_s(), Some(u32::MAX));
    assert_eq!(report.requests_milli_per_s(), None);
}

#[test]
fn base64_of_every_length() {
    for (text, bytes) in [("", ""), ("Zg", "f"), ("Zg==", "f"), ("Zm8", "fo"), ("Zm8=", "fo"), ("Zm9v", "foo")] {
        assert_eq!(from_base64(text.as_bytes()).as_deref(), Some(bytes.as_bytes()), "{text}");
    }
    for bad in ["Z", "Zm9vZ", "Zg===", "Z=g=", "Zm 9"] {
        assert_eq!(from_base64(bad.as_bytes()), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = message::parse(&bytes);
        let _ = Report::parse_binary(&bytes);
        for format in [&b"TEXT "[..], b"JSON ", b"BIN "] {
            let _ = Report::parse(&[format, &bytes].concat());
        }
    }

    #[test]
    fn a_double_survives(value in 0.0..1e12_f64) {
        let message = [&[0x39][..], &value.to_le_bytes()].concat();
        prop_assert_eq!(message::parse(&message).unwrap().eps, Some(value));
        let text = format!("TEXT eps={value}");
        prop_assert_eq!(Report::parse(text.as_bytes()).unwrap().eps, Some(value));
    }
}
