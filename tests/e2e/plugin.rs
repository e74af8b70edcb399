//! `kubectl innkeeper ...`: kubectl finds the binary as its plugin and hands it what was typed.

use std::process::{Command, Output};

use serde_json::Value;

use crate::stack::{PASSWORD, Stack};

/// A cluster in which `web` has six guests, four of them at home.
pub fn answers(stack: &Stack) {
    let plugin = Plugin::install(stack);
    let tree = plugin.run(&["status"]);
    assert!(tree.contains("default/web") && tree.contains("6/6") && tree.contains("└─ web-5"), "{tree}");
    assert!(!tree.contains('\u{1b}'), "colours where there is no terminal: {tree}");
    let json: Value = serde_json::from_str(&plugin.run(&["status", "-A", "-o", "json", "web"])).unwrap();
    let vms: Vec<_> = json[0]["guests"].as_array().unwrap().iter().map(|guest| &guest["vm"]["id"]).collect();
    let ids: Vec<_> = stack.guests().iter().map(|guest| guest["status"]["providerId"].clone()).collect();
    assert!(vms.len() == 6 && vms.iter().all(|id| ids.contains(id)), "{json}");

    let top: Value = serde_json::from_str(&plugin.run(&["top", "-o", "json"])).unwrap();
    let guests: Vec<_> = top["pools"].as_array().unwrap().iter().map(|pool| pool["guests"].as_u64()).collect();
    assert_eq!(guests, [Some(2), Some(4)], "{top}");
    assert!(plugin.run(&["top"]).contains("xen-london"));

    assert!(plugin.run(&["why", "web-5"]).contains("Placed on ec2-ireland"));
    assert!(plugin.run(&["why", "default/web-0"]).contains("xen-london"));
    let unknown = plugin.output(&["why", "web"]);
    let hint = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(!unknown.status.success() && hint.contains("are web-0 to web-5"), "{hint}");

    let plan = plugin.run(&["plan"]);
    assert!(plan.contains("0 without a place"), "{plan}");

    // With the pool's own Secret and the user's rights: our guests are told by name.
    let pool = plugin.run(&["pool", "inspect", "xen-london"]);
    assert!(pool.contains("default/web-0 ") && pool.contains("0 of 4 could be adopted"), "{pool}");
    assert!(!pool.contains(PASSWORD));
    let region: Value = serde_json::from_str(&plugin.run(&["pool", "inspect", "ec2-ireland", "-o", "json"])).unwrap();
    assert_eq!(region["guests"].as_array().map(Vec::len), Some(2), "{region}");

    let context = plugin.output(&["status", "--context", "nowhere"]);
    let complaint = String::from_utf8_lossy(&context.stderr).into_owned();
    assert!(!context.status.success() && complaint.contains("nowhere"), "{complaint}");
    assert!(plugin.run(&["status", "-n", "kube-system"]).is_empty());
}

/// kubectl with a link to the binary on its PATH.
struct Plugin<'a>(&'a Stack, String);

impl<'a> Plugin<'a> {
    fn install(stack: &'a Stack) -> Self {
        let folder = stack.folder.path().join("plugins");
        std::fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_innkeeper"), folder.join("kubectl-innkeeper")).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        Self(stack, format!("{}:{path}", folder.display()))
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let kubectl: &mut Command = &mut self.0.command();
        kubectl.env("PATH", &self.1).arg("innkeeper").args(arguments).output().unwrap()
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "kubectl innkeeper {}: {error}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }
}
