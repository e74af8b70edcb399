//! What a test wants to know afterwards: every power transition, every object made and destroyed, and which domains
//! really ran where.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Entry {
    /// Milliseconds since 1970 by the machine's clock.
    pub(crate) at_ms: u128,
    /// `start`, `halt`, `suspend`, `resume`, `pause`, `unpause`, `reboot`, `migrate`, `create`, `destroy`, ...
    pub(crate) event: &'static str,
    /// `VM`, `VDI`, `host` or `domain`.
    pub(crate) class: &'static str,
    pub(crate) uuid: String,
    pub(crate) name: String,
    /// The uuid of the host where it happened, if anywhere.
    pub(crate) host: String,
    /// Whether this start makes a VM run that already runs somewhere.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) running_twice: bool,
}

/// A domain that really runs, whatever the database says of its VM.
#[derive(Debug, Clone)]
pub(crate) struct Domain {
    pub(crate) vm_uuid: String,
    pub(crate) vm: Arc<str>,
    /// The disks it writes to, by uuid.
    pub(crate) disks: Vec<String>,
    /// The reference of its host.
    pub(crate) host: Arc<str>,
}

/// The log and the running domains.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) entries: Vec<Entry>,
    pub(crate) domains: Vec<Domain>,
}

impl History {
    pub(crate) fn log(&mut self, event: &'static str, class: &'static str, uuid: &str, name: &str, host: &str) {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        self.entries.push(Entry {
            at_ms,
            event,
            class,
            uuid: uuid.to_owned(),
            name: name.to_owned(),
            host: host.to_owned(),
            running_twice: false,
        });
    }

    /// A domain begins to run. Marks the newest entry when the VM, or one of its disks, is in use by another one.
    pub(crate) fn domain_begins(&mut self, domain: Domain) {
        let twice = self
            .domains
            .iter()
            .any(|d| d.vm_uuid == domain.vm_uuid || d.disks.iter().any(|disk| domain.disks.contains(disk)));
        if let Some(last) = self.entries.last_mut().filter(|_| twice) {
            last.running_twice = true;
        }
        self.domains.push(domain);
    }

    /// A VM's domain on one host ends; `None` ends them on all.
    pub(crate) fn domain_ends(&mut self, vm: &str, host: Option<&str>) {
        self.domains.retain(|d| &*d.vm != vm || host.is_some_and(|h| &*d.host != h));
    }
}
