//! Compiles plugins on threads of their own, so that a file which takes forever can be given up.
//!
//! The compiler can't be stopped: what was given up goes on. So who asks for the same file meanwhile waits for that, and what
//! it comes to is kept for whoever tries again.

mod pools;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
};

use wasmtime::{Module, component::Component};

use crate::{
    Digest, Engine, LaneKind, Refusal,
    artifact::{Checked, Compiled},
};

pub(crate) use pools::Compilers;
pub use pools::MAX_COMPILES;

/// Of the whole file, and what is made of it.
type Job = (Digest, LaneKind);
type Outcome = Result<Checked, Refusal>;

/// What is being compiled, and who waits for it.
#[derive(Default)]
pub(crate) struct Compiling(Mutex<HashMap<Job, Vec<mpsc::Sender<Outcome>>>>);

impl Compiling {
    /// Waits for a job. Says whether nobody is at it yet.
    fn join(&self, job: Job, waiter: mpsc::Sender<Outcome>) -> bool {
        let mut jobs = self.lock();
        let waiters = jobs.entry(job).or_default();
        waiters.push(waiter);
        waiters.len() == 1
    }

    /// It is done: tells who has waited for it. Who has given up does not listen any more.
    fn end(&self, job: Job, outcome: &Outcome) {
        let waiters = self.lock().remove(&job).unwrap_or_default();
        for waiter in waiters {
            let _ = waiter.send(outcome.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Job, Vec<mpsc::Sender<Outcome>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compiles and inspects, and keeps what fits the contract. `digest`: of the whole file, of which `bytes` may be a part.
pub(crate) fn compile(engine: &Engine, kind: LaneKind, digest: Digest, bytes: &[u8]) -> Outcome {
    let (waiter, outcome) = mpsc::channel();
    if engine.compiling.join((digest, kind), waiter) {
        let (job_engine, bytes) = (engine.owned(), Arc::<[u8]>::from(bytes));
        engine.compilers.spawn(move || {
            // Who waits has to hear of a panic, and it would end the process.
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&job_engine, kind, digest, &bytes)));
            let outcome = outcome.unwrap_or_else(|_| Err(gave_up()));
            job_engine.compiling.end((digest, kind), &outcome);
        });
    }
    let limit = engine.limits.compile_timeout;
    match outcome.recv_timeout(limit) {
        Ok(outcome) => outcome,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(Refusal::CompileTimeout { limit }),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(gave_up()),
    }
}

fn work(engine: &Engine, kind: LaneKind, digest: Digest, bytes: &[u8]) -> Outcome {
    let compiled = match kind {
        LaneKind::Fast => Module::from_binary(&engine.wasm, bytes).map(Compiled::Module),
        LaneKind::Portable => Component::from_binary(&engine.wasm, bytes).map(Compiled::Component),
    };
    let compiled = compiled.map_err(|error| refused(format!("{error:#}")))?;
    let checked = compiled.inspect(engine)?;
    if let Some(cache) = &engine.cache {
        cache.put(digest, &compiled);
    }
    Ok(checked)
}

fn refused(reason: String) -> Refusal {
    // The parser has no kind of error for this: these are its words for a section that goes on past the end.
    match ["unexpected end", "section range"].iter().any(|words| reason.contains(words)) {
        true => Refusal::Truncated { reason },
        false => Refusal::Invalid { reason },
    }
}

fn gave_up() -> Refusal {
    Refusal::Invalid { reason: "the compiler gave up on it (a bug there: please report it)".into() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Limits, testing::ByHand};

    #[test]
    fn the_same_is_not_compiled_twice_at_once() {
        let compiling = Compiling::default();
        let ((one, first), (other, second)) = (mpsc::channel(), mpsc::channel());
        let job = (Digest::of(b"x"), LaneKind::Fast);
        assert!(compiling.join(job, one));
        assert!(!compiling.join(job, other), "somebody is at it");
        compiling.end(job, &Err(gave_up()));
        assert!(first.recv().unwrap().is_err() && second.recv().unwrap().is_err());
        assert!(compiling.join(job, mpsc::channel().0), "it is over");
        assert!(compiling.join((job.0, LaneKind::Portable), mpsc::channel().0), "another lane is another job");
    }

    #[test]
    fn what_was_given_up_is_there_for_the_next_try() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { compile_timeout: Duration::ZERO, ..Limits::default() };
        let engine = Engine::new(limits, Some(dir.path().join("cache"))).unwrap();
        let module = ByHand::default().module();
        assert!(matches!(engine.load(&module), Err(Refusal::CompileTimeout { .. })));
        let found = (0..1000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            engine.load(&module).ok()
        });
        assert!(found.unwrap().cached);
    }
}
