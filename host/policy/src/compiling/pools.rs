//! The threads on which policies are compiled, function by function.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// How many policies may be compiled at once: one that takes long must not hold up the next one, and each takes memory.
pub const MAX_COMPILES: usize = 4;

/// How much the compiler's threads give way: beside a worker that is busy all the time, they get a tenth of its
/// processor; beside one that waits now and then, what is left; and who comes to answer a request never waits for them.
const COMPILER_NICENESS: i32 = 10;

/// A pool for each compile that is under way, as threads that share a pool go on with the functions of the first policy
/// before they begin with the next. Nearly always one is enough; another is made when it is needed, and stays.
pub(crate) struct Compilers(Mutex<Vec<Arc<ThreadPool>>>);

impl Compilers {
    pub(crate) fn new() -> wasmtime::Result<Self> {
        let first = pool(0).map_err(|error| wasmtime::format_err!("no threads to compile on: {error}"))?;
        Ok(Self(Mutex::new(vec![Arc::new(first)])))
    }

    /// Runs a compile on a pool that nobody else uses; when there can be no more of them, behind others.
    pub(crate) fn spawn(&self, compile: impl FnOnce() + Send + 'static) {
        let pool = self.free_pool();
        let held = Arc::clone(&pool);
        pool.spawn(move || {
            compile();
            drop(held);
        });
    }

    /// Who compiles holds on to a pool: that with the fewest holders is the freest.
    fn free_pool(&self) -> Arc<ThreadPool> {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = |pool: &Arc<ThreadPool>| Arc::strong_count(pool) == 1;
        // Where there are no more threads to be had, those that there are have to do.
        if !pools.iter().any(is_free)
            && pools.len() < MAX_COMPILES
            && let Ok(another) = pool(pools.len())
        {
            pools.push(Arc::new(another));
        }
        let freest = pools.iter().min_by_key(|pool| Arc::strong_count(pool));
        Arc::clone(freest.expect("the first one stays"))
    }
}

fn pool(number: usize) -> Result<ThreadPool, rayon::ThreadPoolBuildError> {
    let give_way = |_| {
        // Where it is forbidden, compiling is felt more.
        let _ = rustix::process::nice(COMPILER_NICENESS);
    };
    let name = move |index| format!("policy-compile-{number}-{index}");
    ThreadPoolBuilder::new().thread_name(name).start_handler(give_way).build()
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn a_compile_that_takes_long_holds_up_no_other() {
        let compilers = Compilers::new().unwrap();
        let (ended, has_ended) = mpsc::channel();
        // Each keeps all threads of a pool.
        let release: Vec<_> = (1..MAX_COMPILES)
            .map(|_| {
                let (release, until) = mpsc::channel::<()>();
                let until = Mutex::new(until);
                compilers.spawn(move || drop(rayon::broadcast(|_| until.lock().unwrap().recv().is_ok())));
                release
            })
            .collect();
        compilers.spawn(move || ended.send(()).unwrap());
        has_ended.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(compilers.0.lock().unwrap().len(), MAX_COMPILES);
        drop(release);
    }
}
