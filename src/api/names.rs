//! Names that other programs see: the API group, labels, finalizers, field managers, reasons.

/// The API group of all kinds.
pub const GROUP: &str = "innkeeper.dev";
/// The version of all kinds.
pub const VERSION: &str = "v1alpha1";

/// Label on a Guest: the name of the workload it belongs to.
pub const WORKLOAD_LABEL: &str = "innkeeper.dev/workload";

/// Finalizer on a Guest: its VM and disks may still exist at a provider.
pub const GUEST_FINALIZER: &str = "innkeeper.dev/vm";
/// Finalizer on a `CloudPool`: guests may still live there.
pub const POOL_FINALIZER: &str = "innkeeper.dev/guests";

/// Who writes which fields (server-side apply).
pub mod manager {
    /// The workload controller.
    pub const WORKLOAD: &str = "innkeeper-workload";
    /// The scheduler: bindings and moves.
    pub const SCHEDULER: &str = "innkeeper-scheduler";
    /// The whole status of a Guest, whichever controller writes it.
    pub const GUEST: &str = "innkeeper-guest";
    /// The pool controller.
    pub const POOL: &str = "innkeeper-pool";
    /// `innkeeper restore`: the identities of guests whose Guests were lost.
    pub const RESTORE: &str = "innkeeper-restore";
}

/// The longest name of a workload: its guests' names (`NAME-ORDINAL`) must be DNS labels of at most 63 characters.
pub const MAX_WORKLOAD_NAME: usize = 52;
