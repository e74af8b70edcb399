//! A region of Google Compute Engine. Left out of this build.

use super::{Connection, Trouble, invalid};
use crate::api::gce::GceSpec;

#[expect(clippy::unused_async, reason = "it stands in for the one that connects")]
pub(super) async fn connect(_: &GceSpec, _: &Connection<'_>) -> Result<super::Opened, Trouble> {
    Err(invalid("this innkeeper was built without Google (cargo feature gce); install one that has it"))
}
