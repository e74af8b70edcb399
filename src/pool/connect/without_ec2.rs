//! A region of Amazon EC2. Left out of this build.

use super::{Connection, Trouble, invalid};
use crate::api::cloud_pool::Ec2Spec;

#[expect(clippy::unused_async, reason = "it stands in for the one that connects")]
pub(super) async fn connect(_: &Ec2Spec, _: &Connection<'_>) -> Result<super::Opened, Trouble> {
    Err(invalid("this innkeeper was built without EC2 (cargo feature ec2); install one that has it"))
}
