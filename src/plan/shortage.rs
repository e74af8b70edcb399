//! What a guest lacks in a pool, as things stand in the ledger: every rule about room, neighbours, limits and money that
//! fails there, with what was wanted, what there is and what is short.

use jiff::Timestamp;

use super::{
    candidate::Ask,
    class::{Choice, Class},
    cost::decimal,
    inventory::Capacity,
    ledger::{Ledger, Place},
    model::NONE,
    outcome::Lane,
    request::Topology,
    rule::{Failure, PaidFrom, Rule},
};
use crate::api::{
    money::{HOURS_PER_MONTH, Money},
    quantity::Bytes,
};

impl Ledger<'_, '_> {
    /// Every rule that a guest fails in a pool for what else lives there. None where it fits.
    pub(super) fn shortages(&self, ask: Ask, class: &Class<'_>, choice: &Choice, paid: PaidFrom) -> Vec<Failure> {
        let mut failures = Vec::new();
        let rented = matches!(self.model.world_pool(choice.pool).capacity, Capacity::Offerings(_));
        if rented && choice.offers.is_empty() {
            let size = &class.guest.size;
            let wanted = format!("{} vCPU, {}", size.vcpus, size.memory.human());
            let short = format!("no instance type on sale with {wanted}");
            failures.push(Failure::new(Rule::Offering, &wanted, "none", short));
        }
        let (lane, offer, price) = self.lanes(ask, choice).next().unwrap_or_else(|| {
            self.not_paid(choice, rented, paid, &mut failures);
            let cheapest = choice.offers.first();
            let offer = cheapest.map_or(NONE, |(offer, _)| *offer);
            let price = if rented { cheapest.and_then(|(_, price)| *price) } else { choice.running };
            (if rented { Lane::Paid } else { Lane::Owned }, offer, price)
        });
        let place = Place { pool: choice.pool, host: NONE, offer, lane };
        self.limit_shortages(ask.guest, place, &mut failures);
        self.money_shortages(class, place, price, &mut failures);
        if rented {
            self.neighbour_shortages(ask.guest, class, place, &mut failures);
        } else {
            self.host_shortages(ask, class, choice, place, &mut failures);
        }
        failures
    }

    fn not_paid(&self, choice: &Choice, rented: bool, paid: PaidFrom, failures: &mut Vec<Failure>) {
        match paid {
            _ if !rented => {
                let used = &self.pools[choice.pool as usize];
                let included = self.model.world_pool(choice.pool).pricing.subscription.as_ref();
                let free = included.map_or(0, |s| s.included_memory.0.saturating_sub(used.included_memory));
                let short = "the subscription is used up".to_owned();
                failures.push(Failure::new(Rule::Memory, Bytes(choice.memory.unsigned_abs()), Bytes(free), short));
            }
            PaidFrom::Never => {
                failures.push(Failure::new(
                    Rule::Burst,
                    "home",
                    "paid",
                    "paid by the hour, which it never uses".into(),
                ));
            }
            PaidFrom::At(at) => {
                let short = format!("paid by the hour, used from {} on", whole_seconds(at));
                failures.push(Failure::new(Rule::Burst, "home", "paid", short));
            }
            PaidFrom::Now => {}
        }
    }

    pub(super) fn limit_shortages(&self, guest: u32, place: Place, failures: &mut Vec<Failure>) {
        let (limits, used) = (self.limits(place.pool), &self.pools[place.pool as usize]);
        let (vcpus, memory) = self.counted(guest, place.pool, place.offer);
        if let Some(most) = limits.guests.filter(|most| used.guests >= *most) {
            failures.push(Failure::new(Rule::GuestLimit, 1, 0, format!("at its limit of {most} guests")));
        }
        if let Some(most) = limits.vcpus.filter(|most| vcpus > 0 && used.vcpus + vcpus > *most) {
            let left = most.saturating_sub(used.vcpus);
            let short = format!("{} vCPU over its limit of {most}", vcpus - left);
            failures.push(Failure::new(Rule::Vcpus, vcpus, left, short));
        }
        if let Some(most) = limits.memory.filter(|most| memory > 0 && used.memory + memory > most.0) {
            let left = most.0.saturating_sub(used.memory);
            let short = format!("{} memory over its limit of {}", Bytes(memory - left).human(), most.human());
            failures.push(Failure::new(Rule::Memory, Bytes(memory), Bytes(left), short));
        }
    }

