//! The VM class.

pub(crate) mod clone;
pub(crate) mod create;
pub(crate) mod domain;
pub(crate) mod memory;
pub(crate) mod migrate;
pub(crate) mod operation;
pub(crate) mod placement;
pub(crate) mod power;
pub(crate) mod provision;
mod settings;

use crate::allowed;
use crate::devices;
use crate::dispatch::Args;
use crate::error::ApiResult;
use crate::model::Class;
use crate::sim::Call;
use crate::value::Value;

pub(crate) async fn call(call: &Call, class: &Class, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let vm = args.text(0);
    let done = match message {
        "create" => call.write(|w| create::create(w, class, &args.value(0)))?,
        "destroy" => create::destroy(call, vm).await?,
        "clone" => clone::make(call, vm, args.text(1), clone::Kind::Clone).await?,
        "copy" => clone::make(call, vm, args.text(1), clone::Kind::Copy(args.text(2).into())).await?,
        "snapshot" => clone::make(call, vm, args.text(1), clone::Kind::Snapshot { checkpoint: false }).await?,
        "checkpoint" => clone::make(call, vm, args.text(1), clone::Kind::Snapshot { checkpoint: true }).await?,
        "revert" => call.write(|w| clone::revert(w, vm))?,
        "provision" => {
            let pace = operation::Pace::fixed(call.knobs().provision_ms);
            operation::during(call, vm, "provision", pace, |_| Ok(()), |w, ()| provision::provision(w, vm)).await?
        }
        "pool_migrate" => migrate::pool_migrate(call, vm, args.text(1), &args.value(2)).await?,
        "migrate_send" => migrate::send(call, vm, args).await?,
        "assert_can_migrate" => call.write(|w| migrate::check_send(w, vm, args).map(|_| Value::Void))?,
        _ => return rest(call, message, args).await,
    };
    Ok(Some(done))
}

async fn rest(call: &Call, message: &str, args: &Args) -> ApiResult<Option<Value>> {
    let vm = args.text(0);
    let done = match message {
        "start" => power::start(call, vm, None, args.flag(1)).await?,
        "start_on" => power::start(call, vm, Some(args.text(1)), args.flag(2)).await?,
        "resume" => power::resume(call, vm, None, args.flag(1)).await?,
        "resume_on" => power::resume(call, vm, Some(args.text(1)), args.flag(2)).await?,
        "clean_shutdown" | "hard_shutdown" => power::shutdown(call, vm, message).await?,
        "shutdown" => {
            // Clean when the guest can, else hard.
            let clean = call.write(|w| Ok(allowed::check_vm(w, vm, "clean_shutdown").is_ok()))?;
            power::shutdown(call, vm, if clean { "clean_shutdown" } else { "hard_shutdown" }).await?
        }
        "clean_reboot" | "hard_reboot" => power::reboot(call, vm, message).await?,
        "suspend" => power::suspend(call, vm).await?,
        "pause" => power::set_paused(call, vm, true).await?,
        "unpause" => power::set_paused(call, vm, false).await?,
        "power_state_reset" => call.write(|w| power::reset(w, vm))?,
        "get_allowed_VBD_devices" => call.write(|w| devices::free_positions(w, vm, "VBDs", 255))?,
        "get_allowed_VIF_devices" => call.write(|w| devices::free_positions(w, vm, "VIFs", 16))?,
        "get_possible_hosts" => call.write(|w| {
            w.store.row("VM", vm)?;
            Ok(Value::strings(placement::possible(w, vm)))
        })?,
        "assert_can_boot_here" => {
            call.write(|w| placement::check(w, vm, args.text(1), placement::Count::Memory).map(|()| Value::Void))?
        }
        "assert_operation_valid" => call.write(|w| allowed::check_vm(w, vm, args.text(1)).map(|()| Value::Void))?,
        "update_allowed_operations" => call.write(|w| w.store.touch("VM", vm).map(|()| Value::Void))?,
        "assert_agile" => call.write(|w| migrate::assert_agile(w, vm).map(|()| Value::Void))?,
        _ => return call.write(|w| settings::call(w, message, args)),
    };
    Ok(Some(done))
}
