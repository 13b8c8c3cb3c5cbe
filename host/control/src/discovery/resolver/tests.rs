use proptest::prelude::*;
use simple_dns::rdata::{A, CNAME, SRV};

use super::*;

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

fn question(name: &'static str, kind: TYPE) -> Question<'static> {
    Question::new(Name::new(name).unwrap(), QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false)
}

fn query(name: &'static str, kind: TYPE) -> Packet<'static> {
    let mut query = Packet::new_query(7);
    query.questions.push(question(name, kind));
    query
}

fn answer(query: &Packet<'static>) -> Packet<'static> {
    let mut answer = Packet::new_reply(query.id());
    answer.questions = query.questions.clone();
    let name = |name| Name::new(name).unwrap();
    let srv = SRV { priority: 1, weight: 2, port: 3, target: name("a.test") };
    let records = [
        ("api.test", 9, RData::CNAME(CNAME(name("a.test")))),
        ("a.test", 60, RData::A(A { address: 1 })),
        ("a.test", 30, RData::SRV(srv)),
    ];
    answer.answers.extend(records.map(|(owner, ttl, data)| ResourceRecord::new(name(owner), CLASS::IN, ttl, data)));
    answer
}

#[test]
fn an_answer_holds_as_long_as_its_weakest_part() {
    let query = query("api.test", TYPE::A);
    let records = read_answer(SERVER, &answer(&query).build_bytes_vec().unwrap(), &query).unwrap();
    assert_eq!((records.data.len(), records.ttl), (1, Duration::from_secs(9)));
}

proptest! {
    #[test]
    fn no_bytes_panic_the_reader(
        position in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        for kind in [TYPE::A, TYPE::SRV] {
            let query = query("api.test", kind);
            for whole in [answer(&query).build_bytes_vec().unwrap(), answer(&query).build_bytes_vec_compressed().unwrap()] {
                let mut message = whole;
                let start = position.index(message.len());
                let end = message.len().min(start + bytes.len());
                message.splice(start..end, bytes.iter().copied());
                let _ = read_answer(SERVER, &message, &query);
                message.truncate(cut.index(message.len()));
                let _ = read_answer(SERVER, &message, &query);
            }
        }
    }
}

#[test]
fn names_are_searched_for_as_the_system_does() {
    let check = |name: &str, ndots, expected: &[&str]| {
        let search = vec!["ns.svc".to_owned(), "svc.".to_owned()];
        assert_eq!(
            Servers { addresses: Vec::new(), first: AtomicUsize::new(0), search, ndots }.candidates(name),
            expected,
            "{name}"
        );
    };
    check("api", 1, &["api.ns.svc", "api.svc", "api"]);
    check("api.test", 1, &["api.test", "api.test.ns.svc", "api.test.svc"]);
    check("api.test", 5, &["api.test.ns.svc", "api.test.svc", "api.test"]);
    check("api.test.", 5, &["api.test"]);
}

#[test]
fn a_guessed_answer_is_none() {
    let query = query("api.test", TYPE::A);
    let check = |id, name, kind, expected| {
        let mut answer = Packet::new_reply(id);
        answer.questions.push(question(name, kind));
        assert_eq!(is_answer_to(&answer, &query), expected, "{id} {name} {kind:?}");
    };
    check(7, "API.test", TYPE::A, true);
    check(8, "api.test", TYPE::A, false);
    check(7, "other.test", TYPE::A, false);
    check(7, "api.test", TYPE::AAAA, false);
    assert!(!is_answer_to(&Packet::new_reply(7), &query));
    assert!(!is_answer_to(&query, &query), "a question is no answer");
}