    pub(super) fn money_shortages(
        &self,
        class: &Class<'_>,
        place: Place,
        price: Option<i64>,
        failures: &mut Vec<Failure>,
    ) {
        if !class.guest.powered_on {
            return;
        }
        let currency = self.model.rates.currency();
        let month = |nanos: i64| Money::new((decimal(nanos) * HOURS_PER_MONTH).round_dp(2).normalize(), currency);
        let mut judge = |rule: Rule, left: Option<i64>, what: &str| {
            let Some(left) = left else { return };
            let Some(price) = price else {
                let short = format!("its price has no rate into {currency}, so {what} cannot be kept");
                failures.push(Failure::new(rule, "a known price", "unknown", short));
                return;
            };
            if price > left && price > 0 {
                let short = format!("{} a month over {what}", month(price - left.max(0)));
                failures.push(Failure::new(rule, month(price), month(left.max(0)), short));
            }
        };
        if place.lane == Lane::Paid {
            judge(Rule::MonthlySpend, self.spend_left(place.pool), "its spending limit");
        }
        judge(Rule::Budget, self.budget_left(class), "the budget");
    }

    /// The host that lacks least speaks for the pool; where some have room, what keeps the guest off those.
    fn host_shortages(&self, ask: Ask, class: &Class<'_>, choice: &Choice, place: Place, failures: &mut Vec<Failure>) {
        const SPOKEN_FOR: usize = 3;
        let room = self.room(class);
        let mut nearest: Option<((usize, i64), u32)> = None;
        let mut others: Vec<Failure> = Vec::new();
        for host in self.model.pools[choice.pool as usize].hosts.clone() {
            if !self.model.hosts[host as usize].enabled || host == ask.not_host {
                continue;
            }
            if !self.has_room(host, choice.memory, &class.need) {
                let rank = self.lack(host, choice.memory, &class.need);
                if nearest.is_none_or(|(so_far, _)| rank < so_far) {
                    nearest = Some((rank, host));
                }
                continue;
            }
            // Words for a few hosts will do; whether one fits has to be asked of all.
            if others.len() >= SPOKEN_FOR {
                let agrees = self.tenants_agree(host, class)
                    && self.neighbours_agree(ask.guest, class, Place { host, ..place }, &room).is_some();
                if agrees {
                    return;
                }
                continue;
            }
            let mut of_host = Vec::new();
            if !self.tenants_agree(host, class) {
                let short = "no host free of other tenants".to_owned();
                of_host.push(Failure::new(Rule::DedicatedHost, "a host of one tenant", "shared hosts", short));
            }
            self.neighbour_shortages(ask.guest, class, Place { host, ..place }, &mut of_host);
            if of_host.is_empty() {
                return;
            }
            others.extend(of_host);
        }
        match nearest {
            _ if !others.is_empty() => {
                others.sort_by_key(|f| f.rule);
                others.dedup_by_key(|f| f.rule);
                failures.extend(others);
            }
            Some((_, host)) => failures.extend(self.lacks(host, choice.memory, &class.need)),
            None => failures.push(Failure::new(Rule::Memory, "a host", "none", "no host is enabled".into())),
        }
    }

    /// How much a host lacks: in how many things, and the largest lack of memory or vCPUs in 2^-30ths of the host.
    fn lack(&self, host: u32, memory: i64, need: &[i64]) -> (usize, i64) {
        let weight = self.model.hosts[host as usize].weight;
        let memory = (memory > 0).then(|| memory - self.free_memory[host as usize].max(0)).filter(|short| *short > 0);
        let mut things = usize::from(memory.is_some());
        let mut most = memory.map_or(0, |short| (short >> 20).saturating_mul(weight[0]));
        for (free, need) in self.free_rest(host).iter().zip(need) {
            let short = need - (*free).max(0);
            if *need > 0 && short > 0 {
                things += 1;
                most = most.max(short.saturating_mul(weight[1]));
            }
        }
        (things, most)
    }

