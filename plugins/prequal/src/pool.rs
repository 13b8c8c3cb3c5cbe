//! What probes have found, and the choice among it.

/// What an endpoint has answered, and what has been done with it since.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) endpoint: u64,
    /// Its index, as long as the endpoints do not change.
    pub(crate) index: u32,
    /// Requests in flight there: as it said, and those that were sent there since.
    pub(crate) in_flight: u32,
    pub(crate) latency_us: u32,
    pub(crate) at: u64,
    /// How many more requests may be sent there because of it.
    pub(crate) uses: u32,
    /// Whether too many of its requests fail.
    pub(crate) fails: bool,
}

/// The newest answers, one of each endpoint at the most, in the order in which they came.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    answers: [Answer; Pool::MOST],
    len: usize,
    size: usize,
}

impl Pool {
    /// The largest pool: a pick looks at all of it.
    pub(crate) const MOST: usize = 64;

    pub(crate) fn of(size: u32) -> Self {
        Self { answers: [Answer::default(); Self::MOST], len: 0, size: size as usize }
    }

    #[inline]
    pub(crate) fn answers(&self) -> &[Answer] {
        &self.answers[..self.len]
    }

    /// Takes in an answer in place of the one before of the same endpoint, or of the oldest when the pool is full.
    pub(crate) fn add(&mut self, answer: Answer) {
        self.forget(answer.endpoint);
        if self.len == self.size {
            self.remove(0);
        }
        self.answers[self.len] = answer;
        self.len += 1;
    }

    /// Forgets what an endpoint has answered.
    pub(crate) fn forget(&mut self, endpoint: u64) {
        self.retain(|answer| answer.endpoint != endpoint);
    }

    pub(crate) fn remove(&mut self, place: usize) {
        self.answers.copy_within(place + 1..self.len, place);
        self.len -= 1;
    }

    /// Keeps the answers that are still good, and may change them.
    pub(crate) fn retain(&mut self, mut is_good: impl FnMut(&mut Answer) -> bool) {
        let mut kept = 0;
        for place in 0..self.len {
            if is_good(&mut self.answers[place]) {
                self.answers[kept] = self.answers[place];
                kept += 1;
            }
        }
        self.len = kept;
    }

    /// The hot-cold lexicographic rule (section 4): the fastest that is cold, or else the least busy. Of equal ones, the
    /// one that has answered last.
    #[inline]
    pub(crate) fn best(&self, hot_from: u32, may_take: impl Fn(u32) -> bool) -> Option<usize> {
        let rank = |answer: &Answer| rank(answer, hot_from);
        let candidates = (0..self.len).rev().filter(|place| may_take(self.answers[*place].index));
        candidates.min_by_key(|place| rank(&self.answers[*place]))
    }

    /// The same rule the other way round: the busiest that is hot, or else the slowest. Of equal ones, the oldest.
    pub(crate) fn worst(&self, hot_from: u32) -> Option<usize> {
        (0..self.len).rev().max_by_key(|place| rank(&self.answers[*place], hot_from))
    }

    /// A request goes to where this answer came from.
    pub(crate) fn use_up(&mut self, place: usize) {
        let answer = &mut self.answers[place];
        answer.in_flight = answer.in_flight.saturating_add(1);
        answer.uses -= 1;
        if answer.uses == 0 {
            self.remove(place);
        }
    }
}

/// The smaller, the better: who does not fail first, cold before hot, cold ones by latency, hot ones by their requests in
/// flight.
#[inline]
fn rank(answer: &Answer, hot_from: u32) -> (bool, bool, u32) {
    let is_hot = answer.in_flight >= hot_from;
    (answer.fails, is_hot, if is_hot { answer.in_flight } else { answer.latency_us })
}

/// How busy endpoints are: the requests in flight that the last probes have found.
#[derive(Clone, Debug)]
pub(crate) struct Busyness {
    // A ring of what came, and the same sorted.
    came: [u32; Busyness::LENGTH],
    sorted: [u32; Busyness::LENGTH],
    next: usize,
    len: usize,
}

impl Busyness {
    /// The paper says "recent". Enough for a quantile of 0.84 to mean something, and soon replaced.
    const LENGTH: usize = 128;

    pub(crate) fn new() -> Self {
        Self { came: [0; Self::LENGTH], sorted: [0; Self::LENGTH], next: 0, len: 0 }
    }

