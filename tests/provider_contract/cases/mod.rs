//! The cases, each once for all drivers.

mod adopt;
mod amend;
mod create;
mod errors;
mod identity;
mod life;

use std::{pin::Pin, sync::Arc};

use crate::{harness::World, storm};

type Running = Pin<Box<dyn Future<Output = ()>>>;

/// One case.
pub struct Case {
    pub name: &'static str,
    pub run: fn(Arc<dyn World>) -> Running,
}

macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$(Case {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: |world| Box::pin(async move { $module::$name(&*world).await }),
        }),*]
    };
}

/// All cases.
pub const CASES: &[Case] = cases![
    create::makes_one_vm,
    create::again_is_the_same_vm,
    create::after_a_crash_is_the_same_vm,
    create::at_the_same_time_is_one_vm,
    create::from_two_sides_is_one_vm,
    create::lost_reply_is_one_vm,
    create::half_reply_is_one_vm,
    create::lost_reply_and_crash_is_one_vm,
    create::lost_request_makes_nothing_twice,
    create::lost_reply_then_delete_leaves_nothing,
    create::a_new_vm_that_reads_lack_is_not_absent,
    create::a_new_incarnation_is_another_vm,
    identity::finds_each_guest,
    identity::absent_is_a_fact,
    identity::lists_all_pages,
    identity::foreign_vms_are_untouched,
    identity::two_owners_do_not_meet,
    life::stops_and_starts,
    life::delete_is_complete_and_repeatable,
    life::delete_takes_disks_that_stayed,
    life::delete_in_any_state,
    life::delete_with_lost_replies,
    life::a_vm_removed_by_hand_is_not_made_again,
    life::changes_by_hand_are_noticed,
    life::cached_follows_own_writes,
    life::a_system_that_does_not_stop_loses_its_power,
    life::a_soft_stop_cuts_no_power,
    amend::disks_are_made_with_the_vm,
    amend::disks_grow_and_are_added_while_it_runs,
    amend::a_disk_is_added_once,
    amend::disks_go_with_the_vm,
    amend::the_size_changes_when_it_is_off,
    amend::as_wished_is_left_alone,
    amend::protection_is_switched,
    amend::first_boot_is_told,
    adopt::a_vm_becomes_the_guests,
    adopt::only_what_is_free_is_adopted,
    adopt::a_released_vm_is_nobodys,
    adopt::lost_replies_adopt_and_release,
    errors::unreachable_is_not_absent,
    errors::half_a_list_is_not_absent,
    errors::silence_ends_at_the_deadline,
    errors::an_unanswered_create_is_unknown,
    errors::no_room_is_capacity,
    errors::throttling_is_borne,
    errors::a_broken_server_is_not_absent,
    errors::wrong_credentials_are_auth,
    errors::a_missing_image_is_not_found,
    errors::nonsense_is_invalid,
    errors::closed_is_unavailable,
    storm::twenty_seeds,
];
