//! Disk data in: by HTTP to a host that sees the disk's storage, with a task that tells how it went.

use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;

use super::{
    call_error::CallError,
    client::{Client, Nature, args},
    endpoint,
    records::Task,
    session::Link,
    task::{Progress, outcome},
    transport::RequestError,
    value::Ref,
};

/// How long a task may take to end after the connection that fed it is gone.
const AFTERMATH: Duration = Duration::from_secs(10);

/// What a host answers to data.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It took them. How that went, the task tells.
    Here,
    /// It does not see the storage, and names a host that does.
    Elsewhere(String),
    /// It does not know the session.
    Unauthorized,
}

impl Client {
    /// Writes these bytes to the beginning of a disk, through the member of this address or else the coordinator. They may
    /// be written twice: they are the same. A host that sends us elsewhere is followed to a member and to nobody else.
    pub(super) async fn fill(
        &self,
        disk: &str,
        data: Vec<u8>,
        through: Option<&str>,
        members: &[String],
    ) -> Result<(), CallError> {
        let until = Instant::now() + self.timing.task;
        let label = args!["innkeeper: first boot disk", ""];
        let task: Ref<Task> = self.call("task.create", label, Nature::Once, self.timing.call).await?;
        let sent = self.send(disk, data, through, members, &task, until).await;
        let ended = match sent {
            Ok(()) => self.follow(&task, until).await,
            // It may have got all of it.
            Err(CallError::Unknown { .. }) => self.follow(&task, until.min(Instant::now() + AFTERMATH)).await,
            Err(error) => {
                self.forget_task(&task).await;
                return Err(error);
            }
        };
        let ended = match ended {
            Ok(Progress::Pending) => self.cancel("the import", &task).await,
            other => other.and_then(outcome),
        };
        if !matches!(ended, Err(CallError::Unknown { .. })) {
            self.forget_task(&task).await;
        }
        ended.map(|_| ())
    }

    async fn send(
        &self,
        disk: &str,
        data: Vec<u8>,
        through: Option<&str>,
        members: &[String],
        task: &Ref<Task>,
        until: Instant,
    ) -> Result<(), CallError> {
        let _permit = self.permit(until).await?;
        let link = self.sessions.link(until).await?;
        let member = |address: &str| {
            let unusable = || CallError::Unreachable { why: format!("{address} is not an address of a host") };
            endpoint::of_member(&link.endpoint, address).ok_or_else(unusable)
        };
        let mut host = through.map_or_else(|| Ok(link.endpoint.clone()), member)?;
        for _ in 0..2 {
            match self.put(&link, &host, disk, data.clone(), task, until).await? {
                Taken::Here => return Ok(()),
                Taken::Unauthorized => return Err(CallError::Unreachable { why: "the session has ended".into() }),
                Taken::Elsewhere(named) => {
                    let Some(address) = members.iter().find(|address| is_same_host(address, &named)) else {
                        let why = format!("data are sent on to {named}, which is not a host of the pool");
                        return Err(CallError::Distrusted { why });
                    };
                    host = member(address)?;
                }
            }
        }
        Err(CallError::Unreachable { why: "no host takes data for the disk".into() })
    }

    async fn put(
        &self,
        link: &Link,
        host: &Url,
        disk: &str,
        data: Vec<u8>,
        task: &Ref<Task>,
        until: Instant,
    ) -> Result<Taken, CallError> {
        let mut url = host.clone();
        url.set_path("/import_raw_vdi");
        url.query_pairs_mut()
            .append_pair("vdi", disk)
            .append_pair("format", "raw")
            .append_pair("task_id", &task.to_string());
        self.transport.put(url, &link.session, data, until).await.map_err(|error| match error {
            RequestError::Unreachable { why, distrust: true, .. } => CallError::Distrusted { why },
            error @ RequestError::Unreachable { .. } => CallError::Unreachable { why: error.to_string() },
            error => CallError::Unknown { why: error.to_string() },
        })
    }
}

/// Whether an address of a host's record and a name in a URL are the same: IPv6 addresses come with brackets and without.
fn is_same_host(address: &str, named: &str) -> bool {
    let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    bare(address) == bare(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_by_their_addresses() {
        for (address, named, same) in [
            ("10.0.0.2", "10.0.0.2", true),
            ("2001:db8::2", "[2001:db8::2]", true),
            ("xen2.example.org", "XEN2.example.org", true),
            ("10.0.0.2", "10.0.0.20", false),
            ("10.0.0.2", "evil.example.org", false),
        ] {
            assert_eq!(is_same_host(address, named), same, "{address} {named}");
        }
    }
}
