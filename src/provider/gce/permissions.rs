//! What the credentials permit on an instance of ours, asked without doing anything. Google answers which of the permissions
//! asked about the caller has; it can only be asked about something that is there.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use super::{action::Action, client::Request, convert::Seen, core::Core, wire::Permitted};
use crate::provider::{Missing, Result, rented::snapshot::Rented as _};

/// Time between two times of asking.
const HOURLY: Duration = Duration::from_hours(1);

/// What is asked about, and what guests cannot have without it.
const ASKED: [(&str, &str); 9] = [
    ("compute.instances.start", "guests cannot be started again"),
    ("compute.instances.stop", "guests cannot be stopped"),
    ("compute.instances.suspend", "guests cannot be suspended"),
    ("compute.instances.resume", "guests that sleep cannot be woken"),
    ("compute.instances.delete", "guests cannot be removed"),
    ("compute.instances.attachDisk", "disks cannot be added to guests"),
    ("compute.instances.setMachineType", "guests cannot be resized"),
    ("compute.instances.setDeletionProtection", "guests cannot be protected"),
    ("compute.instances.setLabels", "instances cannot be adopted, released or marked as protected"),
];

/// What is known of the permissions.
#[derive(Clone, Debug, Default)]
pub(super) struct Permissions {
    asked: Option<Instant>,
    missing: Vec<Missing>,
}

impl Permissions {
    fn is_due(&self, now: Instant) -> bool {
        self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= HOURLY)
    }
}

/// What is missing, as it was found within the last hour. Nothing is known before there is an instance.
pub(super) async fn missing_now(core: &Core) -> Vec<Missing> {
    let example = core.view.snapshot().all().find(|seen| seen.is_live() && !seen.guest.busy).cloned();
    if let Some(seen) = example.filter(|_| core.permissions().is_due(Instant::now())) {
        // An answer that fails says nothing about permissions.
        if let Ok(permitted) = ask(core, &seen).await {
            let missing = missing(&permitted);
            *core.permissions() = Permissions { asked: Some(Instant::now()), missing };
        }
    }
    core.permissions().missing.clone()
}

async fn ask(core: &Core, seen: &Seen) -> Result<Permitted> {
    let wanted: Vec<&str> = ASKED.iter().map(|(name, _)| *name).collect();
    let request = Request::new(Method::POST, format!("{}/testIamPermissions", seen.path()));
    let request = request.body(json!({ "permissions": wanted }));
    core.api.call("ask what is permitted", Action::TestPermissions, &request).await
}

fn missing(permitted: &Permitted) -> Vec<Missing> {
    let lacks = ASKED.iter().filter(|(name, _)| !permitted.permissions.iter().any(|have| have == name));
    let tell = |(name, without): &(&str, &str)| Missing {
        what: (*name).to_owned(),
        why: format!("{without}; add it to the role, see examples/gce"),
    };
    lacks.map(tell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_cannot_be_done_and_what_to_do() {
        let all = ASKED.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(missing(&Permitted { permissions: all.clone().collect() }), []);
        let [one] = &missing(&Permitted { permissions: all.skip(1).collect() })[..] else { panic!() };
        assert_eq!(one.what, "compute.instances.start");
        assert_eq!(one.why, "guests cannot be started again; add it to the role, see examples/gce");
    }

    #[test]
    fn is_asked_hourly() {
        let now = Instant::now();
        assert!(Permissions::default().is_due(now));
        let asked = Permissions { asked: Some(now), missing: Vec::new() };
        assert!(!asked.is_due(now + HOURLY / 2) && asked.is_due(now + HOURLY));
    }
}
