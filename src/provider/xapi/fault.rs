//! XAPI's error codes, sorted into what the caller may do about them.

use std::fmt;

use crate::provider::ErrorKind;

/// An error as XAPI gives it: a code and what belongs to it. Which parameters a code has differs by version, so nothing
/// relies on their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: String,
    pub(super) params: Vec<String>,
}

impl Fault {
    pub(super) fn new(code: impl Into<String>, params: Vec<String>) -> Self {
        let code = code.into();
        // Its parameter is the session itself: whoever reads it in a log could act as us.
        let params = if code.starts_with("SESSION_INVALID") { Vec::new() } else { params };
        Self { code, params }
    }

    pub(super) fn is(&self, code: &str) -> bool {
        self.code == code
    }

    pub(super) fn param(&self, index: usize) -> &str {
        self.params.get(index).map_or("", String::as_str)
    }

    /// The object is not there (any more).
    pub(super) fn is_gone(&self) -> bool {
        self.is("HANDLE_INVALID") || self.is("UUID_INVALID")
    }

    /// What kind of failure it is, where nothing more is known than the code.
    pub(super) fn kind(&self) -> ErrorKind {
        let code = self.code.as_str();
        KINDS
            .iter()
            .find(|(_, codes)| codes.contains(&code))
            .map(|(kind, _)| *kind)
            .or_else(|| by_prefix(code))
            .unwrap_or(ErrorKind::Invalid)
    }
}

/// What a storage manager's code means where more is known than that storage failed: from the error table of the storage
/// manager, `XE_SR_ERRORCODES.xml`.
fn by_prefix(code: &str) -> Option<ErrorKind> {
    if let Some(number) = code.strip_prefix("SR_BACKEND_FAILURE_") {
        return Some(match number {
            // Full: the repository, its volume group, or what an array keeps for snapshots.
            "44" | "127" | "129" | "167" | "180" => ErrorKind::Capacity,
            // Not offered by this kind of storage, or asked for wrongly: no retry helps.
            "1" | "38" | "60" | "66" | "79" | "168" => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        });
    }
    [
        ("HA_CONSTRAINT_VIOLATION", ErrorKind::Capacity),
        ("HOST_MASTER_", ErrorKind::Unavailable),
        ("HOST_UNKNOWN", ErrorKind::Unavailable),
        ("RBAC_PERMISSION_DENIED", ErrorKind::Auth),
        ("SESSION_INVALID", ErrorKind::Unavailable),
        ("DEVICE_DETACH_", ErrorKind::Unavailable),
    ]
    .into_iter()
    .find(|(prefix, _)| code.starts_with(prefix))
    .map(|(_, kind)| kind)
}

/// What to do about a storage manager's failure, where there is something to do that its own words do not say.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code.strip_prefix("SR_BACKEND_FAILURE_")? {
        "44" | "180" => "free or add space on the storage repository",
        "46" | "47" => "check that the storage is reachable from the host and that its PBD is plugged",
        "67" | "68" | "141" => "check the iSCSI target and what it lets the host see",
        "72" | "73" | "108" => "check the NFS server and its exports",
        "109" => "remove snapshots of the disk and wait until they are coalesced",
        "111" => "check the SMB server and its share",
        "202" | "1200" => "the log of the storage manager on the host (/var/log/SMlog) says more",
        "461" => "the file system of the storage is read-only or full",
        _ => return None,
    })
}

