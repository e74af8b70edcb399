//! How much more fits on a host, counted in guests of the shape that most of what runs has. Room in which no such guest
//! fits, memory without vCPUs or vCPUs without memory, is as good as used: whoever can live on it alone costs nothing.

use super::{
    class::Class,
    model::{Interner, Model},
};

/// The shapes of guests, memory for each vCPU, and how many vCPUs run of each.
pub(super) struct Shapes {
    of_class: Vec<Option<u32>>,
    /// Memory in MiB and vCPUs, without common factor.
    ratios: Vec<(i64, i64)>,
    vcpus: Vec<i64>,
    most: Option<u32>,
    /// vCPUs of the usual shape for a MiB, in parts of a vCPU and with the bits of a factor.
    of_mib: i64,
}

impl Shapes {
    pub(super) fn new(model: &Model<'_>) -> Self {
        let mut names = Interner::new();
        let mut shapes = Vec::new();
        let mut shape = |class: &Class<'_>| {
            let size = &class.guest.size;
            let (memory, vcpus) = (size.memory.0 >> 20, u64::from(size.vcpus));
            if memory == 0 || vcpus == 0 || !class.guest.powered_on {
                return None;
            }
            let by = common(memory, vcpus);
            let shape = ((memory / by).cast_signed(), (vcpus / by).cast_signed());
            let (number, new) = names.number(shape);
            if new {
                shapes.push(shape);
            }
            Some(number)
        };
        let of_class = model.classes.iter().map(&mut shape).collect();
        Self { of_class, vcpus: vec![0; shapes.len()], ratios: shapes, most: None, of_mib: 0 }
    }

    /// Counts a guest that came to a host, or left it.
    pub(super) fn count(&mut self, class: u32, vcpus: i64, sign: i64) {
        let Some(shape) = self.of_class[class as usize] else { return };
        let sum = &mut self.vcpus[shape as usize];
        *sum = sum.saturating_add(sign * vcpus);
        if self.most != Some(shape)
            && self.most.is_none_or(|most| self.vcpus[shape as usize] > self.vcpus[most as usize])
        {
            let (mib, of) = self.ratios[shape as usize];
            (self.most, self.of_mib) = (Some(shape), of.saturating_mul(VCPU << FINE) / mib);
        }
    }

    /// The vCPUs, in 1024ths, of guests of the usual shape that so much memory (bytes) is for.
    fn of_memory(&self, memory: i64) -> i64 {
        (memory >> 20).saturating_mul(self.of_mib) >> FINE
    }

    /// The vCPUs, in 1024ths, that guests of the usual shape find in this much memory (bytes) and so many vCPUs.
    pub(super) fn fill(&self, memory: i64, vcpus: i64) -> i64 {
        let in_vcpus = vcpus.saturating_mul(VCPU);
        if self.most.is_some() { in_vcpus.min(self.of_memory(memory)) } else { in_vcpus }
    }

    /// How what a guest takes is to be judged: against one of the usual shape that is as large.
    pub(super) fn loss(&self, memory: i64, vcpus: i64) -> Loss {
        let in_vcpus = vcpus.saturating_mul(VCPU);
        let own = if self.most.is_some() { in_vcpus.max(self.of_memory(memory)) } else { in_vcpus };
        Loss { memory, vcpus, part: (PARTS << FINE) / own.max(1) }
    }

    /// What the guest takes away from others where so much is free, in 32nds of what that one takes.
    pub(super) fn lost(&self, loss: &Loss, memory: i64, vcpus: i64) -> i64 {
        let before = self.fill(memory, vcpus).max(0);
        let after = self.fill(memory - loss.memory, vcpus - loss.vcpus).max(0);
        ((before - after).saturating_mul(loss.part).saturating_add(1 << (FINE - 1))) >> FINE
    }
}

/// A vCPU is counted in so many parts.
const VCPU: i64 = 1024;
/// Bits after the point of factors, so that nothing is divided for each host.
const FINE: u32 = 20;
/// In how many parts a loss is told.
const PARTS: i64 = 32;

/// What a guest needs, and the factor that makes its losses comparable.
#[derive(Clone, Copy)]
pub(super) struct Loss {
    memory: i64,
    vcpus: i64,
    part: i64,
}

fn common(a: u64, b: u64) -> u64 {
    if b == 0 { a.max(1) } else { common(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: i64 = 1 << 30;

    /// One shape of 2 GiB for each vCPU, and one of 8.
    fn shapes() -> Shapes {
        let mut shapes = Shapes {
            of_class: vec![Some(0), Some(1)],
            ratios: vec![(2048, 1), (8192, 1)],
            vcpus: vec![0; 2],
            most: None,
            of_mib: 0,
        };
        shapes.count(0, 10, 1);
        shapes
    }

    #[test]
    fn room_is_counted_in_guests_of_the_usual_shape() {
        assert_eq!(shapes().fill(8 * GIB, 16), 4 * 1024);
        assert_eq!(shapes().fill(64 * GIB, 16), 16 * 1024);
    }

    #[test]
    fn what_others_cannot_use_costs_nothing() {
        let shapes = shapes();
        let much_memory = shapes.loss(32 * GIB, 4);
        // Beside 64 vCPUs there are 32 GiB that the usual shape cannot use: only the four vCPUs are missed.
        assert_eq!(shapes.lost(&much_memory, 160 * GIB, 64), 32 * 4 / 16);
        assert_eq!(shapes.lost(&much_memory, 40 * GIB, 64), 32);
    }

    #[test]
    fn the_usual_shape_is_that_of_most_running_vcpus() {
        let mut shapes = shapes();
        shapes.count(1, 11, 1);
        assert_eq!(shapes.fill(8 * GIB, 16), 1024);
        shapes.count(1, 11, -1);
        shapes.count(0, 1, 1);
        assert_eq!(shapes.fill(8 * GIB, 16), 4 * 1024);
    }
}
