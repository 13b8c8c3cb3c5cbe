//! Which policy suits which situation.

use super::{
    super::{
        data::Findings,
        sections::{
            number, percent,
            policies::{self, Place, Standing},
        },
    },
    Finding,
};

/// Which policies to use in a situation, or which not to, by their tail.
pub(super) fn which(findings: &Findings, situation: &str) -> Option<Finding> {
    let (_, loads) = policies::measured(findings);
    let load = loads.into_iter().filter(|load| *load <= 80).max()?;
    let what = capital(findings.texts.get(situation)?);
    let all = policies::standings(findings, situation, load);
    let (said, advice) = verdict(&all);
    Some(Finding {
        what: format!("{what}: {said}"),
        evidence: evidence(findings, situation, load, &all),
        advice: advice.map(|advice| format!("{what}: {advice}")),
    })
}

fn of(all: &[Standing], place: Place) -> Vec<&Standing> {
    all.iter().filter(|standing| standing.place == place).collect()
}

/// What is said, and what is advised. Who is undecided is neither recommended nor advised against.
fn verdict(all: &[Standing]) -> (String, Option<String>) {
    let names = |all: &[&Standing], word: &str| {
        all.iter().map(|one| format!("`{}`", one.policy)).collect::<Vec<_>>().join(word)
    };
    let (best, undecided) = (of(all, Place::Best), of(all, Place::Undecided).len());
    let worse = [of(all, Place::Fails), of(all, Place::Slower)].concat();
    let open = match undecided {
        0 => String::new(),
        1 => "; one is undecided".to_owned(),
        count => format!("; {count} are undecided"),
    };
    let use_them = || Some(format!("use {}.", names(&best, " or ")));
    match (best.len(), worse.len()) {
        (_, 0) if undecided == 0 => (format!("{} policies can't be told apart.", all.len()), None),
        (1, _) => (format!("{} is best{open}.", names(&best, ", ")), use_them()),
        (2..=5, _) => (format!("{} are best{open}.", names(&best, ", ")), use_them()),
        (count, 1..=5) => (
            format!("{count} policies can't be told from the best; {} fall behind{open}.", names(&worse, ", ")),
            Some(format!("avoid {}.", names(&worse, ", "))),
        ),
        (count, _) => (
            format!("{count} of {} policies can't be told from the best{open}.", all.len()),
            Some(format!("use one of {}.", names(&best, ", "))),
        ),
    }
}

fn evidence(findings: &Findings, situation: &str, load: u32, all: &[Standing]) -> String {
    let times = |all: &[&Standing]| {
        all.iter().map(|one| format!("`{}` {}", one.policy, number(one.behind))).collect::<Vec<_>>().join(", ")
    };
    let best = of(all, Place::Best);
    let mut evidence = vec![format!(
        "p99 at {load}% load to that of the policy that is best over all rounds, at the median of the rounds: {}",
        times(&best[..best.len().min(5)])
    )];
    for (place, word) in [(Place::Undecided, "undecided"), (Place::Slower, "slower in every round")] {
        let those = of(all, place);
        if !those.is_empty() {
            evidence.push(format!("{word}: {}", times(&those)));
        }
    }
    let failing = of(all, Place::Fails);
    if !failing.is_empty() {
        let errors = failing.iter().map(|one| format!("`{}` {}", one.policy, percent(one.errors)));
        evidence.push(format!("more errors: {}", errors.collect::<Vec<_>>().join(", ")));
    }
    let late = findings.tables.get("late").into_iter().flat_map(|table| &table.rows);
    let late = late.filter(|row| row[0].text() == situation && row[1].number() == Some(f64::from(load)));
    evidence.extend(
        late.map(|row| format!("rough, as requests of {:.0} of them went out late", row[2].number().unwrap_or(0.0))),
    );
    evidence.join("; ")
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// An origin that fails fast looks idle.
pub(super) fn error_magnet(findings: &Findings) -> Option<Finding> {
    let (all, loads) = policies::measured(findings);
    let load = loads.into_iter().filter(|load| *load <= 80).max()?;
    let share = |policy: &String| findings.estimate(&format!("failing/{load}/{policy}/share/4")).map(|e| e.median);
    let drawn: Vec<_> =
        all.iter().filter_map(|policy| Some((policy, share(policy)?))).filter(|(_, share)| *share > 0.25).collect();
    let listed: Vec<_> = drawn.iter().map(|(policy, share)| format!("`{policy}` {}", percent(*share))).collect();
    (!drawn.is_empty()).then(|| Finding {
        what: "An origin that fails fast draws requests to it under policies that go by load, as it always looks idle."
            .to_owned(),
        evidence: format!("share of the failing one of five, at {load}% load: {}", listed.join(", ")),
        advice: Some("Configure `[cluster.NAME.outlier]` or health checks wherever a policy goes by load.".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(places: &[(Place, usize)], said: &str, advice: Option<&str>) {
        let mut all = Vec::new();
        for (place, count) in places {
            for _ in 0..*count {
                let policy = char::from(b'a' + all.len() as u8).to_string();
                all.push(Standing { policy, errors: 0.0, behind: 1.0, place: *place });
            }
        }
        assert_eq!(verdict(&all), (said.to_owned(), advice.map(str::to_owned)));
    }

    #[test]
    fn who_is_undecided_is_not_recommended() {
        check(&[(Place::Best, 3)], "3 policies can't be told apart.", None);
        check(&[(Place::Best, 1), (Place::Slower, 2)], "`a` is best.", Some("use `a`."));
        check(
            &[(Place::Best, 2), (Place::Undecided, 1)],
            "`a`, `b` are best; one is undecided.",
            Some("use `a` or `b`."),
        );
        let seven = "7 policies can't be told from the best; `j`, `h`, `i` fall behind.";
        check(&[(Place::Best, 7), (Place::Slower, 2), (Place::Fails, 1)], seven, Some("avoid `j`, `h`, `i`."));
        let six = "6 of 14 policies can't be told from the best; 2 are undecided.";
        let use_one = "use one of `a`, `b`, `c`, `d`, `e`, `f`.";
        check(&[(Place::Best, 6), (Place::Undecided, 2), (Place::Slower, 6)], six, Some(use_one));
    }
}
