//! What is saved by one instance and taken over by another.

use sluicegate_core::Rng;
use sluicegate_policy::Saved;

use crate::conformance::{Checked, Kit, Stop, traffic::endpoints};

pub(super) fn state(kit: &Kit) -> Checked {
    let mut teacher = kit.subject()?;
    if !teacher.exports().state {
        return Err(Stop::Skipped("it does not export `state`: it starts fresh at every swap".into()));
    }
    // What has learnt nothing can be carried over, too.
    let blank = saved(&mut teacher)?;
    teacher.show(&endpoints(0, 20))?;
    teacher.serve_many(500)?;
    let learnt = saved(&mut teacher)?;
    for (what, state) in [("at its start", &blank), ("after 500 requests", &learnt)] {
        // The same endpoints, none yet, some that are gone and some that are new, and nobody that it knows.
        for (first, count) in [(0, 20), (0, 0), (15, 30), (500, 2)] {
            let mut pupil = kit.subject()?;
            pupil.show(&endpoints(first, count))?;
            if let Err(reason) = pupil.restore(state)? {
                return Err(pupil.failed(format!("refused what it had saved {what} itself: {reason}")));
            }
            if count > 0 {
                pupil.serve_many(50)?;
            }
            pupil.save()?;
        }
    }
    // It serves on after it was asked, because a trial takes a copy.
    teacher.serve_many(50)?;
    let (tried, refused) = no_such_thing(kit, &learnt)?;
    Ok(format!("{} bytes taken over; of {tried} states that are none, {refused} refused", learnt.bytes.len()))
}

fn saved(subject: &mut crate::conformance::subject::Subject) -> Checked<Saved> {
    match subject.save()? {
        Some(saved) => Ok(saved),
        None => Err(subject.failed("`save` gave nothing")),
    }
}

/// States that are damaged, of another layout, or nobody's: each may be refused, and then the instance is set up once
/// more, or taken, if it can be told from nothing. Either way it serves. How many, and how many were refused.
fn no_such_thing(kit: &Kit, good: &Saved) -> Checked<(usize, usize)> {
    let mut rng = Rng::new(kit.seed);
    let length = good.bytes.len();
    let mut states: Vec<Saved> = Vec::new();
    for schema in [good.schema.wrapping_add(1), 0, u32::MAX] {
        states.push(Saved { schema, bytes: good.bytes.clone() });
    }
    let lengths = [0, 1, 7, length / 2, length.saturating_sub(1)];
    let cut = lengths.map(|length| good.bytes.get(..length).unwrap_or_default().to_vec());
    let longer = [&good.bytes[..], &[0; 5]].concat();
    let random = |rng: &mut Rng, length: usize| (0..length).map(|_| rng.next_u64() as u8).collect::<Vec<_>>();
    let made_up = [random(&mut rng, 16), random(&mut rng, 64 << 10), vec![0; 4096], vec![0xff; 4096]];
    let mut damaged = Vec::new();
    for _ in 0..20.min(length) {
        let mut bytes = good.bytes.clone();
        bytes[rng.below(length as u32) as usize] ^= 1 << rng.below(8);
        damaged.push(bytes);
    }
    let bytes = cut.into_iter().chain([longer]).chain(made_up).chain(damaged);
    states.extend(bytes.map(|bytes| Saved { schema: good.schema, bytes }));
    let mut refused = 0;
    for state in &states {
        let mut pupil = kit.subject()?;
        pupil.show(&endpoints(0, 20))?;
        if let Err(reason) = pupil.restore(state)? {
            refused += 1;
            if reason.trim().is_empty() {
                return Err(pupil.failed("refused a state without a word of why"));
            }
        }
        pupil.serve_many(20)?;
        pupil.save()?;
    }
    Ok((states.len(), refused))
}
