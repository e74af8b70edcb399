//! Raw disk data in and out. A PUT is answered before its data are read: only the task tells how it went.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING};
use hyper::{Request, Response, StatusCode};

use super::pipe::{TICK, pipe, step};
use super::{Transfer, elsewhere, find_disk};
use crate::allowed;
use crate::disk::{BLOCK, BLOCK_LEN, Disk};
use crate::error::{ApiError, ApiResult};
use crate::http::{Body, full};
use crate::sim::World;
use crate::storage;
use crate::tasks;
use crate::value::Value;

/// Blocks that are sent at a time.
const BATCH: u64 = 16;

/// Holds a disk for a transfer through a device of the control domain, as xapi does.
fn hold(world: &mut World, transfer: &Transfer, vdi: &Arc<str>, mode: &str) -> ApiResult<Arc<str>> {
    let busy = allowed::attached_vbd(world, vdi).is_some() || world.is_busy(vdi);
    if busy {
        return Err(ApiError::new("VDI_IN_USE", [&**vdi, "attach"]));
    }
    let dom0 = world.store.text("host", &transfer.endpoint.host, "control_domain").to_owned();
    let fields = [
        ("VM", Value::str(dom0)),
        ("VDI", Value::Str(vdi.clone())),
        ("userdevice", Value::str("autodetect")),
        ("mode", Value::str(mode)),
        ("type", Value::str("Disk")),
        ("currently_attached", Value::Bool(true)),
    ];
    Ok(world.store.insert("VBD", fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect()))
}

fn release(world: &mut World, vbd: &str) {
    // The coordinator may have restarted and lost it.
    let _ = world.store.remove("VBD", vbd);
}

/// Finds the disk and checks that this host can reach it.
fn locate(transfer: &Transfer) -> Result<Arc<str>, Box<Response<Body>>> {
    let sim = transfer.endpoint.sim.clone();
    let vdi = sim.read(|w| find_disk(w, transfer.param("vdi")));
    let vdi = vdi.map_err(|e| Box::new(transfer.fail(StatusCode::NOT_FOUND, e)))?;
    match sim.read(|w| elsewhere(w, transfer, &vdi)) {
        Some(redirection) => Err(Box::new(redirection)),
        None => Ok(vdi),
    }
}

fn is_raw(transfer: &Transfer) -> bool {
    matches!(transfer.param("format"), "" | "raw")
}

pub(super) fn import(transfer: Transfer, request: Request<Incoming>) -> Response<Body> {
    if request.headers().contains_key(TRANSFER_ENCODING) {
        let error = ApiError::internal("Chunked transfer encoding is not supported");
        return transfer.fail(StatusCode::NOT_FOUND, error);
    }
    if !is_raw(&transfer) {
        let error = ApiError::new("IMPORT_ERROR_GENERIC", ["the simulator imports raw data only"]);
        return transfer.fail(StatusCode::NOT_FOUND, error);
    }
    let length =
        request.headers().get(CONTENT_LENGTH).and_then(|l| l.to_str().ok()).and_then(|l| l.parse::<u64>().ok());
    let vdi = match locate(&transfer) {
        Ok(vdi) => vdi,
        Err(answer) => return *answer,
    };
    let Some(length) = length.filter(|l| *l > 0) else {
        // A probe: the client only wants to know whether this is the right host.
        transfer.finish(&Ok(Value::Void));
        return Response::new(full(""));
    };
    match transfer.endpoint.sim.write(|w| hold(w, &transfer, &vdi, "RW")) {
        Err(error) => transfer.fail(StatusCode::INTERNAL_SERVER_ERROR, error),
        Ok(vbd) => {
            // The head of the answer goes out now; its end comes when the data are in, as xapi then closes.
            let (end_of_answer, body) = pipe();
            tokio::spawn(async move {
                let result = receive(&transfer, &vdi, length, request.into_body()).await;
                transfer.endpoint.sim.write(|w| {
                    account(w, &vdi);
                    release(w, &vbd);
                });
                transfer.finish(&result.map(|()| Value::Void));
                drop(end_of_answer);
            });
            Response::new(body)
        }
    }
}

