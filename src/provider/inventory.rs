//! What a pool has, as it comes from providers.

use std::time::Duration;

use crate::api::{money::Money, quantity::Bytes};

/// What the hypervisor needs for a guest on top of the guest's own memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryOverhead {
    /// For each guest.
    pub fixed: Bytes,
    /// For each virtual processor.
    pub per_vcpu: Bytes,
    /// For the guest's memory, divided by this. Zero: nothing.
    pub memory_divisor: u64,
}

/// Memory that one of our guests takes on a host, overhead included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestUse {
    /// The UID in its mark.
    pub guest: String,
    /// What it takes.
    pub memory: Bytes,
    /// Its virtual processors.
    pub vcpus: u32,
}

/// One host of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInventory {
    /// The provider's own id (a XAPI host's uuid).
    pub id: String,
    /// Its name.
    pub name: String,
    /// May guests start here: enabled and alive.
    pub schedulable: bool,
    /// Why not, for people.
    pub reason: Option<String>,
    /// Physical processors (threads).
    pub cpus: u32,
    /// Physical memory.
    pub memory_total: Bytes,
    /// What the hypervisor and its control domain take.
    pub memory_overhead: Bytes,
    /// What VMs that are not of this owner take, overhead included.
    pub memory_others: Bytes,
    /// Virtual processors of running VMs that are not of this owner, without the control domain.
    pub vcpus_others: u32,
    /// How many running VMs are not of this owner, without the control domain.
    pub guests_others: u32,
    /// VMs of this owner that take memory here.
    pub guests: Vec<GuestUse>,
}

/// An image or template that guests can boot from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFact {
    /// The provider's own id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A rented type that had no room lately and is better not tried for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferingAside {
    /// The type.
    pub instance_type: String,
    /// The zone it was asked for in. `None`: the provider was free to choose.
    pub zone: Option<String>,
    /// It was asked for as capacity that can be taken back, of which there is another stock.
    pub spot: bool,
    /// For how much longer.
    pub remaining: Duration,
    /// The provider's own code, such as `InsufficientInstanceCapacity`.
    pub code: String,
}

/// A type that is on offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferingFact {
    /// Its name.
    pub instance_type: String,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory.
    pub memory: Bytes,
    /// The zones it is on offer in. Empty: the provider did not say.
    pub zones: Vec<String>,
    /// Price of an hour, where it is known.
    pub hourly: Option<Money>,
    /// Price of an hour of capacity that can be taken back, where there is such and the price is known.
    pub spot_hourly: Option<Money>,
}

/// Something that the credentials do not permit, or that the pool lacks, and that guests will need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The provider's own name of it, such as `ec2:RunInstances`.
    pub what: String,
    /// What cannot be done without it, and what to do, for people.
    pub why: String,
}

/// What a pool has.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The provider's own id of the whole: a XAPI pool's uuid, an EC2 region.
    pub id: String,
    /// The provider's version, for people.
    pub version: String,
    /// Its hosts. Empty where the provider rents out types, not hosts.
    pub hosts: Vec<HostInventory>,
    /// What a guest takes on a host on top of its own memory.
    pub overhead: MemoryOverhead,
    /// Images seen there, where listing them is cheap. Empty says nothing.
    pub images: Vec<ImageFact>,
    /// Types on offer, where the provider has a catalogue that is to be used.
    pub offerings: Vec<OfferingFact>,
    /// Where the prices of those come from.
    pub prices: Option<super::PricesFact>,
    /// What is missing, as far as it could be found out without doing anything.
    pub missing: Vec<Missing>,
}
