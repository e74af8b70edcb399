//! A project in a region of an OpenStack cloud. Left out of this build.

use super::{Connection, Trouble, invalid};
use crate::api::openstack::OpenstackSpec;

pub(super) fn connect(_: &OpenstackSpec, _: &Connection<'_>) -> Result<super::Opened, Trouble> {
    Err(invalid("this innkeeper was built without OpenStack (cargo feature openstack); install one that has it"))
}
