//! Between the Lease as an object and what is decided on.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};

use super::decide::Record;

/// The term of a Lease that names none.
const USUAL_TERM: Duration = Duration::from_secs(15);

/// What a Lease says.
pub(super) fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    let term =
        spec.and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok()).map_or(USUAL_TERM, Duration::from_secs);
    Record {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty()),
        term,
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

/// How often the Lease has changed hands.
pub(super) fn transitions(lease: &Lease) -> u32 {
    lease.spec.as_ref().and_then(|spec| u32::try_from(spec.lease_transitions?).ok()).unwrap_or_default()
}

/// Makes it `holder`'s. `anew`: it was not before.
pub(super) fn claim(lease: &mut Lease, holder: &str, term: Duration, anew: bool, now: Timestamp) {
    let count = transitions(lease);
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(holder.to_owned());
    // Whole seconds; a candidate must not wait for less than we take.
    let seconds = term.as_secs() + u64::from(term.subsec_nanos() > 0);
    spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
    spec.renew_time = Some(MicroTime(now));
    if anew {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(i32::try_from(count.saturating_add(1)).unwrap_or(i32::MAX));
    }
}

/// Makes it nobody's. The count of transitions stays, so that the next leader's is higher.
pub(super) fn give_back(lease: &mut Lease, now: Timestamp) {
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(String::new());
    spec.renew_time = Some(MicroTime(now));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_passes_from_hand_to_hand_with_a_growing_count() {
        let mut lease = Lease::default();
        claim(&mut lease, "a", Duration::from_millis(2500), true, Timestamp::UNIX_EPOCH);
        assert_eq!(record(&lease).holder.as_deref(), Some("a"));
        assert_eq!((record(&lease).term, transitions(&lease)), (Duration::from_secs(3), 1));
        claim(&mut lease, "a", Duration::from_secs(2), false, Timestamp::UNIX_EPOCH);
        assert_eq!(transitions(&lease), 1);
        give_back(&mut lease, Timestamp::UNIX_EPOCH);
        assert_eq!((record(&lease).holder, transitions(&lease)), (None, 1));
        claim(&mut lease, "b", Duration::from_secs(2), true, Timestamp::UNIX_EPOCH);
        assert_eq!(transitions(&lease), 2);
    }
}