    /// What a host lacks, in words.
    fn lacks(&self, host: u32, memory: i64, need: &[i64]) -> Vec<Failure> {
        let mut lacks = Vec::new();
        let free = self.free_memory[host as usize].max(0);
        if memory > 0 && free < memory {
            let [mut wanted, mut have, short] = [memory, free, memory - free].map(|n| Bytes(n.unsigned_abs()).human());
            if wanted == have {
                [wanted, have] = [memory, free].map(|n| format!("{} MiB", n >> 20));
            }
            lacks.push(Failure::new(Rule::Memory, wanted, have, format!("short of {short} memory")));
        }
        for (d, (free, need)) in self.free_rest(host).iter().zip(need).enumerate() {
            let (free, need) = ((*free).max(0), *need);
            if need > 0 && free < need {
                let (rule, name) =
                    if d == 0 { (Rule::Vcpus, "vCPU") } else { (Rule::Resource, self.model.resources[d - 1]) };
                lacks.push(Failure::new(rule, need, free, format!("short of {} {name}", need - free)));
            }
        }
        lacks
    }

    fn neighbour_shortages(&self, guest: u32, class: &Class<'_>, place: Place, failures: &mut Vec<Failure>) {
        for spread in class.spreads.iter().filter(|s| s.hard) {
            let topology = self.model.trackers[spread.tracker as usize].topology;
            let domain = self.domain(topology, guest, place);
            let (count, least) = (self.tracker(spread.tracker).count(domain), self.tracker(spread.tracker).least());
            let name = self.topology_name(topology);
            if domain == NONE {
                let short = format!("has no {name} to spread over");
                failures.push(Failure::new(Rule::Spread, name, "none", short));
            } else if count >= least + spread.max_skew {
                let short = format!(
                    "holds {count} of the workload, the emptiest {name} {least}: {} apart at most",
                    spread.max_skew
                );
                failures.push(Failure::new(Rule::Spread, least + spread.max_skew, count + 1, short));
            }
        }
        for near in class.near.iter().filter(|near| !self.is_near(guest, near, place)) {
            let name = self.topology_name(near.topology);
            let short = format!("has no guest that it must be near to {} the same {name}", on(name));
            failures.push(Failure::new(Rule::Near, name, "none", short));
        }
        for &(topology, tracker) in &class.apart {
            let domain = self.domain(topology, guest, place);
            let (count, name) = (self.tracker(tracker).perhaps(domain), self.topology_name(topology));
            // The ledger may hold the guest already: it is not in its own way.
            let itself =
                self.place_of(guest).is_some() && self.model.trackers_of[class.workload as usize].contains(&tracker);
            if count == 0 || (itself && self.tracker(tracker).total() == 1) {
                continue;
            }
            let short = if domain == NONE {
                format!("has no {name} that is known, and it must be apart from others by that")
            } else if self.tracker(tracker).count(domain) == 0 {
                format!("is perhaps the {name} of a guest that it must be apart from: that is not known")
            } else {
                format!("has a guest that it must be apart from {} the same {name}", on(name))
            };
            failures.push(Failure::new(Rule::Apart, 0, count, short));
        }
    }

    pub(super) fn topology_name(&self, topology: u32) -> &str {
        match self.model.topologies[topology as usize] {
            Topology::Host => "host",
            Topology::Pool => "pool",
            Topology::Jurisdiction => "jurisdiction",
            Topology::Label(key) => key,
        }
    }
}

/// Guests live on hosts, and in everything else.
fn on(topology: &str) -> &'static str {
    if topology == "host" { "on" } else { "in" }
}

/// A time for people: nobody waits for nanoseconds.
pub(super) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// How much would have to change: the fewest rules, and rather room than permission.
pub(super) fn effort(failures: &[Failure]) -> (usize, bool) {
    (failures.len(), !failures.iter().all(|f| f.rule.is_about_room()))
}
