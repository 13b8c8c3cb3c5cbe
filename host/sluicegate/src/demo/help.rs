//! What the demo says about writing a policy: the way from seeing it work to having one.

/// How to have a policy of one's own balance, within 78 columns.
pub(super) const OWN_POLICY: [&str; 4] = [
    "A policy of your own:  sluicegate new mine      (then edit mine/src/lib.rs)",
    "                       sluicegate build mine",
    "                       sluicegate demo --policy mine/mine.wasm",
    "Edit and build it again while the demo runs, and watch the new one swap in.",
];
