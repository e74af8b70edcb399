//! Ways in for `make fuzz`: each takes any bytes, and must neither panic nor take long.

use std::{collections::HashMap, io::Cursor, sync::Arc};

use serde_json::Value;

use super::{
    cache::Batch,
    first_boot,
    records::{Host, Vm},
    value::{self, Ref},
    wire,
};
use crate::provider::{FirstBoot, Key};

/// Answers to calls.
pub fn answer(bytes: &[u8]) {
    let _ = wire::decode::<Value>(bytes);
    let _ = wire::decode::<Vec<String>>(bytes);
    let _ = wire::decode::<HashMap<Ref<Vm>, Vm>>(bytes);
    let _ = wire::decode::<HashMap<Ref<Host>, Host>>(bytes);
    let _ = wire::decode::<Vm>(bytes);
}

/// Answers of `event.from`.
pub fn events(bytes: &[u8]) {
    let _ = wire::decode::<Batch>(bytes);
}

/// Times and results of tasks.
pub fn words(text: &str) {
    let _ = value::time(text);
    let _ = value::task_result(text);
}

/// The disk that cloud-init reads: what was to be told stands in it.
pub fn first_boot(name: &str, user_data: &str) {
    let key = Key { guest: name.to_owned(), incarnation: 1, namespace: "fuzz".into(), name: name.to_owned() };
    let told = FirstBoot { user_data: Some(Arc::new(user_data.to_owned().into())), ..FirstBoot::default() };
    // Nothing larger than a Secret can hold is ever told.
    if user_data.len() > 1 << 20 {
        return;
    }
    let Ok(mut image) = first_boot::image(&key, &told) else { return };
    let volume = fatfs::FileSystem::new(Cursor::new(&mut image[..]), fatfs::FsOptions::new());
    let mut read = String::new();
    let whole = volume
        .and_then(|volume| std::io::Read::read_to_string(&mut volume.root_dir().open_file("user-data")?, &mut read));
    assert!(whole.is_ok() && read == user_data, "what was told is not what is on the disk");
}
