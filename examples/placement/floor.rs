//! What any packing needs at least, were all machines packed anew at every moment, with any number of moves and all
//! lifetimes known: how far from its quality a work can be at best.
//!
//! Each shape of machine is given a weight so that no host, however it is filled, holds more than 1 in all. Then the sum
//! of the weights of the machines that run is no more than the number of hosts that they are on. Sums of vCPUs and of
//! memory are such weights; better ones count what a machine with much memory makes useless of a host's vCPUs. They are
//! found by lifting: shapes get their weights one after the other, each as much as no filling forbids, which is looked up
//! in a table of the heaviest filling of each part of a host.

use std::collections::BTreeMap;

use crate::azure::{HOST_GB, HOST_VCPUS, Machine};

/// vCPUs and GB are counted in quarters. What is not whole is rounded down, which makes the floor lower, never wrong.
const PARTS: f64 = 4.0;

/// A shape in quarters of vCPUs and GB.
type Shape = (usize, usize);

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes of machines that fit on a host")]
fn shape(vcpus: f64, gb: f64) -> Shape {
    ((vcpus * PARTS + 1e-6).floor() as usize, (gb * PARTS + 1e-6).floor() as usize)
}

/// The heaviest filling of each part of a host, as far as shapes have weights.
struct Fillings {
    host: Shape,
    heaviest: Vec<f64>,
}

impl Fillings {
    fn new(host: Shape) -> Self {
        Self { host, heaviest: vec![0.0; (host.0 + 1) * (host.1 + 1)] }
    }

    fn at(&self, vcpus: usize, gb: usize) -> f64 {
        self.heaviest[vcpus * (self.host.1 + 1) + gb]
    }

    /// The most that a shape may weigh: beside so many of it, whatever else there is room for must stay within 1.
    fn most(&self, shape: Shape) -> f64 {
        let mut most = f64::INFINITY;
        for count in 1.. {
            let (vcpus, gb) = (count * shape.0, count * shape.1);
            if vcpus > self.host.0 || gb > self.host.1 {
                break;
            }
            let beside = self.at(self.host.0 - vcpus, self.host.1 - gb);
            #[expect(clippy::cast_precision_loss, reason = "a few hundred machines on a host at most")]
            let each = (1.0 - beside) / count as f64;
            most = most.min(each);
        }
        most.max(0.0)
    }

    fn add(&mut self, shape: Shape, weight: f64) {
        for vcpus in shape.0..=self.host.0 {
            for gb in shape.1..=self.host.1 {
                let with = self.at(vcpus - shape.0, gb - shape.1) + weight;
                let here = &mut self.heaviest[vcpus * (self.host.1 + 1) + gb];
                *here = here.max(with);
            }
        }
    }
}

/// Weights by shape. The shapes that most vCPUs are in weigh by what is scarce on a host full of them; the others are
/// lifted, first those that leave most of it unused.
fn weights(machines: &[Machine]) -> BTreeMap<Shape, f64> {
    let host = shape(HOST_VCPUS, HOST_GB);
    let mut used: BTreeMap<Shape, f64> = BTreeMap::new();
    for m in machines {
        #[expect(clippy::cast_precision_loss, reason = "seconds of a trace")]
        let time = (m.end - m.start) as f64;
        *used.entry(shape(m.vcpus, m.gb)).or_default() += time * m.vcpus;
    }
    used.retain(|shape, _| *shape != (0, 0));
    #[expect(clippy::cast_precision_loss, reason = "quarters of a host")]
    let ratio = |shape: Shape| shape.1 as f64 / (shape.0 as f64).max(1e-3);
    let Some((usual, _)) = used.iter().max_by(|a, b| a.1.total_cmp(b.1)) else { return BTreeMap::new() };
    let usual = ratio(*usual);
    let by_vcpus = usual <= ratio(host);
    let (seeds, mut others): (Vec<Shape>, Vec<Shape>) =
        used.keys().partition(|shape| (ratio(**shape) - usual).abs() < 1e-9);
    // Who comes first gets most: those that the scarce part is wasted beside, and of those the most common ones.
    others.sort_by(|a, b| {
        let last = |shape: Shape| (ratio(shape) < usual) == by_vcpus;
        last(*a).cmp(&last(*b)).then(used[b].total_cmp(&used[a]))
    });
    let mut fillings = Fillings::new(host);
    let mut weights = BTreeMap::new();
    for shape in seeds.into_iter().chain(others.iter().copied()) {
        #[expect(clippy::cast_precision_loss, reason = "quarters of a host")]
        let scarce = if by_vcpus { shape.0 as f64 / host.0 as f64 } else { shape.1 as f64 / host.1 as f64 };
        let most = fillings.most(shape);
        let weight = if others.contains(&shape) { most } else { most.min(scarce) };
        fillings.add(shape, weight);
        weights.insert(shape, weight);
    }
    weights
}

/// The host-seconds that any packing needs, hosts being whole at every moment.
#[expect(clippy::cast_precision_loss, reason = "seconds of a trace")]
pub(crate) fn floor(machines: &[Machine]) -> f64 {
    let weights = weights(machines);
    let mut events: Vec<(i64, [f64; 3])> = Vec::with_capacity(machines.len() * 2);
    for m in machines {
        let weight = weights.get(&shape(m.vcpus, m.gb)).copied().unwrap_or(0.0);
        let load = [m.vcpus / HOST_VCPUS, m.gb / HOST_GB, weight];
        events.push((m.start, load));
        events.push((m.end, load.map(|part| -part)));
    }
    events.sort_by_key(|event| event.0);
    let (mut load, mut sum) = ([0.0f64; 3], 0.0);
    for (at, event) in events.iter().enumerate() {
        (0..3).for_each(|part| load[part] += event.1[part]);
        if let Some(next) = events.get(at + 1) {
            // The sums of many additions are a little off: a host is only counted for what is clearly over.
            let hosts = (load.into_iter().fold(0.0, f64::max) - 1e-6).ceil().max(0.0);
            sum += hosts * (next.0 - event.0) as f64;
        }
    }
    sum
}