const KINDS: [(ErrorKind, &[&str]); 5] = [
    (
        ErrorKind::Capacity,
        &[
            "HOST_NOT_ENOUGH_FREE_MEMORY",
            "HOST_NOT_ENOUGH_PCPUS",
            "NO_HOSTS_AVAILABLE",
            "SR_FULL",
            "NETWORK_SRIOV_INSUFFICIENT_CAPACITY",
            "HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN",
            "OUT_OF_SPACE",
            "PGPU_INSUFFICIENT_CAPACITY_FOR_VGPU",
            "PROVISION_FAILED_OUT_OF_SPACE",
            "SR_SOURCE_SPACE_INSUFFICIENT",
            "SR_SUSPEND_SPACE_INSUFFICIENT",
        ],
    ),
    (ErrorKind::NotFound, &["HANDLE_INVALID", "UUID_INVALID"]),
    (
        ErrorKind::Auth,
        &[
            "PERMISSION_DENIED",
            "SESSION_AUTHENTICATION_FAILED",
            "SESSION_AUTHORIZATION_FAILED",
            "SESSION_NOT_REGISTERED",
            "USER_IS_NOT_LOCAL_SUPERUSER",
            "SUBJECT_CANNOT_BE_RESOLVED",
        ],
    ),
    (ErrorKind::Throttled, &["TOO_MANY_PENDING_TASKS", "TOO_MANY_STORAGE_MIGRATES", "TOO_BUSY"]),
    (
        ErrorKind::Unavailable,
        &[
            "CANNOT_CONTACT_HOST",
            "HOST_DISABLED",
            "HOST_IN_EMERGENCY_MODE",
            "HOST_IN_USE",
            "HOST_IS_SLAVE",
            "HOST_NOT_LIVE",
            "HOST_OFFLINE",
            "HOST_STILL_BOOTING",
            "INTERNAL_ERROR",
            "NOT_SUPPORTED_DURING_UPGRADE",
            // Somebody provisioned the clone between our look and our call: the next look shows it.
            "ONLY_PROVISION_TEMPLATE",
            "OTHER_OPERATION_IN_PROGRESS",
            "SR_HAS_NO_PBDS",
            "SR_NOT_ATTACHED",
            "SYSTEM_STATUS_RETRIEVAL_FAILED",
            "TASK_CANCELLED",
            "VDI_IN_USE",
            "VDI_NOT_AVAILABLE",
            "VM_BAD_POWER_STATE",
            "VM_CRASHED",
            "VM_HALTED",
            "VM_REBOOTED",
            "VM_SHUTDOWN_TIMEOUT",
            "XENAPI_MISSING_PLUGIN",
        ],
    ),
];

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        let said: Vec<&str> = match self.code.strip_prefix("SR_BACKEND_FAILURE_") {
            // The first parameter is empty, the second is the message, the third more of it.
            Some(_) => self.params.iter().skip(1).map(String::as_str).filter(|p| !p.is_empty()).collect(),
            None => self.params.iter().map(String::as_str).filter(|p| !p.is_empty()).collect(),
        };
        match (self.code.as_str(), said.as_slice()) {
            (_, []) => Ok(()),
            ("HOST_NOT_ENOUGH_FREE_MEMORY", [need, free, ..]) => write!(f, ": {need} bytes needed, {free} bytes free"),
            ("OPERATION_BLOCKED", [_, reason, ..]) => write!(f, ": {reason}"),
            (_, said) => write!(f, ": {}", said.join(", ")),
        }?;
        remedy(&self.code).map_or(Ok(()), |remedy| write!(f, " ({remedy})"))
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: &str, params: &[&str]) -> Fault {
        Fault::new(code, params.iter().map(|p| (*p).to_owned()).collect())
    }

    #[test]
    fn codes_are_sorted() {
        for (code, kind) in [
            ("HOST_NOT_ENOUGH_FREE_MEMORY", ErrorKind::Capacity),
            ("NO_HOSTS_AVAILABLE", ErrorKind::Capacity),
            ("SR_FULL", ErrorKind::Capacity),
            ("SR_BACKEND_FAILURE_44", ErrorKind::Capacity),
            ("SR_BACKEND_FAILURE_180", ErrorKind::Capacity),
            ("SR_BACKEND_FAILURE_38", ErrorKind::Invalid),
            ("SR_BACKEND_FAILURE_79", ErrorKind::Invalid),
            ("SR_BACKEND_FAILURE_109", ErrorKind::Unavailable),
            ("HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN", ErrorKind::Capacity),
            ("HA_CONSTRAINT_VIOLATION_NETWORK_NOT_SHARED", ErrorKind::Capacity),
            ("HANDLE_INVALID", ErrorKind::NotFound),
            ("UUID_INVALID", ErrorKind::NotFound),
            ("SESSION_AUTHENTICATION_FAILED", ErrorKind::Auth),
            ("RBAC_PERMISSION_DENIED", ErrorKind::Auth),
            ("RBAC_PERMISSION_DENIED_FRIENDLY", ErrorKind::Auth),
            ("TOO_MANY_PENDING_TASKS", ErrorKind::Throttled),
            ("OTHER_OPERATION_IN_PROGRESS", ErrorKind::Unavailable),
            ("VDI_IN_USE", ErrorKind::Unavailable),
            ("HOST_OFFLINE", ErrorKind::Unavailable),
            ("OPERATION_BLOCKED", ErrorKind::Invalid),
            ("VM_HAS_PCI_ATTACHED", ErrorKind::Invalid),
            ("VM_INCOMPATIBLE_WITH_THIS_HOST", ErrorKind::Invalid),
            ("NOT_SUPPORTED_DURING_UPGRADE", ErrorKind::Unavailable),
            ("TOO_MANY_STORAGE_MIGRATES", ErrorKind::Throttled),
            ("LICENCE_RESTRICTION", ErrorKind::Invalid),
            ("LICENSE_RESTRICTION", ErrorKind::Invalid),
            ("A_CODE_FROM_THE_FUTURE", ErrorKind::Invalid),
        ] {
            assert_eq!(fault(code, &[]).kind(), kind, "{code}");
        }
    }

    #[test]
    fn no_code_is_sorted_twice() {
        let mut all: Vec<&str> = KINDS.iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn messages_say_what_people_need() {
        for (fault, text) in [
            (fault("NO_HOSTS_AVAILABLE", &[]), "NO_HOSTS_AVAILABLE"),
            (
                fault("HOST_NOT_ENOUGH_FREE_MEMORY", &["1095761920", "0"]),
                "HOST_NOT_ENOUGH_FREE_MEMORY: 1095761920 bytes needed, 0 bytes free",
            ),
            (fault("OPERATION_BLOCKED", &["OpaqueRef:1", "legal hold 42"]), "OPERATION_BLOCKED: legal hold 42"),
            (
                fault("SR_BACKEND_FAILURE_44", &["", "There is insufficient space", ""]),
                "SR_BACKEND_FAILURE_44: There is insufficient space (free or add space on the storage repository)",
            ),
            (fault("SR_BACKEND_FAILURE_16", &["", "in use", ""]), "SR_BACKEND_FAILURE_16: in use"),
        ] {
            assert_eq!(fault.to_string(), text);
        }
    }

    #[test]
    fn a_session_is_never_repeated() {
        let fault = fault("SESSION_INVALID", &["OpaqueRef:secret"]);
        assert!(!format!("{fault:?} {fault}").contains("secret"));
    }
}
