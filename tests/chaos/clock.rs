//! Operators whose clock is not the machine's, by libfaketime.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// `libfaketime`, as Debian has it.
const LIBRARIES: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"];

/// Where the library is. Without it no clock can be set.
pub fn library() -> Option<&'static str> {
    let found = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
    if found.is_none() {
        println!("chaos: the clock is left alone: libfaketime is missing (Debian: apt-get install faketime)");
    }
    found
}

/// Writes a program at `path` that runs `program` with these settings of the library.
pub fn wrap(path: &Path, program: &Path, library: &str, settings: &str) -> std::io::Result<()> {
    let program = program.display();
    let script =
        format!("#!/bin/sh\nexport LD_PRELOAD={library} FAKETIME_NO_CACHE=1 {settings}\nexec {program} \"$@\"\n");
    std::fs::write(path, script)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

/// A clock that runs so many times as fast as the machine's, from when it was made. Whatever waits by it waits so much
/// shorter; nothing else is different, but that it shows another time and that deadlines of calls are shorter too.
pub struct Fast {
    began: Instant,
    pub times: u32,
    library: &'static str,
    program: PathBuf,
}

impl Fast {
    /// `None`: it would be the machine's clock.
    pub fn new(folder: &Path, times: u32) -> Option<Self> {
        let library = if times > 1 { library()? } else { return None };
        let folder = folder.join("fast");
        std::fs::create_dir_all(&folder).unwrap();
        // The name is that of its log.
        Some(Self { began: Instant::now(), times, library, program: folder.join("innkeeper") })
    }

    /// How far it is ahead of the machine's.
    pub fn ahead(&self) -> Duration {
        self.began.elapsed() * (self.times - 1)
    }

    /// The program with this clock. It goes on where an earlier one was killed: only its pace is another.
    pub fn program(&self, program: &Path) -> &Path {
        let settings = format!("FAKETIME=\"+{:.3}s x{}\"", self.ahead().as_secs_f64(), self.times);
        wrap(&self.program, program, self.library, &settings).unwrap();
        &self.program
    }
}
