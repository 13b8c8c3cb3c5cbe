//! Why a plugin is not put to use.

use std::time::Duration;

use crate::Fault;

/// A plugin that was refused before any request saw it. The text is for the person who built it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// Not a WebAssembly file.
    #[error("not WebAssembly: {hint}")]
    NotWasm {
        /// What it looks like instead.
        hint: &'static str,
    },
    /// WebAssembly that ends too early, as a file does that is still being written.
    #[error("the file ends in the middle: it is incomplete ({reason})")]
    Truncated {
        /// The parser's words.
        reason: String,
    },
    /// WebAssembly that is damaged, or uses a feature that policies do not get (threads, 64-bit memories, ...).
    #[error("not a valid policy module: {reason}")]
    Invalid {
        /// The validator's words.
        reason: String,
    },
    /// Larger than a plugin may be.
    #[error("{bytes} bytes: a plugin may have at most {limit}")]
    TooLarge {
        /// The file's size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Compiling it takes too long.
    #[error("not compiled within {limit:?}")]
    CompileTimeout {
        /// The limit.
        limit: Duration,
    },
    /// Built against another version of the contract.
    #[error(
        "built for version {found} of the contract; this is Sluicegate with version {supported}: build it again with that version's SDK"
    )]
    WrongVersion {
        /// The plugin's.
        found: String,
        /// Ours.
        supported: &'static str,
    },
    /// Without a required export.
    #[error("does not export `{name}`: is it a policy? (with the SDK: `sluicegate_sdk::export!(MyPolicy)`)")]
    MissingExport {
        /// The contract's name.
        name: String,
    },
    /// Asks for something that the contract does not give.
    #[error("imports `{module}` `{name}`, which policies do not get{hint}")]
    UnknownImport {
        /// The import's module, or interface.
        module: String,
        /// The import's name.
        name: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// Has a function of the right name and the wrong shape.
    #[error("`{name}` has another signature than the contract's: {reason}")]
    WrongSignature {
        /// The function.
        name: String,
        /// What differs.
        reason: String,
    },
    /// Its own refusal of the configuration.
    #[error("refuses its configuration: {reason}")]
    Configure {
        /// The policy's words.
        reason: String,
    },
    /// Misbehaved while it was set up or rehearsed.
    #[error("failed its rehearsal: {fault}")]
    Rehearsal {
        /// What it did.
        #[source]
        fault: Fault,
    },
    /// Was rolled back for its faults a moment ago, and has not changed since.
    #[error("quarantined after {faults} faults: change the file or its configuration to try again")]
    Quarantined {
        /// How many faults it had.
        faults: usize,
    },
    /// Its bytes are not those that were asked for.
    #[error("its sha256 is {found}, and not {pinned} as pinned: save the file that was meant, or change the pin")]
    WrongDigest {
        /// As asked for.
        pinned: String,
        /// As found.
        found: String,
    },
    /// Nobody who may has signed it.
    #[error("not signed by any of the trusted keys: {reason}")]
    Untrusted {
        /// What is wrong with its signature.
        reason: String,
    },
    /// A trial compares, and there is nothing to compare with.
    #[error("no policy serves at the moment, only the native fallback: swap one in first")]
    NothingToCompare,
    /// A trial of what serves already would show nothing.
    #[error("the same code with the same configuration serves already")]
    SameAsActive,
    /// There is no candidate.
    #[error("nothing is on trial: begin a shadow or a canary first")]
    NoTrial,
    /// The generation can't be gone back to.
    #[error("{}", not_kept(*asked, kept))]
    NotKept {
        /// Its number; none for the latest.
        asked: Option<u64>,
        /// Those that are kept.
        kept: Vec<u64>,
    },
    /// There is no worker to run it.
    #[error("the proxy is shutting down")]
    ShuttingDown,
}

fn not_kept(asked: Option<u64>, kept: &[u64]) -> String {
    let kept = kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match (asked, kept.as_str()) {
        (Some(asked), "") => format!("generation {asked} is not kept, nor is any other"),
        (Some(asked), kept) => format!("generation {asked} is not kept; these are: {kept}"),
        (None, _) => "there is no former generation to go back to".into(),
    }
}

impl Refusal {
    /// A short, stable name for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotWasm { .. } => "not_wasm",
            Self::Truncated { .. } => "truncated",
            Self::Invalid { .. } => "invalid",
            Self::TooLarge { .. } => "too_large",
            Self::CompileTimeout { .. } => "compile_timeout",
            Self::WrongVersion { .. } => "wrong_version",
            Self::MissingExport { .. } => "missing_export",
            Self::UnknownImport { .. } => "unknown_import",
            Self::WrongSignature { .. } => "wrong_signature",
            Self::Configure { .. } => "configure",
            Self::Rehearsal { .. } => "rehearsal",
            Self::Quarantined { .. } => "quarantined",
            Self::WrongDigest { .. } => "wrong_digest",
            Self::Untrusted { .. } => "untrusted",
            Self::NothingToCompare => "nothing_to_compare",
            Self::SameAsActive => "same_as_active",
            Self::NoTrial => "no_trial",
            Self::NotKept { .. } => "not_kept",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Rehearsal { fault }
    }
}
