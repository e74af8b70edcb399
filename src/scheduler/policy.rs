//! From a workload's `placement` to the engine's policy. Pure.

use std::time::Duration;

use jiff::SignedDuration;

use crate::{
    api::{
        cloud_pool::TaintEffect,
        selector::{Operator, Requirement, Selector},
        virtual_workload::{
            AffinityTerm, BurstPolicy, Isolation, Objective, Placement, SpotPolicy, Spread, Toleration,
            WhenUnsatisfiable,
        },
    },
    plan,
};

/// How long a guest waits for room on owned hardware when its workload does not say.
const DEFAULT_BURST: SignedDuration = SignedDuration::from_mins(2);

/// How long there must have been room at home before a guest returns, when its workload does not say.
const DEFAULT_RETURN: SignedDuration = SignedDuration::from_hours(1);

/// The engine's policy.
pub(super) fn policy(placement: Option<&Placement>) -> plan::Policy {
    let Placement {
        pool_selector,
        jurisdictions,
        preferred,
        data_class,
        certifications,
        spread: spreads,
        isolation,
        affinity: near,
        anti_affinity: apart,
        burst,
        spot,
        // Who waits for a lost pool is decided by the guest controller.
        on_pool_lost: _,
        objective,
        tolerations,
        priority,
        monthly_budget,
    } = placement.cloned().unwrap_or_default();
    let near = near.into_iter().map(|term| affinity(term, plan::Side::Near));
    let apart = apart.into_iter().map(|term| affinity(term, plan::Side::Apart));
    plan::Policy {
        pool_selector: pool_selector.map(selector).unwrap_or_default(),
        preferred: preferred
            .into_iter()
            .map(|wish| plan::Preference { weight: wish.weight, selector: selector(wish.pool_selector) })
            .collect(),
        jurisdictions: jurisdictions.map(|law| law.allow.into_iter().map(|code| code.0).collect()),
        data_class,
        certifications: certifications.into_iter().map(|name| name.0).collect(),
        spread: spreads.into_iter().map(spread).collect(),
        isolation: match isolation {
            Some(Isolation::DedicatedHost) => plan::Isolation::DedicatedHost,
            Some(Isolation::Shared) | None => plan::Isolation::Shared,
        },
        spot: spot == Some(SpotPolicy::Allowed),
        affinity: near.chain(apart).collect(),
        burst: match burst.as_ref().map(|burst| burst.policy) {
            Some(BurstPolicy::Never) => plan::Burst::Never,
            Some(BurstPolicy::WhenFull) | None => plan::Burst::WhenFull {
                return_home: burst
                    .as_ref()
                    .and_then(|burst| burst.return_home.as_ref())
                    .map(|home| home.after.map_or(DEFAULT_RETURN, |span| signed(span.0))),
                after: burst.and_then(|burst| burst.after).map_or(DEFAULT_BURST, |span| signed(span.0)),
            },
        },
        objective: match objective {
            Some(Objective::Performance) => plan::Objective::Performance,
            Some(Objective::Density) => plan::Objective::Density,
            Some(Objective::Cost) | None => plan::Objective::Cost,
        },
        tolerations: tolerations.into_iter().map(toleration).collect(),
        priority: priority.unwrap_or_default(),
        budget: monthly_budget,
    }
}

/// The engine's label selector.
pub(super) fn selector(selector: Selector) -> plan::Selector {
    let expression = |requirement: Requirement| plan::Expression {
        key: requirement.key,
        operator: match requirement.operator {
            Operator::In => plan::Operator::In,
            Operator::NotIn => plan::Operator::NotIn,
            Operator::Exists => plan::Operator::Exists,
            Operator::DoesNotExist => plan::Operator::DoesNotExist,
        },
        values: requirement.values.into_iter().collect(),
    };
    plan::Selector {
        match_labels: selector.match_labels,
        match_expressions: selector.match_expressions.into_iter().map(expression).collect(),
    }
}

/// What a taint does, in the engine's words.
pub(super) fn effect(effect: TaintEffect) -> plan::Effect {
    match effect {
        TaintEffect::NoSchedule => plan::Effect::NoSchedule,
        TaintEffect::PreferNoSchedule => plan::Effect::PreferNoSchedule,
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn topology(key: String) -> plan::Topology {
    match key.as_str() {
        "host" => plan::Topology::Host,
        "pool" => plan::Topology::Pool,
        "jurisdiction" => plan::Topology::Jurisdiction,
        _ => plan::Topology::Label(key),
    }
}

fn spread(spread: Spread) -> plan::Spread {
    plan::Spread {
        topology: topology(spread.topology_key),
        max_skew: spread.max_skew,
        when_unsatisfiable: match spread.when_unsatisfiable {
            Some(WhenUnsatisfiable::ScheduleAnyway) => plan::WhenUnsatisfiable::ScheduleAnyway,
            Some(WhenUnsatisfiable::DoNotSchedule) | None => plan::WhenUnsatisfiable::DoNotSchedule,
        },
    }
}

fn affinity(term: AffinityTerm, kind: plan::Side) -> plan::Affinity {
    let workloads = term.workloads.into_iter().map(|name| name.0).collect();
    plan::Affinity { kind, workloads, topology: topology(term.topology_key) }
}

fn toleration(toleration: Toleration) -> plan::Toleration {
    plan::Toleration {
        key: toleration.key,
        value: toleration.value,
        effect: toleration.effect.map(effect),
        seconds: None,
    }
}
