//! Bringing a server to what is wished: its flavour and its lock.

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    convert::Seen,
    core::Core,
    create,
    driver::{MOVING, still, unlocked},
};
use crate::provider::{Amendment, ErrorKind, GuestWish, Power, ProviderError, Result};

const ACT: &str = "change the server";

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Have Nova refuse its removal.
    Hold,
    /// Have Nova refuse it no longer.
    LetGo,
    /// Give it another flavour. Only while it is off.
    Resize(String),
    /// Nova has given it the wished flavour, and keeps the old server until it is told that all is well.
    Confirm,
    /// It is between two states.
    Wait,
    /// Another flavour only while it is off.
    WhenOff(String),
}

/// What is to be done next. `None`: nothing.
fn next(wish: &GuestWish, seen: &Seen) -> Option<Step> {
    if seen.status == "BUILD" {
        return Some(Step::Wait);
    }
    if wish.protected != seen.held {
        return Some(if wish.protected { Step::Hold } else { Step::LetGo });
    }
    let wished = wish.instance_type.as_ref().filter(|wished| seen.guest.instance_type.as_ref() != Some(wished));
    match (wished, seen.status.as_str()) {
        (None, "VERIFY_RESIZE") => Some(Step::Confirm),
        (_, "RESIZE" | "REVERT_RESIZE") => Some(Step::Wait),
        (None, _) => None,
        (Some(_), _) if seen.guest.busy => Some(Step::Wait),
        (Some(wished), "SHUTOFF") => Some(Step::Resize(wished.clone())),
        (Some(_), "VERIFY_RESIZE") => Some(Step::Wait),
        (Some(wished), _) => Some(Step::WhenOff(wished.clone())),
    }
}

/// Does all that can be done now.
pub(super) async fn amend(core: &Core, wish: &GuestWish) -> Result<Amendment> {
    let deadline = Instant::now() + core.config.deadline;
    let turn = core.turn(&wish.key.guest);
    let _turn = turn.lock().await;
    let mut seen = core.existing(ACT, &wish.key).await?;
    possible(wish, &seen)?;
    loop {
        match next(wish, &seen) {
            None => return Ok(Amendment::Done(seen.guest)),
            Some(Step::WhenOff(to)) => {
                let why = format!("the flavour of the server is changed, here to {to}, only while it is off");
                return Ok(Amendment::WhenOff(seen.guest, why));
            }
            Some(Step::Hold) => create::hold(core, &seen, ACT).await?,
            Some(Step::LetGo) => core.act(ACT, &seen, json!({ "unlock": null })).await?,
            Some(Step::Resize(to)) => {
                let flavor = core.flavor(ACT, &to).await?;
                unlocked(core, ACT, &seen, json!({ "resize": { "flavorRef": flavor.id } })).await?;
            }
            Some(Step::Confirm) => confirm(core, &seen).await?,
            Some(Step::Wait) => {}
        }
        if Instant::now() + core.config.refresh.quick > deadline {
            return Err(still(ACT, &seen));
        }
        sleep(core.config.refresh.quick).await;
        seen = core.again(ACT, &seen).await?;
    }
}

/// Nova shows that a resize waits to be confirmed for a moment after it was, and refuses a second confirmation.
async fn confirm(core: &Core, seen: &Seen) -> Result<()> {
    match unlocked(core, ACT, seen, json!({ "confirmResize": null })).await {
        Err(error) if matches!(error.kind, ErrorKind::Invalid | ErrorKind::Unavailable) => Ok(()),
        other => other,
    }
}

/// Refuses what no step leads to.
fn possible(wish: &GuestWish, seen: &Seen) -> Result<()> {
    let refuse = |message: String| Err(ProviderError::new(ErrorKind::Invalid, ACT, message));
    if let Some(disk) = wish.disks.first() {
        return refuse(format!("disk {} cannot be made: further disks are not supported at OpenStack yet", disk.name));
    }
    if let (Some(size), Some(gib)) = (wish.root_disk, seen.disk)
        && size.0 > gib << 30
        && wish.instance_type == seen.guest.instance_type
    {
        return refuse(format!(
            "the disk that it boots from has {gib} GiB, as its flavour says: it grows only with another flavour"
        ));
    }
    if seen.guest.power == Power::Unknown {
        let error = still(ACT, seen);
        return Err(error.with_retry_after(MOVING));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::quantity::Bytes, provider::Key};

    fn wish(kind: &str, protected: bool) -> GuestWish {
        let key = Key { guest: "uid".into(), incarnation: 1, namespace: "shop".into(), name: "web-0".into() };
        let instance_type = Some(kind.to_owned());
        GuestWish { protected, instance_type, ..GuestWish::new(key, "image", 1, Bytes::gib(1)) }
    }

    fn seen(status: &str, busy: bool, held: bool) -> Seen {
        let mut seen = Seen::asked_for(wish("small", false).key, "s-1");
        (seen.status, seen.held) = (status.into(), held);
        (seen.guest.busy, seen.guest.power) = (busy, Power::Running);
        seen.guest.instance_type = Some("small".into());
        seen
    }

    #[test]
    fn one_step_after_the_other() {
        let large = || "large".to_owned();
        for (kind, protected, status, busy, held, expected) in [
            ("small", false, "ACTIVE", false, false, None),
            ("small", true, "ACTIVE", false, false, Some(Step::Hold)),
            // Nova locks nothing before it has found a host.
            ("small", true, "BUILD", true, false, Some(Step::Wait)),
            ("small", false, "ACTIVE", false, true, Some(Step::LetGo)),
            ("small", true, "ACTIVE", false, true, None),
            ("large", false, "ACTIVE", false, false, Some(Step::WhenOff(large()))),
            ("large", false, "SHUTOFF", false, false, Some(Step::Resize(large()))),
            ("large", false, "SHUTOFF", true, false, Some(Step::Wait)),
            ("large", false, "RESIZE", true, false, Some(Step::Wait)),
            ("small", false, "RESIZE", true, false, Some(Step::Wait)),
            ("small", false, "VERIFY_RESIZE", false, false, Some(Step::Confirm)),
            // Somebody has resized it by hand to something else: theirs to end.
            ("large", false, "VERIFY_RESIZE", false, false, Some(Step::Wait)),
        ] {
            let step = next(&wish(kind, protected), &seen(status, busy, held));
            assert_eq!(step, expected, "{kind} {protected} {status} {busy} {held}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut one = seen("ACTIVE", false, false);
        one.disk = Some(20);
        assert!(possible(&wish("small", false), &one).is_ok());
        let grown = GuestWish { root_disk: Some(Bytes::gib(30)), ..wish("small", false) };
        assert!(possible(&grown, &one).unwrap_err().message.contains("20 GiB"));
        assert!(possible(&GuestWish { root_disk: Some(Bytes::gib(30)), ..wish("large", false) }, &one).is_ok());
    }
}