    pub(crate) fn add(&mut self, in_flight: u32) {
        if self.len == Self::LENGTH {
            let place = self.sorted.partition_point(|other| *other < self.came[self.next]);
            self.sorted.copy_within(place + 1.., place);
            self.len -= 1;
        }
        let place = self.sorted[..self.len].partition_point(|other| *other <= in_flight);
        self.sorted.copy_within(place..self.len, place + 1);
        self.sorted[place] = in_flight;
        self.came[self.next] = in_flight;
        self.next = (self.next + 1) % Self::LENGTH;
        self.len += 1;
    }

    /// From how many requests in flight on an endpoint is hot. With a quantile of 0 all are, which makes the rule
    /// "the least busy", and with 1 none is: "the fastest".
    pub(crate) fn hot_from(&self, quantile: f64) -> u32 {
        if quantile == 0.0 || self.len == 0 {
            return 0;
        }
        if quantile >= 1.0 {
            return u32::MAX;
        }
        let place = (quantile * self.len as f64) as usize;
        // More than the quantile is hot: where all are equally busy, nobody is.
        self.sorted[place.min(self.len - 1)].saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(size: u32, answers: &[(u32, u32, u32)]) -> Pool {
        let mut pool = Pool::of(size);
        for (index, in_flight, latency_us) in answers.iter().copied() {
            pool.add(Answer { endpoint: index.into(), index, in_flight, latency_us, at: 0, uses: 2, fails: false });
        }
        pool
    }

    fn indexes(pool: &Pool) -> Vec<u32> {
        pool.answers().iter().map(|answer| answer.index).collect()
    }

    #[test]
    fn the_fastest_of_the_cold_ones() {
        let pool = pool(16, &[(1, 9, 10), (2, 3, 700), (3, 4, 500), (4, 0, 600)]);
        let best = |hot_from| pool.best(hot_from, |_| true).map(|place| pool.answers()[place].index);
        assert_eq!(best(5), Some(3), "1 is faster, but hot");
        assert_eq!(best(4), Some(4));
        assert_eq!(best(0), Some(4), "all are hot: the least busy");
        assert_eq!(best(u32::MAX), Some(1), "none is: the fastest");
        assert_eq!(pool.best(5, |index| index != 3).map(|place| pool.answers()[place].index), Some(4));
        assert_eq!(pool.best(5, |_| false), None);
    }

    #[test]
    fn the_worst_is_the_busiest_hot_one_or_else_the_slowest() {
        let pool = pool(16, &[(1, 9, 10), (2, 3, 700), (3, 12, 500), (4, 0, 600)]);
        let worst = |hot_from| pool.worst(hot_from).map(|place| pool.answers()[place].index);
        assert_eq!((worst(9), worst(13)), (Some(3), Some(2)));
    }

    #[test]
    fn each_endpoint_has_one_answer_and_the_oldest_goes() {
        let mut pool = pool(3, &[(1, 0, 0), (2, 0, 0), (3, 0, 0), (1, 5, 0), (4, 0, 0)]);
        assert_eq!(indexes(&pool), [3, 1, 4]);
        assert_eq!(pool.answers()[1].in_flight, 5, "the newer one");
        pool.forget(1);
        assert_eq!(indexes(&pool), [3, 4]);
    }

    #[test]
    fn an_answer_is_used_up() {
        let mut pool = pool(3, &[(1, 0, 0), (2, 0, 0)]);
        pool.use_up(0);
        assert_eq!((indexes(&pool), pool.answers()[0].in_flight), (vec![1, 2], 1));
        pool.use_up(0);
        assert_eq!(indexes(&pool), [2]);
    }

    #[test]
    fn hot_is_what_is_busier_than_most() {
        let mut busyness = Busyness::new();
        assert_eq!(busyness.hot_from(0.84), 0, "nothing is known");
        (0..100).for_each(|in_flight| busyness.add(in_flight));
        assert_eq!([0.0, 0.5, 0.84, 0.999, 1.0].map(|q| busyness.hot_from(q)), [0, 51, 85, 100, u32::MAX]);
        // What came long ago is replaced.
        (0..Busyness::LENGTH).for_each(|_| busyness.add(7));
        assert_eq!([0.01, 0.84, 0.999].map(|q| busyness.hot_from(q)), [8; 3]);
        assert!(busyness.sorted.is_sorted());
    }

    #[test]
    fn sorted_is_what_came() {
        let (mut busyness, mut number) = (Busyness::new(), 1_u32);
        for _ in 0..1000 {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            busyness.add(number >> 28);
            let mut expected = busyness.came[..busyness.len].to_vec();
            expected.sort_unstable();
            assert_eq!(busyness.sorted[..busyness.len], expected);
        }
    }
}
