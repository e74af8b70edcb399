//! One field made wrong. The same seed makes the same ones.

use serde_json::{Value, json};

/// A manifest with one wrong field.
pub struct Mutation {
    /// Which field, and how.
    pub what: String,
    pub manifest: Value,
}

/// A generator that is the same everywhere: splitmix64.
pub struct Dice(pub u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

/// All fields below `spec`, as JSON pointers; lists and objects too.
fn fields(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| step(value, format!("{at}/{key}"), found)),
        Value::Array(list) => list.iter().enumerate().for_each(|(n, value)| step(value, format!("{at}/{n}"), found)),
        _ => {}
    }
}

fn step(value: &Value, at: String, found: &mut Vec<String>) {
    fields(value, &at, found);
    found.push(at);
}

/// What a value can be made into. `None`: it is removed.
fn wrong(value: &Value, dice: &mut Dice) -> Option<Value> {
    let any = [
        json!(null),
        json!(""),
        json!({}),
        json!([]),
        json!(true),
        json!(-1),
        json!(0),
        json!(1.5),
        json!(1_000_000_000_000_i64),
        json!("💥 ünïcödé \u{202e}\u{0}"),
        json!("x".repeat(70_000)),
        json!("4 GB"),
        json!("-1Gi"),
        json!("1e99"),
        json!("99999999999999999999Ei"),
        json!("10 fortnights"),
        json!("a\nb: c"),
        json!([[]]),
        json!({ "unknown": 1 }),
        json!("../../etc/passwd"),
        json!("{{ .Values.x }}"),
    ];
    let like = match value {
        Value::Number(_) => vec![json!(-1), json!(0), json!(2), json!(i64::MAX), json!(u64::MAX), json!("1")],
        Value::String(text) => vec![
            json!(format!(" {text}")),
            json!(format!("{text} ")),
            json!(text.to_uppercase()),
            json!(text.to_lowercase()),
            json!(text.repeat(300)),
            json!(text.replace(|c: char| c.is_ascii_digit(), "9")),
            json!(text.trim_end_matches(char::is_alphabetic)),
        ],
        Value::Bool(flag) => vec![json!(!flag), json!(flag.to_string())],
        Value::Array(list) => {
            let twice: Vec<Value> = list.iter().chain(list).cloned().collect();
            vec![json!(twice), json!(list.iter().cycle().take(300).collect::<Vec<_>>())]
        }
        Value::Object(map) => {
            let mut more = map.clone();
            more.insert("unknownField".to_owned(), json!(1));
            vec![Value::Object(more)]
        }
        Value::Null => Vec::new(),
    };
    match dice.below(3) {
        0 => None,
        1 if !like.is_empty() => Some(like[dice.below(like.len())].clone()),
        _ => Some(any[dice.below(any.len())].clone()),
    }
}

/// The good manifest with one wrong field.
pub fn mutation(good: &Value, dice: &mut Dice) -> Mutation {
    let mut all = Vec::new();
    fields(&good["spec"], "/spec", &mut all);
    let at = all[dice.below(all.len())].clone();
    let mut manifest = good.clone();
    let new = wrong(&good.pointer(&at).cloned().unwrap_or_default(), dice);
    let what = match &new {
        None => format!("{at} removed"),
        Some(value) => format!("{at} = {}", value.to_string().chars().take(60).collect::<String>()),
    };
    if let Some(value) = new {
        *manifest.pointer_mut(&at).unwrap() = value;
    } else {
        let (parent, key) = at.rsplit_once('/').unwrap();
        match manifest.pointer_mut(parent).unwrap() {
            Value::Object(map) => drop(map.remove(key)),
            Value::Array(list) => drop(list.remove(key.parse().unwrap())),
            _ => unreachable!("only these have parts"),
        }
    }
    Mutation { what, manifest }
}
