//! The numbers a test may turn: how long things take and how large things may be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Times in milliseconds unless the name says otherwise. All can be set at start and over the admin endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// How long `VM.clone` and `VDI.clone` take.
    pub clone_ms: u64,
    /// How long `VM.copy` and `VDI.copy` take for each GiB of virtual size.
    pub copy_ms_per_gib: u64,
    /// How long `VM.provision` takes.
    pub provision_ms: u64,
    /// How long `VM.start`, `start_on` and the boot after a reboot take.
    pub start_ms: u64,
    /// How long a clean shutdown takes.
    pub clean_shutdown_ms: u64,
    /// How long a hard shutdown takes.
    pub hard_shutdown_ms: u64,
    /// How long suspending takes.
    pub suspend_ms: u64,
    /// How long resuming takes.
    pub resume_ms: u64,
    /// How long a migration inside the pool takes.
    pub migrate_ms: u64,
    /// How long moving storage takes for each GiB of virtual size.
    pub storage_migrate_ms_per_gib: u64,
    /// How long a snapshot takes.
    pub snapshot_ms: u64,
    /// How long other storage work (create, destroy, resize) takes.
    pub vdi_ms: u64,
    /// Whether disks in use can grow: most storage managers of today cannot do that.
    pub online_resize: bool,
    /// How long `VM.destroy` takes.
    pub destroy_ms: u64,
    /// How long after its boot a guest's tools report addresses; no report at all when `tools` is false.
    pub tools_ms: u64,
    /// Whether guests have tools.
    pub tools: bool,
    /// How long a VDI stays in use after its VM has stopped.
    pub vdi_release_ms: u64,
    /// How long the answer to a wrong password is held back.
    pub login_failure_ms: u64,
    /// How long events are gathered before `event.from` answers.
    pub event_delay_ms: u64,
    /// How long until a dead host's `host_metrics.live` turns false.
    pub host_assumed_dead_ms: u64,
    /// How long a host is away when it reboots, and how long after the call it goes.
    pub host_reboot_ms: u64,
    /// How long host.reboot and host.shutdown wait before they act.
    pub host_shutdown_delay_ms: u64,
    /// How long a coordinator is away when it restarts.
    pub restart_ms: u64,
    /// How fast imported disk data are taken, in bytes a second; 0 is without limit.
    pub import_bytes_per_second: u64,
    /// Objects made this long before a crash of the coordinator are lost, in seconds (xapi: up to 300).
    pub crash_loses_seconds: u64,
    /// Seconds that the pool's clock is ahead of the machine's.
    pub clock_skew_seconds: i64,
    /// Storage migrations a host runs at a time.
    pub max_storage_migrations: usize,
    /// Calls that may wait for another operation at a time.
    pub max_queued: usize,
    /// How long a call waits for another operation, in seconds.
    pub queue_seconds: u64,
    /// Finished tasks kept.
    pub max_finished_tasks: usize,
    /// Seconds a finished task is kept.
    pub finished_task_seconds: i64,
    /// Sessions kept for each originator.
    pub max_sessions_per_originator: usize,
    /// Sessions without an originator kept.
    pub max_anonymous_sessions: usize,
    /// Snapshots that a VDI may have before the next one fails.
    pub max_chain: usize,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            clone_ms: 50,
            copy_ms_per_gib: 20,
            provision_ms: 20,
            start_ms: 100,
            clean_shutdown_ms: 100,
            hard_shutdown_ms: 20,
            suspend_ms: 100,
            resume_ms: 100,
            migrate_ms: 200,
            storage_migrate_ms_per_gib: 50,
            snapshot_ms: 50,
            vdi_ms: 5,
            online_resize: false,
            destroy_ms: 5,
            tools_ms: 300,
            tools: true,
            vdi_release_ms: 0,
            login_failure_ms: 5_000,
            event_delay_ms: 50,
            host_assumed_dead_ms: 600_000,
            host_reboot_ms: 3_000,
            host_shutdown_delay_ms: 10_000,
            restart_ms: 500,
            import_bytes_per_second: 0,
            crash_loses_seconds: 300,
            clock_skew_seconds: 0,
            max_storage_migrations: 3,
            max_queued: 100,
            queue_seconds: 7_200,
            max_finished_tasks: 200,
            finished_task_seconds: 65 * 60,
            max_sessions_per_originator: 500,
            max_anonymous_sessions: 400,
            max_chain: 30,
        }
    }
}

/// A knob's milliseconds as a duration.
pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
