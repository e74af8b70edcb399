//! Schemas of numbers as Kubernetes wants them: `u32` would come out as format `uint32`, which API servers warn about.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A number of virtual processors.
pub(super) fn vcpus(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 512 })
}

/// A limit; zero lets nothing in.
pub(super) fn limit(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 0, "maximum": 100_000_000 })
}

/// A number of guests that a user wishes.
pub(super) fn replicas(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 0, "maximum": 10_000 })
}

/// A number that was counted.
pub(super) fn count(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int64", "minimum": 0 })
}

/// A number of months.
pub(super) fn months(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 600 })
}

/// How much a wish is worth, in percent of the price.
pub(super) fn weight(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 100 })
}

/// By how much the fullest place may exceed the emptiest.
pub(super) fn skew(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 1000 })
}

/// Who goes first.
pub(super) fn priority(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": -1_000_000, "maximum": 1_000_000 })
}
