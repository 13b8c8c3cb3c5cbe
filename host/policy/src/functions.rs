//! Compiled functions, kept in memory: an edited policy is mostly the functions that it had before, and the rest of
//! its module (the allocator, formatting, the reader of its configuration) it shares with every policy of its SDK.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

/// A policy's functions are some hundred kilobytes. Beyond this the next policy compiles all of its own again.
const MAX_BYTES: usize = 16 << 20;

/// The keys are hashes of all that decides a function's code: wasmtime makes them.
#[derive(Default)]
pub(crate) struct FunctionCache(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    functions: HashMap<Box<[u8]>, Box<[u8]>>,
    bytes: usize,
}

impl wasmtime::CacheStore for FunctionCache {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.functions.get(key).map(|code| Cow::Owned(code.to_vec()))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + value.len() > MAX_BYTES {
            *kept = Kept::default();
        }
        kept.bytes += value.len();
        kept.functions.insert(key.into(), value.into());
        true
    }
}

impl fmt::Debug for FunctionCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::CacheStore;

    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let cache = FunctionCache::default();
        assert!(cache.get(b"a").is_none());
        for number in 0_u32..40 {
            cache.insert(&number.to_le_bytes(), vec![7; 1 << 20]);
            assert_eq!(cache.get(&number.to_le_bytes()).as_deref(), Some(&[7; 1 << 20][..]));
            assert!(cache.0.lock().unwrap().bytes <= MAX_BYTES);
        }
    }
}
