//! Where prices come from, and of when they are.

use jiff::Timestamp;

/// Where the provider's prices come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::IntoStaticStr)]
pub enum PriceOrigin {
    /// The provider's own price list.
    PriceList,
    /// A table that came with the operator.
    Shipped,
}

/// Where the prices of the offerings come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricesFact {
    /// Where from.
    pub source: PriceOrigin,
    /// Of when they are.
    pub as_of: Timestamp,
    /// Why the provider's own list could not be read when that was last tried.
    pub trouble: Option<String>,
}
