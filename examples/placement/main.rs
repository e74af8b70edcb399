//! Measures the placement engine: `cargo run --release --example placement -- WORK ARGS`.
//!
//! Works: `mixed N`, `bursts [GUESTS [BURST]]`, `topology HOSTS RACKS REQUESTS`, `azure FILE [--moves R]`,
//! `btrplace FILE`. The last line printed is one JSON object: `seconds` (deciding only, without reading), `placements`,
//! `quality` (what it means stands in `quality_is`), `broken_rules` (from the checker) and `moves`. Files packed
//! by xz or gzip are read through the programs of those names.

mod azure;
mod baseline;
mod btrplace;
mod bursts;
mod floor;
mod input;
mod mixed;
mod topology;

use std::process::ExitCode;

/// Why a work could not be done, for people.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["mixed", n] => mixed::run(n),
        ["bursts", ref rest @ ..] => bursts::run(rest),
        ["topology", hosts, racks, requests] => topology::run(hosts, racks, requests),
        ["azure", file] => azure::run(file, "0"),
        ["azure", file, "--moves", rate] | ["azure", "--moves", rate, file] => azure::run(file, rate),
        ["btrplace", file] => btrplace::run(file),
        _ => Err("say what to do: mixed N | bursts [GUESTS [BURST]] | topology HOSTS RACKS REQUESTS | \
             azure FILE [--moves R] | btrplace FILE"
            .into()),
    };
    match result {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
