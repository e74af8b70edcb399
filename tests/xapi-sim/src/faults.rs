//! Trouble on demand: what shall go wrong, for which methods, how often.

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The call takes this much longer.
    Latency { ms: u64 },
    /// The connection is reset and nothing has happened.
    ResetBefore,
    /// The connection is reset although the call has had its effect.
    ResetAfter,
    /// `SESSION_INVALID`, though the session is valid.
    SessionInvalid,
    /// Any XAPI error instead of the effect.
    Error {
        code: String,
        #[serde(default)]
        params: Vec<String>,
    },
    /// Any XAPI error although the call has had its effect.
    ErrorAfter {
        code: String,
        #[serde(default)]
        params: Vec<String>,
    },
    /// `event.from` keeps silent about a deletion; `class` narrows it down.
    DropDeletion {
        #[serde(default)]
        class: Option<String>,
    },
    /// The task of an asynchronous call is gone before anyone can read it; the effect takes place.
    LoseTask,
    /// The answer trickles, so many bytes a second.
    SlowBytes { bytes_per_second: u64 },
}

/// A fault as a test orders it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fault {
    #[serde(default)]
    pub(crate) id: u64,
    /// A method name (`VM.start`, also met by `Async.VM.start`), a class with a star (`VM.*`), or `*`.
    pub(crate) method: String,
    #[serde(flatten)]
    pub(crate) kind: Kind,
    /// How many more times it strikes; absent is for ever.
    #[serde(default)]
    pub(crate) count: Option<u64>,
    /// How many matching calls pass before it first strikes.
    #[serde(default)]
    pub(crate) skip: u64,
    /// How likely it strikes, 0 to 1; drawn from `seed`, so a run can be repeated.
    #[serde(default = "always")]
    pub(crate) probability: f64,
    #[serde(default)]
    pub(crate) seed: u64,
    /// How often it has struck.
    #[serde(default)]
    pub(crate) struck: u64,
}

fn always() -> f64 {
    1.0
}

impl Fault {
    fn matches(&self, method: &str) -> bool {
        let plain = method.strip_prefix("Async.").unwrap_or(method);
        match self.method.strip_suffix('*') {
            Some(prefix) => plain.starts_with(prefix) || method.starts_with(prefix),
            None => self.method == plain || self.method == method,
        }
    }

    fn strikes(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.count == Some(0) || !self.drawn() {
            return false;
        }
        self.count = self.count.map(|c| c - 1);
        self.struck += 1;
        true
    }

    /// The next draw of a small generator (splitmix64): the state is the seed itself.
    fn drawn(&mut self) -> bool {
        if self.probability >= 1.0 {
            return true;
        }
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let share = f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(0)) / f64::from(u32::MAX);
        share < self.probability
    }
}

/// All faults in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) list: Vec<Fault>,
    next_id: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, mut fault: Fault) -> u64 {
        self.next_id += 1;
        fault.id = self.next_id;
        self.list.push(fault);
        self.next_id
    }

    /// Everything but dropped deletions that strikes this call.
    pub(crate) fn strike(&mut self, method: &str) -> Vec<Kind> {
        self.list
            .iter_mut()
            .filter(|f| !matches!(f.kind, Kind::DropDeletion { .. }) && f.matches(method))
            .filter_map(|f| f.strikes().then(|| f.kind.clone()))
            .collect()
    }

    /// Whether `event.from` shall keep silent about this deletion.
    pub(crate) fn drops_deletion(&mut self, class: &str) -> bool {
        self.list.iter_mut().any(|f| match &f.kind {
            Kind::DropDeletion { class: only } => {
                only.as_deref().is_none_or(|c| c.eq_ignore_ascii_case(class)) && f.strikes()
            }
            _ => false,
        })
    }
}