async fn receive(transfer: &Transfer, vdi: &Arc<str>, length: u64, mut body: Incoming) -> ApiResult<()> {
    let broken = || ApiError::new("VDI_IO_ERROR", ["Device I/O errors"]);
    let sim = &transfer.endpoint.sim;
    let size = sim.read(|w| u64::try_from(w.store.int("VDI", vdi, "virtual_size")).unwrap_or(0));
    let mut offset = 0_u64;
    let mut told = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| broken())?.into_data() else { continue };
        let end = offset + data.len() as u64;
        if end > size {
            return Err(broken());
        }
        pace(sim.read(|w| w.knobs.import_bytes_per_second), data.len()).await;
        let share = end * 10 / length;
        sim.write(|w| {
            w.disks.entry(vdi.clone()).or_default().write(offset, &data);
            if share > told {
                #[expect(clippy::cast_precision_loss, reason = "a number from 0 to 10")]
                tasks::progress(w, &transfer.task, share as f64 / 10.0);
            }
        });
        told = told.max(share);
        offset = end;
    }
    if offset < length { Err(broken()) } else { Ok(()) }
}

/// Books what a disk takes after data came, all of them or not.
fn account(world: &mut World, vdi: &str) {
    let used = world.disks.get(vdi).map_or(0, Disk::used);
    let used = used.max(world.store.int("VDI", vdi, "physical_utilisation"));
    storage::set_used(world, vdi, used);
}

async fn pace(bytes_per_second: u64, taken: usize) {
    if bytes_per_second > 0 {
        let share = u32::try_from(taken / step(bytes_per_second)).unwrap_or(u32::MAX);
        tokio::time::sleep(TICK * share).await;
    }
}

pub(super) fn export(transfer: Transfer, slow: Option<u64>) -> Response<Body> {
    if !is_raw(&transfer) || !transfer.param("base").is_empty() {
        let error = ApiError::new("VDI_INCOMPATIBLE_TYPE", [transfer.param("vdi"), transfer.param("format")]);
        return transfer.fail(StatusCode::NOT_FOUND, error);
    }
    let vdi = match locate(&transfer) {
        Ok(vdi) => vdi,
        Err(answer) => return *answer,
    };
    let held = transfer.endpoint.sim.write(|w| hold(w, &transfer, &vdi, "RO"));
    let vbd = match held {
        Ok(vbd) => vbd,
        Err(error) => return transfer.fail(StatusCode::INTERNAL_SERVER_ERROR, error),
    };
    let size = transfer.endpoint.sim.read(|w| u64::try_from(w.store.int("VDI", &vdi, "virtual_size")).unwrap_or(0));
    let (sender, body) = pipe();
    tokio::spawn(async move {
        let mut number = 0;
        let mut complete = true;
        while number * BLOCK < size {
            let piece = piece(&transfer, &vdi, number, size);
            if let Some(speed) = slow {
                pace(speed, piece.len()).await;
            }
            if sender.send(piece).await.is_err() {
                complete = false;
                break;
            }
            number += BATCH;
        }
        drop(sender);
        transfer.endpoint.sim.write(|w| release(w, &vbd));
        transfer.finish(&if complete {
            Ok(Value::Void)
        } else {
            Err(ApiError::new("CLIENT_ERROR", ["the client has closed the connection"]))
        });
    });
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
    response
}

/// Some blocks of a disk; those never written are zeros.
fn piece(transfer: &Transfer, vdi: &str, first: u64, size: u64) -> Bytes {
    let end = size.min((first + BATCH) * BLOCK);
    let mut bytes = vec![0_u8; usize::try_from(end - first * BLOCK).unwrap_or(0)];
    transfer.endpoint.sim.read(|w| {
        let Some(disk) = w.disks.get(vdi) else { return };
        for (number, chunk) in (first..).zip(bytes.chunks_mut(BLOCK_LEN)) {
            if let Some(block) = disk.block(number) {
                chunk.copy_from_slice(&block[..chunk.len()]);
            }
        }
    });
    Bytes::from(bytes)
}
