//! docs/cli.md says what the command line takes, in the words of its own help.
//!
//! Between the marks `<!-- options of innkeeper X -->` and `<!-- end -->` stands what is made here. With
//! `INNKEEPER_WRITE_DOCS=1` the file is written anew.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
const END: &str = "<!-- end -->";

/// All subcommands that do something, by their full names.
fn commands(command: &Command, name: &str) -> Vec<(String, Command)> {
    let below: Vec<_> = command.get_subcommands().filter(|sub| sub.get_name() != "help").collect();
    if below.is_empty() {
        return vec![(name.to_owned(), command.clone())];
    }
    below.into_iter().flat_map(|sub| commands(sub, &format!("{name} {}", sub.get_name()))).collect()
}

fn options(command: &Command) -> String {
    let mut text = "| option | meaning |\n| --- | --- |\n".to_owned();
    let shown = |arg: &&Arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    for arg in command.get_arguments().filter(shown) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} | {} |", spelling(arg), meaning(arg));
    }
    text
}

fn spelling(arg: &Arg) -> String {
    let value = arg.get_value_names().filter(|_| arg.get_action().takes_values()).map(|names| names.join(" "));
    let choices: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let value = match (choices.as_slice(), value) {
        (choices, Some(_)) if !choices.is_empty() => Some(choices.join("\\|")),
        (_, value) => value,
    };
    let Some(long) = arg.get_long() else { return format!("`{}`", value.unwrap_or_default()) };
    let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let value = value.map(|value| format!(" {value}")).unwrap_or_default();
    format!("{short}`--{long}{value}`")
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = help.replace('|', "\\|");
    let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if let ([default], true) = (default.as_slice(), arg.get_action().takes_values()) {
        let _ = write!(text, "; left out: `{default}`");
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, " (`{}`)", variable.to_string_lossy());
    }
    text
}

/// The document with all that is made here made anew.
fn renewed(document: &str) -> Result<String, String> {
    let mut text = document.to_owned();
    for (name, command) in commands(&innkeeper::cli::Cli::command(), "innkeeper") {
        let heading = format!("\n## {name}\n");
        let mark = format!("<!-- options of {name} -->\n");
        let (Some(_), Some(start)) = (text.find(&heading), text.find(&mark)) else {
            return Err(format!("{FILE} lacks a chapter \"## {name}\" with the mark {mark}"));
        };
        let start = start + mark.len();
        let Some(length) = text[start..].find(END) else { return Err(format!("{FILE}: {mark} has no {END}")) };
        text.replace_range(start..start + length, &options(&command));
    }
    Ok(text)
}

#[test]
fn the_page_about_the_command_line_says_what_the_help_says() {
    let document = std::fs::read_to_string(FILE).unwrap();
    let renewed = renewed(&document).unwrap_or_else(|error| panic!("{error}"));
    if std::env::var_os("INNKEEPER_WRITE_DOCS").is_some() {
        std::fs::write(FILE, renewed).unwrap();
        return;
    }
    let marks = document.matches("<!-- options of ").count();
    let commands = commands(&innkeeper::cli::Cli::command(), "innkeeper").len();
    assert_eq!(marks, commands, "{FILE} has chapters of commands that are not there");
    assert!(
        document == renewed,
        "{FILE} is out of date: INNKEEPER_WRITE_DOCS=1 cargo test --workspace --test cli docs"
    );
}
