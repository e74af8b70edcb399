use super::{
    super::{records::tests::recorded, view::table, wire},
    *,
};

fn decoded<T: Record>(body: &[u8]) -> Table<T> {
    table(wire::decode(body).unwrap())
}

/// What a real xapi 26.17 answered, without the classes that were not recorded: PBD and PIF.
fn recorded_pool() -> Survey {
    let view = View {
        pools: table(recorded()),
        hosts: table(recorded()),
        host_metrics: table(recorded()),
        vms: table(recorded()).into(),
        guest_metrics: table(recorded()),
        ..View::default()
    };
    let more = More {
        names: decoded(include_bytes!("../testdata/pool.get_all_records.json")),
        repositories: decoded(include_bytes!("../testdata/SR.get_all_records.json")),
        wires: decoded(include_bytes!("../testdata/network.get_all_records.json")),
        slots: decoded(include_bytes!("../testdata/VBD.get_all_records.json")),
        images: decoded(include_bytes!("../testdata/VDI.get_all_records.json")),
        cards: decoded(include_bytes!("../testdata/VIF.get_all_records.json")),
        ..More::default()
    };
    build::survey(&view, &more).unwrap()
}

#[test]
fn a_real_pools_answers_are_read() {
    insta::assert_yaml_snapshot!(recorded_pool());
}

#[test]
fn what_leads_nowhere_is_told_and_harms_nothing() {
    let dangling = recorded_pool().dangling;
    let fields: std::collections::BTreeSet<_> = dangling.iter().map(|d| (d.class.as_str(), d.field.as_str())).collect();
    assert!(fields.contains(&("SR", "PBDs")) && fields.contains(&("network", "PIFs")), "{fields:?}");
    assert!(dangling.is_sorted());
}
