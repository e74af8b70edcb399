//! The tree for people.

use super::tree::{GuestNode, State, WorkloadNode};
use crate::cli::table;

/// How it is shown.
pub(super) struct View {
    pub colours: bool,
    /// Leave out guests that are ready.
    pub not_ready: bool,
}

/// A line: cells of the table, or a sentence below it.
enum Line {
    Row([String; 7], State),
    Text(String, State),
}

/// The tree in lines.
pub(super) fn render(tree: &[WorkloadNode], view: &View) -> String {
    let head = ["NAME", "READY", "STATE", "WHERE", "ADDRESS", "COST", "AGE"].map(str::to_owned);
    let mut lines = vec![Line::Row(head, State::Ready)];
    for workload in tree {
        add_workload(&mut lines, workload, view);
    }
    let rows: Vec<[String; 7]> = lines.iter().filter_map(Line::row).collect();
    let rendered = table::render(&rows);
    let mut rows = rendered.lines();
    let mut text = String::new();
    for line in &lines {
        let (plain, state) = match line {
            Line::Row(_, state) => (rows.next().unwrap_or_default().to_owned(), *state),
            Line::Text(text, state) => (table::plain(text), *state),
        };
        text += &coloured(&plain, state, view.colours);
    }
    text
}

impl Line {
    fn row(&self) -> Option<[String; 7]> {
        match self {
            Self::Row(row, _) => Some(row.clone()),
            Self::Text(..) => None,
        }
    }
}

fn add_workload(lines: &mut Vec<Line>, workload: &WorkloadNode, view: &View) {
    let name = format!("{}/{}", workload.namespace, workload.name);
    let ready = format!("{}/{}", workload.ready, workload.wanted);
    let cost = workload.monthly_cost.as_ref().map(|cost| format!("{cost}/month")).unwrap_or_default();
    let state = workload.state.to_string();
    let row = [name, ready, state, String::new(), String::new(), cost, age(workload.age_seconds)];
    lines.push(Line::Row(row, workload.state));
    let shown: Vec<&GuestNode> =
        workload.guests.iter().filter(|guest| !view.not_ready || guest.state != State::Ready).collect();
    let left_out = workload.guests.len() - shown.len();
    if let Some(message) = &workload.message {
        lines.push(Line::Text(format!("{}  {message}", if shown.is_empty() { " " } else { "│" }), workload.state));
    }
    for (number, guest) in shown.iter().enumerate() {
        add_guest(lines, guest, number + 1 == shown.len() && left_out == 0);
    }
    if left_out > 0 {
        let are = if left_out == 1 { "guest that is ready is" } else { "guests that are ready are" };
        lines.push(Line::Text(format!("└─ {left_out} {are} not shown"), State::Ready));
    }
}

fn add_guest(lines: &mut Vec<Line>, guest: &GuestNode, last: bool) {
    let (branch, trunk) = if last { ("└─", "  ") } else { ("├─", "│ ") };
    let row = [
        format!("{branch} {}", guest.name),
        if guest.state == State::Ready { "yes" } else { "no" }.to_owned(),
        guest.phase.clone(),
        guest.pool.clone().unwrap_or_else(|| "-".to_owned()),
        guest.addresses.first().cloned().unwrap_or_default(),
        guest.hourly_cost.as_ref().map(|cost| format!("{cost}/h")).unwrap_or_default(),
        age(guest.age_seconds),
    ];
    lines.push(Line::Row(row, guest.state));
    let below = if guest.vm.is_some() { "│" } else { " " };
    for text in guest.message.iter().chain(&guest.notes) {
        lines.push(Line::Text(format!("{trunk} {below}  {text}"), guest.state));
    }
    if let Some(vm) = &guest.vm {
        let id = vm.id.as_deref().unwrap_or("no VM seen yet");
        let count = if vm.incarnation > 1 { format!(" (VM {} of this guest)", vm.incarnation) } else { String::new() };
        let row = [
            format!("{trunk} └─ {id}{count}"),
            String::new(),
            vm.progress.clone(),
            vm.place.clone().unwrap_or_default(),
            String::new(),
            String::new(),
            String::new(),
        ];
        lines.push(Line::Row(row, guest.state));
    }
}

/// What is ready has the terminal's own colour.
fn coloured(line: &str, state: State, colours: bool) -> String {
    let code = match state {
        State::InProgress => "33",
        State::Stalled => "31",
        State::Terminating => "2",
        State::Ready => return format!("{line}\n"),
    };
    if colours { format!("\u{1b}[{code}m{line}\u{1b}[0m\n") } else { format!("{line}\n") }
}

/// A length of time as kubectl shows ages.
pub(super) fn age(seconds: i64) -> String {
    match seconds {
        ..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
