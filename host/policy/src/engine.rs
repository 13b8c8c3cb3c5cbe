//! The one WebAssembly engine of the process.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use wasmtime::{Config, component};

use crate::{
    Artifact, Digest, Refusal, artifact,
    cache::Cache,
    compiling::{Compilers, Compiling},
    functions::FunctionCache,
    lane,
    state::HostState,
};

/// What a policy gets. Whatever goes beyond is a fault, or refused before it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For one `pick` or `on-result`, in processor time. A pick takes well under a microsecond: one that needs a
    /// thousand times as long hangs, and its worker serves nobody meanwhile.
    pub pick_timeout: Duration,
    /// For `configure`, `endpoints-changed`, `save` and `restore`, which may build tables.
    pub setup_timeout: Duration,
    /// Linear memory of one instance: room for tables over 10,000 endpoints many times over.
    pub memory_bytes: usize,
    /// Of the file. Language runtimes packed into a component have tens of megabytes.
    pub module_bytes: usize,
    /// To compile the file. It happens off the workers, but the operator should hear that it fails.
    pub compile_timeout: Duration,
    /// How many faults within [`Self::fault_window`] quarantine a generation.
    pub faults: usize,
    /// See [`Self::faults`].
    pub fault_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pick_timeout: Duration::from_millis(1),
            setup_timeout: Duration::from_secs(1),
            memory_bytes: 64 << 20,
            module_bytes: 64 << 20,
            compile_timeout: Duration::from_secs(60),
            faults: 5,
            fault_window: Duration::from_secs(10),
        }
    }
}

/// How often the epoch moves on while some call may have to be cut off: the resolution of every deadline.
const TICK: Duration = Duration::from_millis(1);

/// How often it moves on otherwise. A wake-up every millisecond costs a virtual machine up to a twentieth of a
/// processor, for calls that take nanoseconds: so a call that hangs is noticed within this time, and its own time is
/// counted from then on.
const IDLE_TICK: Duration = Duration::from_millis(10);

/// A call's stack, host frames excluded. Worker threads have more than this left.
const STACK_BYTES: usize = 512 << 10;

/// Lets a call that has seen a tick ask for finer ones.
#[derive(Default)]
pub(crate) struct Pacer {
    hurry: AtomicBool,
    ticker: OnceLock<thread::Thread>,
}

impl Pacer {
    /// The next ticks come a millisecond apart, for as long as somebody asks for it at each of them.
    pub(crate) fn hurry(&self) {
        self.hurry.store(true, Relaxed);
        if let Some(ticker) = self.ticker.get() {
            ticker.unpark();
        }
    }
}

/// Compiles, keeps and links policies.
pub struct Engine {
    /// Itself, for what outlives the call that it is made in.
    me: Weak<Self>,
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) core_linker: wasmtime::Linker<HostState>,
    pub(crate) component_linker: component::Linker<HostState>,
    pub(crate) limits: Limits,
    pub(crate) pacer: Arc<Pacer>,
    pub(crate) compilers: Compilers,
    pub(crate) compiling: Compiling,
    /// Whether instructions are counted.
    pub(crate) is_metered: bool,
    pub(crate) cache: Option<Cache>,
    /// What is in use somewhere, so that clusters with the same policy share its code.
    loaded: Mutex<HashMap<Digest, Weak<Artifact>>>,
}

impl Engine {
    /// An engine that keeps compiled artifacts in `cache_dir`, if given. Without a usable folder it works all the
    /// same, and says so in the log.
    pub fn new(limits: Limits, cache_dir: Option<PathBuf>) -> wasmtime::Result<Arc<Self>> {
        Self::build(limits, cache_dir, false)
    }

    /// An engine that counts the instructions that policies execute ([`Lane::instructions`](crate::Lane::instructions)). They are slower by that: it is
    /// for measuring, and no proxy runs it.
    pub fn metered(limits: Limits) -> wasmtime::Result<Arc<Self>> {
        Self::build(limits, None, true)
    }

    fn build(limits: Limits, cache_dir: Option<PathBuf>, is_metered: bool) -> wasmtime::Result<Arc<Self>> {
        let mut config = configuration()?;
        config.consume_fuel(is_metered);
        let wasm = wasmtime::Engine::new(&config)?;
        let cache = cache_dir.and_then(|dir| match Cache::open(&dir, &wasm) {
            Ok(cache) => Some(cache),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "compiled policies are not kept: the folder can't be used");
                None
            }
        });
        let core_linker = lane::fast::linker(&wasm)?;
        let component_linker = lane::portable::linker(&wasm)?;
        let compilers = Compilers::new()?;
        let engine = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            core_linker,
            component_linker,
            limits,
            pacer: Arc::default(),
            compilers,
            compiling: Compiling::default(),
            is_metered,
            cache,
            loaded: Mutex::default(),
            wasm,
        });
        engine.start_ticker();
        Ok(engine)
    }

    /// The engine, to be kept.
    pub(crate) fn owned(&self) -> Arc<Self> {
        self.me.upgrade().expect("an engine is made in an Arc, and does not leave it")
    }

    /// What every policy gets.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The epoch's ticker; it ends with the engine.
    fn start_ticker(&self) {
        let (engine, pacer) = (self.wasm.weak(), Arc::clone(&self.pacer));
        let tick = move || {
            loop {
                if pacer.hurry.swap(false, Relaxed) {
                    thread::sleep(TICK);
                } else {
                    thread::park_timeout(IDLE_TICK);
                    if pacer.hurry.load(Relaxed) {
                        continue;
                    }
                }
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
            }
        };
        // Without threads there is no proxy either.
        let ticker = thread::Builder::new().name("policy-epoch".into()).spawn(tick).expect("a thread for the epoch");
        // It is set only here.
        let _ = self.pacer.ticker.set(ticker.thread().clone());
    }

    /// Compiles a plugin, or finds it compiled, and inspects it. Takes as long as compiling takes: not for workers.
    pub fn load(&self, bytes: &[u8]) -> Result<Arc<Artifact>, Refusal> {
        let digest = Digest::of(bytes);
        if let Some(known) = self.lock_loaded().get(&digest).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let artifact = Arc::new(artifact::load(self, digest, bytes)?);
        let mut loaded = self.lock_loaded();
        loaded.retain(|_, artifact| artifact.strong_count() > 0);
        loaded.insert(digest, Arc::downgrade(&artifact));
        Ok(artifact)
    }

    fn lock_loaded(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Weak<Artifact>>> {
        self.loaded.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Only the features that compilers for WebAssembly use by default: less to go wrong, and the same picks everywhere
/// (relaxed SIMD may differ between processors). The bits of a NaN are left as the processor makes them, as in native
/// code: making them the same everywhere costs three instructions after each of a policy's floating-point operations.
fn configuration() -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .concurrency_support(false)
        .wasm_tail_call(false)
        .wasm_multi_memory(true)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_extended_const(true)
        .wasm_component_model(true)
        .enable_incremental_compilation(Arc::new(FunctionCache::default()))?;
    Ok(config)
}
