//! Bounds what an instance may allocate.

use std::mem;

use wasmtime::{ResourceLimiter, bail};

/// Table elements are 8 to 16 bytes each. Compiled Rust, C and Go need a few thousand.
const TABLE_ELEMENTS: usize = 100_000;

/// What an instance has allocated, and what it may.
pub(crate) struct Limiter {
    memory: Budget,
    elements: Budget,
    refused: Option<Refused>,
}

/// What was asked for in vain.
pub(crate) struct Refused {
    /// What it would have come to.
    pub(crate) asked: usize,
    /// What the limit is.
    pub(crate) limit: usize,
    /// Of what.
    pub(crate) unit: &'static str,
}

impl Limiter {
    /// For an instance that gets this much memory.
    pub(crate) fn new(memory_bytes: usize) -> Self {
        Self {
            memory: Budget::new(memory_bytes, "bytes of memory"),
            elements: Budget::new(TABLE_ELEMENTS, "table elements"),
            refused: None,
        }
    }

    /// Bytes of all the instance's memories.
    pub(crate) fn memory_in_use(&self) -> usize {
        self.memory.in_use
    }

    /// What the last call was refused, if that is why it ended.
    pub(crate) fn take_refused(&mut self) -> Option<Refused> {
        self.refused.take()
    }

    fn answer(&mut self, growth: Result<bool, Refused>) -> wasmtime::Result<bool> {
        match growth {
            Ok(answer) => Ok(answer),
            Err(refused) => {
                let Refused { limit, unit, .. } = *self.refused.insert(refused);
                bail!("over the limit of {limit} {unit}")
            }
        }
    }
}

/// Of one kind, in all memories or tables of an instance: a component may have several.
struct Budget {
    limit: usize,
    unit: &'static str,
    in_use: usize,
    /// What was allowed last, and may yet fail.
    growth: usize,
}

impl Budget {
    fn new(limit: usize, unit: &'static str) -> Self {
        Self { limit, unit, in_use: 0, growth: 0 }
    }

    /// Whether one of them may grow.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool, Refused> {
        self.growth = 0;
        if maximum.is_some_and(|maximum| desired > maximum) {
            // What goes beyond the module's own maximum fails by WebAssembly's rules, and that is no fault.
            return Ok(false);
        }
        let growth = desired.saturating_sub(current);
        let asked = self.in_use.saturating_add(growth);
        if asked > self.limit {
            return Err(Refused { asked, limit: self.limit, unit: self.unit });
        }
        (self.in_use, self.growth) = (asked, growth);
        Ok(true)
    }

    /// What was allowed a moment ago could not be had.
    fn failed(&mut self) {
        self.in_use -= mem::take(&mut self.growth);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let growth = self.memory.grow(current, desired, maximum);
        self.answer(growth)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.failed();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let growth = self.elements.grow(current, desired, maximum);
        self.answer(growth)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.elements.failed();
        Ok(())
    }

    // A component is a few core instances. Those that link a language's runtime from libraries are the most: CPython, with
    // what stands in for WASI, comes to some forty.
    fn instances(&self) -> usize {
        64
    }

    fn tables(&self) -> usize {
        32
    }

    fn memories(&self) -> usize {
        4
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::format_err;

    use super::*;

    #[test]
    fn only_growth_that_succeeds_counts() {
        let mut limiter = Limiter::new(1000);
        assert!(limiter.memory_growing(0, 400, Some(500)).unwrap());
        for _ in 0..10 {
            assert!(!limiter.memory_growing(400, 501, Some(500)).unwrap(), "beyond its own maximum");
            assert!(limiter.memory_growing(400, 500, Some(500)).unwrap());
            limiter.memory_grow_failed(format_err!("no memory left")).unwrap();
        }
        assert_eq!(limiter.memory_in_use(), 400);
        assert!(limiter.memory_growing(0, 600, None).unwrap(), "another memory");
        assert!(limiter.memory_growing(600, 601, None).is_err());
        let refused = limiter.take_refused().unwrap();
        assert_eq!((refused.asked, refused.limit, refused.unit), (1001, 1000, "bytes of memory"));
        assert_eq!(limiter.memory_in_use(), 1000);
    }

    #[test]
    fn all_tables_have_one_limit() {
        let mut limiter = Limiter::new(0);
        assert!(limiter.table_growing(0, TABLE_ELEMENTS, None).unwrap());
        assert!(limiter.table_growing(0, 1, None).is_err());
        assert_eq!(limiter.take_refused().unwrap().asked, TABLE_ELEMENTS + 1);
        limiter.table_grow_failed(format_err!("no memory left")).unwrap();
        assert!(limiter.table_growing(0, 1, None).is_err(), "the growth that was refused is none to take back");
    }
}
