//! When the same call is sent again. Pure.

use std::time::Duration;

use crate::provider::ErrorKind;

/// Whether a call changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Effect {
    /// It only reads.
    Read,
    /// It changes something.
    Write,
}

/// Times that a read is sent in all where the endpoint does not answer or fails.
const READ_ATTEMPTS: u32 = 3;

/// Times that any call is sent in all where it is throttled. A throttled call did nothing.
const THROTTLED_ATTEMPTS: u32 = 6;

/// How long to wait before the same call is sent again. `None`: it is not sent again. Waits begin with a hundredth of the
/// deadline and double each time, to at most a sixth of it; `dice` in 0..1 spreads them over their upper half.
pub(in crate::provider) fn pause(
    effect: Effect,
    kind: ErrorKind,
    attempts: u32,
    deadline: Duration,
    dice: f64,
) -> Option<Duration> {
    let most = match (kind, effect) {
        (ErrorKind::Throttled, _) => THROTTLED_ATTEMPTS,
        (ErrorKind::Unavailable, Effect::Read) => READ_ATTEMPTS,
        _ => return None,
    };
    let full = (deadline / 200 * (1 << attempts.min(8))).min(deadline / 6);
    (attempts < most).then(|| full.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[test]
    fn repeats_only_what_did_nothing() {
        use ErrorKind::{Auth, Capacity, Invalid, NotFound, Throttled, Unavailable, UnknownOutcome};
        for kind in [Capacity, Auth, Invalid, NotFound, UnknownOutcome] {
            assert_eq!(pause(Effect::Read, kind, 1, DEADLINE, 0.5), None, "{kind}");
            assert_eq!(pause(Effect::Write, kind, 1, DEADLINE, 0.5), None, "{kind}");
        }
        assert_eq!(pause(Effect::Write, Unavailable, 1, DEADLINE, 0.5), None);
        assert!(pause(Effect::Read, Unavailable, 1, DEADLINE, 0.5).is_some());
        assert!(pause(Effect::Write, Throttled, 1, DEADLINE, 0.5).is_some());
    }

    #[test]
    fn waits_grow_and_end() {
        let waits = |dice| (1..8).map(move |n| pause(Effect::Write, ErrorKind::Throttled, n, DEADLINE, dice));
        let most: Vec<_> = waits(1.0).flatten().map(|wait| wait.as_millis()).collect();
        assert_eq!(most, [300, 600, 1200, 2400, 4800]);
        for (low, high) in waits(0.0).flatten().zip(waits(1.0).flatten()) {
            assert_eq!(low * 2, high);
        }
        assert_eq!(pause(Effect::Read, ErrorKind::Unavailable, READ_ATTEMPTS, DEADLINE, 0.5), None);
    }
}
