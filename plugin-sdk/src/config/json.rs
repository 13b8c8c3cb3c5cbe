//! JSON as it was written (RFC 8259).
//!
//! A reader of our own, because it travels in every plugin: a module compiles in a third less time than with
//! `serde_json`'s, and that is time between a changed file and the first request that the new policy serves.

use std::str;

/// A JSON value, with the keys of objects in their order.
#[derive(Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// How deep values may nest: what is read here is written by people, and the stack is small.
const MAX_DEPTH: u32 = 100;

impl Json {
    /// Reads one value. The error says what is wrong, and at which byte.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let Ok(text) = str::from_utf8(text) else { return Err("text that is not UTF-8".into()) };
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0).and_then(|value| match reader.peek() {
            None => Ok(value),
            Some(_) => Err("more than one value"),
        });
        value.map_err(|wrong| ["invalid JSON, byte ", &reader.at.to_string(), ": ", wrong].concat())
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

type Read<T> = Result<T, &'static str>;

impl Reader<'_> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not a space.
    fn peek(&mut self) -> Option<u8> {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.byte()
    }

    /// Takes this byte if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.byte() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, depth: u32) -> Read<Json> {
        if depth > MAX_DEPTH {
            return Err("values are nested too deep");
        }
        match self.peek() {
            Some(b'{') => {
                let mut entries = Vec::new();
                self.list(b'}', |reader| {
                    let Some(b'"') = reader.peek() else { return Err("expected a key in quotes") };
                    let key = reader.string()?;
                    let Some(b':') = reader.peek() else { return Err("expected a colon") };
                    reader.at += 1;
                    entries.push((key, reader.value(depth + 1)?));
                    Ok(())
                })?;
                Ok(Json::Object(entries))
            }
            Some(b'[') => {
                let mut items = Vec::new();
                self.list(b']', |reader| {
                    items.push(reader.value(depth + 1)?);
                    Ok(())
                })?;
                Ok(Json::Array(items))
            }
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    /// What is between two brackets and separated by commas.
    fn list(&mut self, end: u8, mut item: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.at += 1;
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(());
        }
        loop {
            item(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == end => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err("expected a comma or a closing bracket"),
            }
        }
    }

    fn word(&mut self) -> Read<Json> {
        for (word, value) in [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))] {
            if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err("expected a value")
    }

    fn string(&mut self) -> Read<String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let start = self.at;
            while self.byte().is_some_and(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            text.push_str(self.text.get(start..self.at).unwrap_or_default());
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escaped()?),
                Some(_) => return Err("a control character in a string"),
                None => return Err("a string without an end"),
            }
        }
    }

    fn escaped(&mut self) -> Read<char> {
        self.at += 1;
        let byte = self.byte();
        self.at += 1;
        Ok(match byte {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte.into(),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let mut code = self.hex()?;
                // A character beyond the first 65,536 is written as two halves.
                if (0xd800..0xdc00).contains(&code) && self.take(b'\\') && self.take(b'u') {
                    let low = self.hex()?.wrapping_sub(0xdc00);
                    code = if low < 0x400 { 0x1_0000 + ((code - 0xd800) << 10) + low } else { u32::MAX };
                }
                char::from_u32(code).ok_or("half a character")?
            }
            _ => return Err("an unknown escape"),
        })
    }

    fn hex(&mut self) -> Read<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or("four hexadecimal digits are needed")?;
        self.at += 4;
        digits.iter().try_fold(0, |code, digit| {
            let digit = char::from(*digit).to_digit(16).ok_or("four hexadecimal digits are needed")?;
            Ok(code << 4 | digit)
        })
    }

    fn number(&mut self) -> Read<Json> {
        let is_negative = self.take(b'-');
        let mut digits = Digits::default();
        if !self.take(b'0') && self.digits(|digit| digits.push(digit)) == 0 {
            return Err("expected a digit");
        }
        let mut is_whole = true;
        if self.take(b'.') {
            is_whole = false;
            let more = self.digits(|digit| digits.push(digit));
            if more == 0 {
                return Err("expected a digit");
            }
            digits.exponent -= more;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            is_whole = false;
            let is_small = self.take(b'-');
            if !is_small {
                self.take(b'+');
            }
            let mut exponent = 0_i32;
            if self.digits(|digit| exponent = exponent.saturating_mul(10).saturating_add(i32::from(digit))) == 0 {
                return Err("expected a digit");
            }
            digits.exponent = digits.exponent.saturating_add(if is_small { -exponent } else { exponent });
        }
        if is_whole && digits.exponent == 0 {
            // The only whole number below this range is its own negative.
            match (is_negative, 0_i64.checked_sub_unsigned(digits.value)) {
                (false, _) => return Ok(Json::Unsigned(digits.value)),
                (true, Some(value)) if value < 0 => return Ok(Json::Signed(value)),
                (true, _) => {}
            }
        }
        let value = digits.float().ok_or("a number that is too large")?;
        Ok(Json::Float(if is_negative { -value } else { value }))
    }

    /// How many digits there are.
    fn digits(&mut self, mut each: impl FnMut(u8)) -> i32 {
        let start = self.at;
        while let Some(digit @ b'0'..=b'9') = self.byte() {
            each(digit - b'0');
            self.at += 1;
        }
        (self.at - start) as i32
    }
}

