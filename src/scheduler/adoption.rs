//! Guests that are to become of VMs that are there already: their place is not chosen but named. Pure.

use std::sync::Arc;

use kube::ResourceExt as _;

use super::{
    gather::{Assumed, valid_binding},
    policy::selector,
    pools::Namespaces,
};
use crate::{
    api::{CloudPool, Guest},
    plan::{self, Bound, Explanation, Lane, Plan, Reason},
};

/// The place that a guest's `adopt` names, whatever else lives there: its VM does already.
#[must_use]
pub fn named(guest: &Guest) -> Option<Bound> {
    let adoption = guest.spec.adopt.as_ref()?;
    let pool = adoption.pool.clone();
    Some(Bound { pool, host: None, instance_type: None, zone: None, spot: false })
}

/// The plan with bindings and reasons for the guests that adopt and are not bound yet.
#[must_use]
pub fn added(
    mut plan: Plan,
    guests: &[Arc<Guest>],
    pools: &[Arc<CloudPool>],
    namespaces: &Namespaces,
    assumed: &Assumed,
) -> Plan {
    for guest in guests {
        let Some(place) = named(guest) else { continue };
        if valid_binding(guest, assumed).is_some() || guest.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let uid = guest.uid().unwrap_or_default();
        let (reason, message) = match forbidden(guest, &place.pool, pools, namespaces) {
            Some(why) => (Reason::NoPoolFits, why),
            None => (Reason::Placed, format!("{}: the VM that it adopts is there", place.pool)),
        };
        plan.bindings.retain(|other| other.guest != uid);
        if reason == Reason::Placed {
            plan.bindings.push(plan::Binding { guest: uid.clone(), place, lane: Lane::Owned, hourly: None });
        }
        plan.explanations.retain(|other| other.guest != uid);
        plan.explanations.push(Explanation {
            guest: uid,
            reason,
            message,
            score: Vec::new(),
            runner_up: None,
            broken_wishes: Vec::new(),
            rejected: Vec::new(),
            rejected_more: 0,
            smallest_change: None,
        });
    }
    plan
}

/// Why a guest may not adopt a VM in a pool. A VM that was there before may be anybody's: whoever may adopt there has to
/// be named, also where everybody may place new guests.
fn forbidden(guest: &Guest, pool: &str, pools: &[Arc<CloudPool>], namespaces: &Namespaces) -> Option<String> {
    let Some(found) = pools.iter().find(|found| found.name_any() == pool) else {
        return Some(format!("spec.adopt names the pool {pool}, and there is no such CloudPool"));
    };
    if found.metadata.deletion_timestamp.is_some() {
        return Some(format!("spec.adopt names the pool {pool}, which is being deleted"));
    }
    let namespace = guest.namespace().unwrap_or_default();
    let Some(tenancy) = &found.spec.tenancy else {
        return Some(format!(
            "the CloudPool {pool} does not say who may adopt VMs there: write tenancy.namespaceSelector ({{}} is every \
             namespace)"
        ));
    };
    let labels = namespaces.get(&namespace);
    let open = labels.is_some_and(|labels| selector(tenancy.namespace_selector.clone()).matches(labels));
    (!open).then(|| format!("the tenancy of the CloudPool {pool} does not name the namespace {namespace}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn guest() -> Arc<Guest> {
        let guest = json!({
            "apiVersion": "innkeeper.dev/v1alpha1", "kind": "Guest",
            "metadata": { "name": "old-0", "namespace": "shop", "uid": "u1" },
            "spec": {
                "workload": "old",
                "template": { "image": { "name": "any" }, "size": { "vcpus": 1, "memory": "1Gi" } },
                "adopt": { "ordinal": 0, "pool": "xen", "providerId": "vm-9" },
            },
        });
        Arc::new(serde_json::from_value(guest).unwrap())
    }

    fn pool(tenancy: &serde_json::Value) -> Arc<CloudPool> {
        let pool = json!({
            "apiVersion": "innkeeper.dev/v1alpha1", "kind": "CloudPool", "metadata": { "name": "xen" },
            "spec": {
                "provider": { "xapi": { "endpoints": [], "credentialsSecretRef": { "namespace": "a", "name": "b" } } },
                "location": { "jurisdiction": "GB" }, "tenancy": tenancy,
                "pricing": { "owned": { "currency": "EUR", "monthlyRunningCost": "0" } },
            },
        });
        Arc::new(serde_json::from_value(pool).unwrap())
    }

    fn decided(pools: &[Arc<CloudPool>], assumed: &Assumed) -> Plan {
        let namespaces = [("shop".to_owned(), [("team".to_owned(), "shop".to_owned())].into())].into();
        let nothing = plan::World {
            now: jiff::Timestamp::UNIX_EPOCH,
            currency: "EUR".parse().unwrap(),
            rates: std::collections::BTreeMap::new(),
            pools: Vec::new(),
            guests: Vec::new(),
        };
        added(plan::decide(&nothing, &super::super::OPTIONS), &[guest()], pools, &namespaces, assumed)
    }

    #[test]
    fn a_guest_that_adopts_goes_where_its_vm_is_and_only_where_its_namespace_is_named() {
        let everybody = pool(&json!({ "namespaceSelector": {} }));
        let plan = decided(std::slice::from_ref(&everybody), &Assumed::default());
        assert_eq!((plan.bindings[0].place.pool.as_str(), plan.explanations[0].reason), ("xen", Reason::Placed));
        let ours = pool(&json!({ "namespaceSelector": { "matchLabels": { "team": "shop" } } }));
        assert_eq!(decided(&[ours], &Assumed::default()).bindings.len(), 1);
        let theirs = pool(&json!({ "namespaceSelector": { "matchLabels": { "team": "bank" } } }));
        for (pools, said) in [
            (vec![], "no such CloudPool"),
            (vec![theirs], "does not name the namespace shop"),
            (vec![pool(&json!(null))], "write tenancy.namespaceSelector"),
        ] {
            let plan = decided(&pools, &Assumed::default());
            assert_eq!((plan.bindings.len(), plan.explanations[0].reason), (0, Reason::NoPoolFits));
            assert!(plan.explanations[0].message.contains(said), "{}", plan.explanations[0].message);
        }
        let bound = crate::api::guest::Binding {
            pool: "xen".into(),
            incarnation: 1,
            host: None,
            instance_type: None,
            size: None,
            zone: None,
            spot: false,
        };
        let bindings = [("u1".to_owned(), bound)].into();
        let assumed = Assumed { bindings, ..Assumed::default() };
        let bound = decided(&[everybody], &assumed);
        assert!(bound.bindings.is_empty() && bound.explanations.is_empty(), "once");
    }
}
