use super::*;
use crate::cli::{status::tree::tree, testing};

fn shown(view: &View) -> String {
    let objects = testing::cluster();
    render(&tree(&objects.workloads, &objects.guests, testing::now()), view)
}

#[test]
fn a_cluster_as_a_tree() {
    insta::assert_snapshot!(shown(&View { colours: false, not_ready: false }));
}

#[test]
fn what_is_ready_can_be_left_out() {
    insta::assert_snapshot!(shown(&View { colours: false, not_ready: true }));
}

#[test]
fn colours_change_nothing_but_the_colour() {
    let coloured = shown(&View { colours: true, not_ready: false });
    assert!(coloured.contains("\u{1b}[31m") && coloured.contains("\u{1b}[33m"), "{coloured}");
    let plain = ["\u{1b}[31m", "\u{1b}[33m", "\u{1b}[2m", "\u{1b}[0m"]
        .iter()
        .fold(coloured, |text, code| text.replace(code, ""));
    assert_eq!(plain, shown(&View { colours: false, not_ready: false }));
}

#[test]
fn ages_are_written_as_kubectl_does() {
    for (seconds, text) in [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (172_800, "2d")] {
        assert_eq!(age(seconds), text);
    }
}
