//! Which requests go wrong, and how. Pure: time is passed in, and dice are a function of the seed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// Which requests a rule is about. What is not given matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matching {
    /// The HTTP method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path without its query. `*` stands for any characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The action (see [`crate::action`]). `*` stands for any characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Whether it changes something at the server (see [`crate::action::changes`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<bool>,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Answered here. The server does not see it.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The body.
        #[serde(default)]
        body: String,
        /// Its media type.
        #[serde(default = "plain")]
        content_type: String,
    },
    /// Passed on after a while.
    Delay {
        /// How long, in milliseconds.
        milliseconds: u64,
    },
    /// The connection is reset. The server does not see the request.
    ResetBefore,
    /// The server answers, and the connection is cut instead of passing the reply on.
    DropAfter,
    /// The server answers, and the connection is cut after the first half of the reply's body.
    Truncate,
    /// The server answers, and the reply's body comes in sixteen pieces, each after so long.
    Drip {
        /// How long, in milliseconds.
        milliseconds: u64,
    },
    /// No reply ever comes. The server does not see the request.
    Hang,
    /// The server answers, and no reply ever comes.
    HangAfter,
    /// A read is answered with what the same read was answered with before, where it was. The server does not see it.
    Stale,
}

fn plain() -> String {
    "text/plain".to_owned()
}

/// A rate that a server allows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests a second.
    pub per_second: f64,
    /// Requests at once after a rest.
    pub burst: f64,
}

/// Requests that go wrong in one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What the audit log calls it.
    pub name: String,
    /// Which requests.
    #[serde(default, rename = "match")]
    pub matching: Matching,
    /// What happens to them.
    pub fault: Fault,
    /// The first so many matching requests pass.
    #[serde(default)]
    pub skip: u64,
    /// It happens so often, then no more. Not given: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// It happens with this probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chance: Option<f64>,
    /// It happens to requests beyond this rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

impl Rule {
    /// Every request for the action goes wrong in this way.
    #[must_use]
    pub fn on(action: &str, fault: Fault) -> Self {
        let matching = Matching { action: Some(action.to_owned()), ..Matching::default() };
        Self { name: action.to_owned(), matching, fault, skip: 0, times: None, chance: None, rate: None }
    }

    /// So often.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// With this probability.
    #[must_use]
    pub fn chance(mut self, chance: f64) -> Self {
        self.chance = Some(chance);
        self
    }
}

/// What the dice come from. The same seed and the same requests for a rule give the same faults, whatever other
/// requests come between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(pub u64);

impl Seed {
    /// A number in 0..1 for the `n`th request that a rule looks at.
    fn roll(self, rule: &str, n: u64) -> f64 {
        // FNV-1a over all three, then splitmix64's finish: enough for tests, the same on every machine.
        let bytes = self.0.to_le_bytes().into_iter().chain(n.to_le_bytes()).chain(rule.bytes());
        let mut hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let unit = (hash >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    }
}

/// A request, as far as rules look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub action: &'a str,
}

impl Matching {
    fn covers(&self, request: &Request<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(request.method))
            && self.path.as_ref().is_none_or(|pattern| glob(pattern, request.path))
            && self.action.as_ref().is_none_or(|pattern| glob(pattern, request.action))
            && self.changes.is_none_or(|changes| crate::action::changes(request.method, request.action) == changes)
    }
}

/// Whether the text fits a pattern in which `*` stands for any characters.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.into_iter().any(|at| glob(rest, &text[at..]))
        }),
    }
}

#[derive(Clone, Debug)]
struct Active {
    rule: Rule,
    matched: u64,
    fired: u64,
    tokens: f64,
    filled: Option<Instant>,
}

impl Active {
    fn is_beyond(&mut self, rate: Rate, now: Instant) -> bool {
        let passed = self.filled.map_or(Duration::MAX, |filled| now.saturating_duration_since(filled));
        self.tokens = (self.tokens + passed.as_secs_f64() * rate.per_second).min(rate.burst);
        self.filled = Some(now);
        let beyond = self.tokens < 1.0;
        if !beyond {
            self.tokens -= 1.0;
        }
        beyond
    }

    fn fires(&mut self, seed: Seed, now: Instant) -> bool {
        let n = self.matched;
        self.matched += 1;
        if n < self.rule.skip || self.rule.times.is_some_and(|times| self.fired >= times) {
            return false;
        }
        let lucky = self.rule.chance.is_none_or(|chance| seed.roll(&self.rule.name, n) < chance);
        let fires = lucky && self.rule.rate.is_none_or(|rate| self.is_beyond(rate, now));
        self.fired += u64::from(fires);
        fires
    }
}

/// The rules in force, first to last. The first that fires decides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    seed: Seed,
    active: Vec<Active>,
}

impl Rules {
    pub(crate) fn add(&mut self, rule: Rule) {
        self.active.push(Active { rule, matched: 0, fired: 0, tokens: 0.0, filled: None });
    }

    /// Ends all rules and sets the seed of those to come.
    pub(crate) fn reset(&mut self, seed: Seed) {
        *self = Self { seed, active: Vec::new() };
    }

    pub(crate) fn rules(&self) -> Vec<Rule> {
        self.active.iter().map(|active| active.rule.clone()).collect()
    }

    /// Whether one of them does this.
    pub(crate) fn have(&self, fault: &Fault) -> bool {
        self.active.iter().any(|active| active.rule.fault == *fault)
    }

    /// How often each rule has fired, by name.
    pub(crate) fn fired(&self) -> BTreeMap<String, u64> {
        let mut fired = BTreeMap::new();
        for active in &self.active {
            *fired.entry(active.rule.name.clone()).or_default() += active.fired;
        }
        fired
    }

    /// The rule that this request meets.
    pub(crate) fn judge(&mut self, request: &Request<'_>, now: Instant) -> Option<Rule> {
        let seed = self.seed;
        let mut meant = self.active.iter_mut().filter(|active| active.rule.matching.covers(request));
        meant.find_map(|active| active.fires(seed, now).then(|| active.rule.clone()))
    }
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
