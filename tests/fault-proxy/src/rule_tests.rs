use super::*;

const RUN: Request<'_> = Request { method: "POST", path: "/", action: "RunInstances" };
const LIST: Request<'_> = Request { method: "GET", path: "/api/v1/pods/web-0", action: "GET /api/v1/pods/web-0" };

fn judged(rules: &mut Rules, requests: &[&Request<'_>]) -> String {
    let now = Instant::now();
    let letter = |request: &&Request<'_>| if rules.judge(request, now).is_some() { 'x' } else { '.' };
    requests.iter().map(letter).collect()
}

fn rules(rule: Rule) -> Rules {
    let mut rules = Rules::default();
    rules.add(rule);
    rules
}

#[test]
fn patterns() {
    for (pattern, text, expected) in [
        ("RunInstances", "RunInstances", true),
        ("RunInstances", "RunInstances2", false),
        ("Describe*", "DescribeVolumes", true),
        ("*Volumes", "DescribeVolumes", true),
        ("D*V*s", "DescribeVolumes", true),
        ("*", "", true),
        ("/api/*/pods*", "/api/v1/pods/é", true),
        ("a*b", "a", false),
    ] {
        assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn all_given_conditions_must_hold() {
    let matching = Matching { method: Some("get".into()), path: Some("/api/*".into()), ..Matching::default() };
    assert!(matching.covers(&LIST) && !matching.covers(&RUN));
    assert!(Matching::default().covers(&RUN));
}

#[test]
fn counts_and_skips() {
    let mut some = rules(Rule { skip: 1, ..Rule::on("RunInstances", Fault::DropAfter).times(2) });
    assert_eq!(judged(&mut some, &[&RUN, &LIST, &RUN, &LIST, &RUN, &RUN]), "..x.x.");
    assert_eq!(some.fired()["RunInstances"], 2);
}

#[test]
fn the_first_that_fires_decides() {
    let mut some = rules(Rule { name: "first".into(), ..Rule::on("Run*", Fault::Hang).times(1) });
    some.add(Rule { name: "second".into(), ..Rule::on("*", Fault::DropAfter) });
    let names: Vec<_> = (0..2).map(|_| some.judge(&RUN, Instant::now()).unwrap().name).collect();
    assert_eq!(names, ["first", "second"]);
}

#[test]
fn a_rate_is_exceeded() {
    let rate = Some(Rate { per_second: 2.0, burst: 3.0 });
    let mut some = rules(Rule { rate, ..Rule::on("RunInstances", Fault::ResetBefore) });
    let start = Instant::now();
    let at = |ms| some.judge(&RUN, start + Duration::from_millis(ms)).is_some();
    let verdicts: Vec<_> = [0, 0, 0, 0, 100, 500, 600, 3000, 3000, 3000, 3000].map(at).to_vec();
    assert_eq!(verdicts, [false, false, false, true, true, false, true, false, false, false, true]);
}

#[test]
fn dice_depend_on_the_seed_alone() {
    let many = [&RUN; 400];
    let pattern = |seed| {
        let mut some = Rules::default();
        some.reset(Seed(seed));
        some.add(Rule::on("RunInstances", Fault::DropAfter).chance(0.25));
        judged(&mut some, &many)
    };
    assert_eq!(pattern(7), pattern(7));
    assert_ne!(pattern(7), pattern(8));
    let hits = pattern(7).matches('x').count();
    assert!((70..130).contains(&hits), "{hits} of 400 at a quarter");
    // Requests that the rule is not about do not move its dice.
    let mut mixed = Rules::default();
    mixed.reset(Seed(7));
    mixed.add(Rule::on("RunInstances", Fault::DropAfter).chance(0.25));
    let verdicts: String = many.iter().map(|run| judged(&mut mixed, &[&LIST, run])[1..].to_owned()).collect();
    assert_eq!(verdicts, pattern(7));
}

#[test]
fn rules_are_written_as_json() {
    let text = r#"{"name": "lost", "match": {"action": "RunInstances"}, "fault": {"kind": "drop-after"}, "times": 1}"#;
    let rule: Rule = serde_json::from_str(text).unwrap();
    assert_eq!(rule, Rule { name: "lost".into(), ..Rule::on("RunInstances", Fault::DropAfter).times(1) });
    let answer = r#"{"name": "busy", "fault": {"kind": "answer", "status": 503}}"#;
    assert!(matches!(serde_json::from_str::<Rule>(answer).unwrap().fault, Fault::Answer { status: 503, .. }));
    for wrong in [r#"{"name": "x"}"#, r#"{"name": "x", "fault": {"kind": "nonsense"}}"#, r#"{"name":"x","fautl":1}"#] {
        assert!(serde_json::from_str::<Rule>(wrong).is_err(), "{wrong}");
    }
}
