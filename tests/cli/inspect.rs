//! `innkeeper pool inspect`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::sim::{PASSWORD, Sim, complained, innkeeper, printed};

fn made_up() -> Sim {
    Sim::start(&["--load", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pools/made-up.json")])
}

#[test]
fn a_made_up_pool_in_tables_and_json() {
    let pool = made_up();
    insta::assert_snapshot!("made_up", printed(&pool.inspect(&[])));
    let all = printed(&pool.inspect(&["--all"]));
    assert!(all.contains("Windows 10") && !all.contains("without a disk"), "{all}");
    let json: Value = serde_json::from_str(&printed(&pool.inspect(&["-o", "json"]))).unwrap();
    insta::assert_yaml_snapshot!("made_up_json", json);
    let yaml = printed(&pool.inspect(&["-o", "yaml"]));
    assert!(yaml.contains("name: bread street"), "{yaml}");
}

#[test]
fn a_host_that_is_not_known_is_not_told_the_password_but_its_fingerprint_is_shown() {
    let pool = Sim::start(&["--hosts", "1"]);
    let refused = innkeeper(&["pool", "inspect", "--xapi", pool.url()]);
    let answer = complained(&refused);
    assert_eq!(refused.status.code(), Some(1), "{answer}");
    let print = &pool.fingerprints()[0];
    assert!(answer.contains(&format!("pass --fingerprint {print}")), "{answer}");
    assert!(refused.stdout.is_empty() && !answer.contains(PASSWORD), "{answer}");
    // As it says.
    printed(&innkeeper(&["pool", "inspect", "--xapi", pool.url(), "--fingerprint", print]));
    // Another one is refused, and what is there is shown all the same.
    let answer = complained(&innkeeper(&["pool", "inspect", "--xapi", pool.url(), "--fingerprint", &"0".repeat(64)]));
    assert!(answer.contains("is not the pinned one") && answer.contains(print), "{answer}");
}

#[test]
fn what_is_missing_or_wrong_is_said() {
    let pool = Sim::start(&["--hosts", "1"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "wrong\n").unwrap();
    let path = file.path().to_str().unwrap();
    let wrong = pool.inspect(&["--password-file", path]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(complained(&wrong).contains("SESSION_AUTHENTICATION_FAILED"), "{}", complained(&wrong));
    std::fs::write(file.path(), format!("{PASSWORD}\n")).unwrap();
    printed(&pool.inspect(&["--password-file", path]));
    for (arguments, expected) in [
        (&["pool", "inspect"][..], "--xapi <URL>"),
        (&["pool", "inspect", "--xapi", "http://xen.example.org"], "must be https"),
        (&["pool", "inspect", "--xapi", "https://127.0.0.1:1", "--fingerprint", "ab"], "64 hexadecimal digits"),
        (&["pool", "inspect", "--xapi", "https://127.0.0.1:1"], "cannot be reached"),
        (&["pool", "inspect", "--xapi", "https://127.0.0.1:1", "--ec2", "eu-west-1"], "cannot be used with"),
    ] {
        let output = innkeeper(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(complained(&output).contains(expected), "{arguments:?}: {}", complained(&output));
    }
}

/// Databases of real pools, where there are some: `INNKEEPER_XAPI_POOLS`, or those beside the checkout.
fn databases() -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/xapi-pools");
    let folder = std::env::var_os("INNKEEPER_XAPI_POOLS").map_or(beside, PathBuf::from);
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(".json.gz")).collect();
    files.sort();
    files
}

/// Databases of real pools of many versions, with all that is odd in them: each is shown, and nothing of it is left out.
#[test]
fn pools_of_others_are_shown_whole() {
    let files = databases();
    if files.is_empty() {
        eprintln!("skipped: INNKEEPER_XAPI_POOLS names no folder with databases of pools");
        return;
    }
    for file in &files {
        let name = file.file_name().unwrap().to_string_lossy();
        let pool = Sim::start(&["--load", file.to_str().unwrap()]);
        let table = printed(&pool.inspect(&["--all"]));
        let json: Value = serde_json::from_str(&printed(&pool.inspect(&["-o", "json"]))).unwrap();
        let of = |part: &str| json[part].as_array().unwrap().clone();
        let vms = pool.records("VM");
        let not = |vm: &&Value, field: &str| vm[field] == false;
        let real = || vms.iter().filter(|vm| not(vm, "is_a_snapshot") && not(vm, "is_control_domain"));
        for (part, expected) in [
            ("hosts", pool.records("host").len()),
            ("storage", pool.records("SR").len()),
            ("networks", pool.records("network").len()),
            ("guests", real().filter(|vm| not(vm, "is_a_template")).count()),
            ("templates", real().filter(|vm| vm["is_a_template"] == true).count()),
        ] {
            assert_eq!(of(part).len(), expected, "{name}: {part}");
            for object in of(part) {
                let uuid = object["uuid"].as_str().unwrap();
                assert!(table.contains(uuid), "{name}: the table lacks {uuid} of {part}:\n{table}");
            }
        }
        for host in of("hosts") {
            let bytes = |field: &str| host[field].as_u64().unwrap();
            assert!(bytes("memoryFreeBytes") <= bytes("memoryBytes"), "{name}: {host}");
        }
        let dangling = of("dangling").len();
        assert_eq!(dangling > 0, table.contains("refers to what is not there"), "{name}");
        println!(
            "{name}: {} hosts, {} storage, {} networks, {} templates, {} VMs, {dangling} dangling references",
            of("hosts").len(),
            of("storage").len(),
            of("networks").len(),
            of("templates").len(),
            of("guests").len(),
        );
    }
    println!("{} pools", files.len());
}
