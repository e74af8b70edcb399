//! The simulator's binary: reads the command line, starts the pool, writes down where it answers, and stays.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Parser;
use snafu::{ResultExt, Whatever};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use xapi_sim::{Config, Knobs, Login, Preset};

/// Simulates a XAPI pool on loopback addresses.
#[derive(Debug, Parser)]
#[command(name = "xapi-sim", version)]
struct Cli {
    /// The HTTPS port of every host; 0 is any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// A plain HTTP port for the coordinator; 0 is any free one.
    #[arg(long)]
    http_port: Option<u16>,
    /// The admin endpoint's port; 0 is any free one.
    #[arg(long, default_value_t = 0)]
    admin_port: u16,
    /// Where to write, as JSON, how to reach the simulator.
    #[arg(long)]
    state_file: Option<PathBuf>,
    /// The first user, with the role pool-admin.
    #[arg(long, default_value = "root")]
    user: String,
    /// The first user's password.
    #[arg(long, default_value = "sesame")]
    password: String,
    /// Another user: NAME:PASSWORD:ROLE. May be repeated.
    #[arg(long = "add-user", value_parser = parse_login)]
    add_users: Vec<Login>,
    /// Make a pool up; the default, unless --load is given.
    #[arg(long, conflicts_with = "load")]
    pool: bool,
    /// Load a pool's records from a JSON file, .gz or not.
    #[arg(long)]
    load: Option<PathBuf>,
    /// Hosts of the made-up pool.
    #[arg(long, default_value_t = 3)]
    hosts: usize,
    /// VMs of the made-up pool besides its templates; every second one runs.
    #[arg(long, default_value_t = 0)]
    vms: usize,
    /// Memory of each host, e.g. 16GiB.
    #[arg(long, default_value = "16GiB", value_parser = parse_bytes)]
    host_memory: i64,
    /// Logical CPUs of each host.
    #[arg(long, default_value_t = 8)]
    host_cpus: i64,
    /// Size of the shared repository.
    #[arg(long, default_value = "1TiB", value_parser = parse_bytes)]
    shared_sr_size: i64,
    /// Type of the shared repository: nfs is thin, lvmoiscsi thick.
    #[arg(long, default_value = "nfs")]
    shared_sr_type: String,
    /// Size of each host's own repository.
    #[arg(long, default_value = "256GiB", value_parser = parse_bytes)]
    local_sr_size: i64,
    /// The pool's name.
    #[arg(long, default_value = "")]
    pool_name: String,
    /// Write integers in JSON as strings, as older xapi does.
    #[arg(long)]
    ints_as_strings: bool,
    /// A knob by name, e.g. `start_ms=2000`. May be repeated.
    #[arg(long = "knob", value_parser = parse_knob)]
    knobs: Vec<(String, serde_json::Value)>,
}

fn parse_login(text: &str) -> Result<Login, String> {
    match text.splitn(3, ':').collect::<Vec<_>>().as_slice() {
        [name, password, role] => {
            Ok(Login { name: (*name).to_owned(), password: (*password).to_owned(), role: (*role).to_owned() })
        }
        _ => Err("expected NAME:PASSWORD:ROLE".to_owned()),
    }
}

fn parse_bytes(text: &str) -> Result<i64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        unit => return Err(format!("no unit {unit}: use KiB, MiB, GiB or TiB")),
    };
    let number: i64 = digits.parse().map_err(|e| format!("{digits}: {e}"))?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

fn parse_knob(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = serde_json::from_str(value).map_err(|e| e.to_string())?;
    Ok((name.to_owned(), value))
}

impl Cli {
    fn config(self) -> Result<Config, serde_json::Error> {
        let knobs: Knobs = serde_json::from_value(self.knobs.into_iter().collect())?;
        let first = Login { name: self.user, password: self.password, role: "pool-admin".to_owned() };
        Ok(Config {
            port: self.port,
            http_port: self.http_port,
            admin_port: self.admin_port,
            logins: std::iter::once(first).chain(self.add_users).collect(),
            preset: Preset {
                hosts: self.hosts,
                host_memory: self.host_memory,
                host_cpus: self.host_cpus,
                shared_sr_size: self.shared_sr_size,
                shared_sr_type: self.shared_sr_type,
                local_sr_size: self.local_sr_size,
                vms: self.vms,
                name: self.pool_name,
            },
            load: self.load,
            ints_as_strings: self.ints_as_strings,
            knobs,
        })
    }
}

/// Writes a file so that a reader sees all of it or none.
fn write_atomically(path: &Path, text: &str) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    fs::write(&unfinished, text)?;
    fs::rename(&unfinished, path)
}

#[snafu::report]
#[tokio::main]
async fn main() -> Result<(), Whatever> {
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(io::stderr).init();
    let cli = Cli::parse();
    let state_file = cli.state_file.clone();
    let config = cli.config().whatever_context("cannot read the knobs")?;
    let running = xapi_sim::start(config).await.whatever_context("cannot start the simulator")?;
    let state = serde_json::to_string_pretty(&running).whatever_context("cannot describe the simulator")?;
    if let Some(path) = state_file {
        write_atomically(&path, &state).whatever_context("cannot write the state file")?;
    }
    // Whoever started the simulator may have closed the pipe: that is no reason to stop.
    let _ = writeln!(io::stdout(), "{state}");
    let mut terminate = signal(SignalKind::terminate()).whatever_context("cannot wait for SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}
