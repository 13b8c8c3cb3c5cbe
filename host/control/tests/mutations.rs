//! Files as nobody writes them: good ones with pieces taken out, put in and exchanged. Whatever comes, it is refused in
//! words or makes sense. `SLUICEGATE_FUZZ_SECONDS=300` goes on for longer, from another beginning.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use sluicegate_control::config::{parse, parse_endpoints};
use sluicegate_core::Rng;
use sluicegate_proxy::RouteTable;

const BUILTINS: &[&str] = &["least-request", "p2c", "random", "round-robin"];

/// What means something to one of the readers.
const PIECES: &[&str] = &[
    "\n",
    "\"",
    "'''",
    "[",
    "]",
    "[[route]]\n",
    "[cluster.a]\n",
    "{",
    "}",
    "=",
    ",",
    "#",
    ".",
    "-1",
    "0",
    "1",
    "65536",
    "4294967296",
    "9223372036854775808",
    "1e999",
    "nan",
    "inf",
    "true",
    "0x7fffffffffffffff",
    "1979-05-27",
    "\u{0}",
    "\u{feff}",
    "\u{1f608}",
    "\\u0000",
    "\\x",
    "127.0.0.1:0",
    "[::1]:80",
    "256.1.1.1:1",
    "10.0.0.0/33",
    "::/0",
    "*",
    "*.",
    "*.*",
    "a.test",
    "/",
    "//",
    "/../",
    "/%2e",
    "$1",
    "${1}",
    "$$",
    "$9",
    "(",
    "(a*)*",
    "(?:a{1000}){1000}",
    "[^",
    "\\p{L}",
    "x{1,",
    "|",
    "host",
    "cluster",
    "endpoints",
    "path_regex = ",
    "rewrite = ",
    "mirror = ",
    "timeout_ms = ",
    "headers = ",
    "respond = ",
    "redirect = ",
    "hash = ",
    "transfer-encoding",
    "content-length",
    "connection",
    "x y",
    "x\\r\\ny",
];

/// Does this for a second or so, or as long as the environment says, with numbers that nobody has chosen.
fn again_and_again(mut what: impl FnMut(&mut Rng)) {
    let seconds = env::var("SLUICEGATE_FUZZ_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    let seed = match (env::var("SLUICEGATE_FUZZ_SEED"), seconds) {
        (Ok(text), _) => text.parse().expect("a seed"),
        (Err(_), Some(_)) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
        (Err(_), None) => 1,
    };
    println!("SLUICEGATE_FUZZ_SEED={seed}");
    let (mut rng, mut count) = (Rng::new(seed), 0);
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    while end.map_or(count < 2000, |end| Instant::now() < end) {
        what(&mut rng);
        count += 1;
    }
    println!("{count} times");
}

fn below(rng: &mut Rng, bound: usize) -> usize {
    rng.below(bound.max(1) as u32) as usize
}

/// A place between two characters.
fn place(rng: &mut Rng, text: &str) -> usize {
    let at = below(rng, text.len() + 1);
    (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

fn mutate(rng: &mut Rng, mut text: String, others: &[String]) -> String {
    for _ in 0..=below(rng, 4) {
        let (at, to) = (place(rng, &text), place(rng, &text));
        let (start, end) = (at.min(to), at.max(to));
        let end = if rng.below(4) > 0 {
            (start..end).nth(20).filter(|end| text.is_char_boundary(*end)).unwrap_or(start)
        } else {
            end
        };
        match rng.below(5) {
            0 => text.insert_str(at, PIECES[below(rng, PIECES.len())]),
            1 => text.replace_range(start..end, PIECES[below(rng, PIECES.len())]),
            2 => text.replace_range(start..end, ""),
            3 => {
                let piece = text[start..end].to_owned();
                text.insert_str(at, &piece);
            }
            _ => {
                let other = &others[below(rng, others.len())];
                let lines: Vec<&str> = other.split_inclusive('\n').collect();
                text.insert_str(at, lines.get(below(rng, lines.len())).copied().unwrap_or_default());
            }
        }
    }
    text
}

fn files(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn configurations_are_refused_or_make_sense() {
    let good = [files("tests/config/good"), files("tests/config/bad"), files("../../examples")].concat();
    again_and_again(|rng| {
        let text = good[below(rng, good.len())].clone();
        let text = mutate(rng, text, &good);
        match parse(&text, Path::new("/etc/sluicegate/test.toml"), BUILTINS) {
            Err(errors) => assert!(!errors.to_string().is_empty(), "{text}"),
            Ok(config) => {
                // What is accepted once is accepted again, and means the same.
                let again = parse(&text, Path::new("/etc/sluicegate/test.toml"), BUILTINS).unwrap();
                assert_eq!(format!("{config:?}"), format!("{again:?}"), "{text}");
                let count = config.routes.len();
                assert_eq!(RouteTable::new(config.routes).routes().len(), count, "{text}");
            }
        }
    });
}

#[test]
fn lists_of_endpoints_are_refused_or_make_sense() {
    let good = [
        "endpoints = [\"127.0.0.1:1\", { address = \"[::1]:2\", weight = 3, zone = \"a\", priority = 1, labels = { a = \"b\" } }]\n",
        "endpoints = []\n",
    ];
    let good = good.map(ToOwned::to_owned);
    again_and_again(|rng| {
        let text = good[below(rng, good.len())].clone();
        let text = mutate(rng, text, &good);
        if let Ok(endpoints) = parse_endpoints(&text, Path::new("endpoints.toml")) {
            assert!(endpoints.iter().all(|endpoint| endpoint.weight > 0), "{text}");
        }
    });
}
