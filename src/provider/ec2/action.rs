//! The operations of EC2's API, and of the price list's, that this driver uses: all of them, and nothing else is ever called.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::limiter::Class;
use crate::provider::rented::retry::Effect;

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, strum::VariantArray)]
#[allow(missing_docs, reason = "the names are EC2's own")]
pub enum Action {
    AttachVolume,
    CreateTags,
    CreateVolume,
    DeleteTags,
    DeleteVolume,
    DescribeImages,
    DescribeInstanceTypeOfferings,
    DescribeInstanceTypes,
    DescribeInstances,
    DescribeSpotInstanceRequests,
    DescribeSpotPriceHistory,
    DescribeSubnets,
    DescribeVolumes,
    GetProducts,
    ModifyInstanceAttribute,
    ModifyVolume,
    RunInstances,
    StartInstances,
    StopInstances,
    TerminateInstances,
}

impl Action {
    /// EC2's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    pub(super) const fn class(self) -> Class {
        match self {
            Self::DescribeImages
            | Self::DescribeInstanceTypeOfferings
            | Self::DescribeInstanceTypes
            | Self::DescribeInstances
            | Self::DescribeSpotInstanceRequests
            | Self::DescribeSpotPriceHistory
            | Self::DescribeSubnets
            | Self::DescribeVolumes
            | Self::GetProducts => Class::Describe,
            Self::RunInstances => Class::Run,
            Self::TerminateInstances => Class::Terminate,
            Self::CreateTags | Self::DeleteTags => Class::Tags,
            Self::AttachVolume
            | Self::CreateVolume
            | Self::DeleteVolume
            | Self::ModifyInstanceAttribute
            | Self::ModifyVolume
            | Self::StartInstances
            | Self::StopInstances => Class::Mutate,
        }
    }

    pub(super) const fn effect(self) -> Effect {
        match self.class() {
            Class::Describe => Effect::Read,
            _ => Effect::Write,
        }
    }
}

/// How often each operation was called.
#[derive(Debug, Default)]
pub struct Calls(Mutex<BTreeMap<Action, u64>>);

impl Calls {
    pub(super) fn count(&self, action: Action) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(action).or_default() += 1;
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Action, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
