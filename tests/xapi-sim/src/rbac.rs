//! Roles: who may call what.

use std::str::FromStr;

use crate::error::{ApiError, ApiResult};

/// XAPI's roles, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    ReadOnly,
    VmOperator,
    VmAdmin,
    VmPowerAdmin,
    PoolOperator,
    PoolAdmin,
}

pub(crate) const ROLES: [(Role, &str); 6] = [
    (Role::ReadOnly, "read-only"),
    (Role::VmOperator, "vm-operator"),
    (Role::VmAdmin, "vm-admin"),
    (Role::VmPowerAdmin, "vm-power-admin"),
    (Role::PoolOperator, "pool-operator"),
    (Role::PoolAdmin, "pool-admin"),
];

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        ROLES.iter().find(|(_, name)| *name == text).map(|(role, _)| *role).ok_or_else(|| format!("no role {text}"))
    }
}

/// Classes whose plain fields a VM administrator may set.
const VM_CLASSES: &[&str] = &["VM", "VBD", "VIF", "VDI", "VM_group", "VTPM", "console", "VM_guest_metrics"];

/// The least role that a message needs. The model names a certificate's role instead of a person's for some messages.
pub(crate) fn required(class: &str, message: &str, listed: Option<&str>) -> Role {
    if message.starts_with("get_") && listed.is_none() {
        return Role::ReadOnly;
    }
    match (class, message, listed) {
        ("VM", "shutdown" | "suspend", _) => Role::VmOperator,
        ("VM", "start_on" | "resume_on" | "pool_migrate" | "restart_device_models", _) => Role::VmPowerAdmin,
        (_, _, Some("client-cert")) => Role::PoolOperator,
        (_, _, Some(name)) => name.parse().unwrap_or(Role::PoolAdmin),
        ("task", _, None) => Role::ReadOnly,
        (_, _, None) if VM_CLASSES.contains(&class) => Role::VmAdmin,
        (_, _, None) => Role::PoolOperator,
    }
}

pub(crate) fn check(role: Role, needed: Role, method: &str) -> ApiResult<()> {
    if role >= needed {
        return Ok(());
    }
    let with: Vec<&str> = ROLES.iter().rev().filter(|(r, _)| *r >= needed).map(|(_, name)| *name).collect();
    let text = format!("No permission in user session. (Roles with this permission: {})", with.join(", "));
    Err(ApiError::new("RBAC_PERMISSION_DENIED", [method, text.as_str()]))
}