/// A number's digits: `value * 10^exponent`.
#[derive(Default)]
struct Digits {
    value: u64,
    exponent: i32,
}

impl Digits {
    /// Digits that don't fit count for their place only.
    fn push(&mut self, digit: u8) {
        match self.value.checked_mul(10).and_then(|value| value.checked_add(digit.into())) {
            Some(value) if self.exponent == 0 => self.value = value,
            _ => self.exponent += 1,
        }
    }

    /// The nearest number, or one beside it: exact conversion would need tables of ten kilobytes in every plugin.
    fn float(&self) -> Option<f64> {
        let mut value = self.value as f64;
        let mut power = self.exponent.unsigned_abs();
        while power > 0 && value != 0.0 && value.is_finite() {
            let step = power.min(22);
            // Powers of ten up to the 22nd are exact.
            let factor = (0..step).fold(1.0, |factor, _| factor * 10.0);
            value = if self.exponent < 0 { value / factor } else { value * factor };
            power -= step;
        }
        value.is_finite().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Json, String> {
        Json::parse(text.as_bytes())
    }

    #[test]
    fn values_are_read() {
        assert_eq!(parse(" null "), Ok(Json::Null));
        assert_eq!(parse("18446744073709551615"), Ok(Json::Unsigned(u64::MAX)));
        assert_eq!(parse("-9223372036854775808"), Ok(Json::Signed(i64::MIN)));
        assert_eq!(parse("-0"), Ok(Json::Float(-0.0)));
        assert_eq!(parse("0.1"), Ok(Json::Float(0.1)));
        assert_eq!(parse("2.5e-3"), Ok(Json::Float(0.0025)));
        assert_eq!(parse("1e22"), Ok(Json::Float(1e22)));
        assert_eq!(parse("1e-400"), Ok(Json::Float(0.0)));
        assert_eq!(parse("18446744073709551616"), Ok(Json::Float(18_446_744_073_709_551_616.0)));
        assert_eq!(parse(r#""a\n\u00e4\ud83d\ude00""#), Ok(Json::Text("a\nä😀".into())));
        let object = Json::Object(vec![("a".into(), Json::Array(vec![Json::Bool(true)])), ("b".into(), Json::Null)]);
        assert_eq!(parse(r#"{ "a" : [ true ] , "b" : null }"#), Ok(object));
        assert_eq!(parse("[]"), Ok(Json::Array(vec![])));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, wrong) in [
            ("", "0: expected a value"),
            ("{a: 1}", "1: expected a key in quotes"),
            ("{\"a\" 1}", "5: expected a colon"),
            ("[1 2]", "3: expected a comma or a closing bracket"),
            ("[1,]", "3: expected a value"),
            ("01", "1: more than one value"),
            ("1.", "2: expected a digit"),
            ("1e999", "5: a number that is too large"),
            ("\"a", "2: a string without an end"),
            ("\"\\ud800\"", "7: half a character"),
            ("\"\\q\"", "3: an unknown escape"),
            ("\"\n\"", "1: a control character in a string"),
        ] {
            assert_eq!(parse(text), Err(format!("invalid JSON, byte {wrong}")), "{text}");
        }
        assert_eq!(parse(&"[".repeat(100_000)), Err("invalid JSON, byte 101: values are nested too deep".into()));
    }

    fn same(ours: &Json, theirs: &serde_json::Value) -> bool {
        use serde_json::Value;
        match (ours, theirs) {
            (Json::Null, Value::Null) => true,
            (Json::Bool(ours), Value::Bool(theirs)) => ours == theirs,
            (Json::Unsigned(ours), Value::Number(theirs)) => theirs.as_u64() == Some(*ours),
            (Json::Signed(ours), Value::Number(theirs)) => theirs.as_i64() == Some(*ours),
            (Json::Float(ours), Value::Number(theirs)) => {
                theirs.as_f64().is_some_and(|theirs| (ours - theirs).abs() <= theirs.abs() * 1e-15)
            }
            (Json::Text(ours), Value::String(theirs)) => ours == theirs,
            (Json::Array(ours), Value::Array(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
            }
            // A key that comes twice is for the reader of objects to judge.
            (Json::Object(ours), Value::Object(theirs)) => {
                ours.iter().all(|(key, _)| theirs.contains_key(key)) && theirs.len() <= ours.len()
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"([\[\]{},:"\\ ]|-|[0-9.eE+]{1,6}|true|null|\\u[0-9a-f]{4}|[a-zä\n]){0,24}"#) {
            match (parse(&text), serde_json::from_str::<serde_json::Value>(&text)) {
                (Ok(ours), Ok(theirs)) => prop_assert!(same(&ours, &theirs), "{ours:?} {theirs}"),
                (ours, theirs) => prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs),
            }
        }

        #[test]
        fn what_serde_json_writes_is_read(value in -1e18_f64..1e18, text in ".*") {
            let written = serde_json::to_string(&(value, &text)).unwrap();
            let Ok(Json::Array(items)) = parse(&written) else { panic!("{written}") };
            prop_assert_eq!(&items[1], &Json::Text(text));
            prop_assert!(same(&items[0], &serde_json::json!(value)));
        }
    }
}
