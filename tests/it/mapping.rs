//! What goes where: spellings of one place, policies, rules, and places that no rule names.

use crate::database::{Database, Kind, shared};
use crate::proxy::{Setup, Twinline};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

fn write(twinline: &Twinline, target: &str, body: &str) {
    let answer = twinline.call(&format!("POST {target}"), &[], body);
    assert_eq!(answer.status, 204, "{target}: {}", answer.text());
}

fn held(database: &Database, name: &str) -> Vec<(i64, String)> {
    let mut cells: Vec<_> = database.cells(name).iter().map(|cell| (cell.time_ns, cell.value.to_string())).collect();
    cells.sort();
    cells
}

/// The default policy by name, by an empty name and by no name is one place: the last value written stands at the end,
/// whichever spelling brought it.
#[test]
fn spellings_of_the_default_policy_are_one_route_in_order() {
    let name = "spellings";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    source.create(name);
    destination.create(name);
    let twinline = Setup::new(source.section(), destination.section()).start();
    let spellings = [
        format!("/write?db={name}"),
        format!("/write?db={name}&rp="),
        format!("/write?db={name}&rp=autogen"),
        format!("/api/v2/write?bucket={name}"),
        format!("/api/v2/write?bucket={name}%2Fautogen"),
        format!("/api/v2/write?bucket={name}%2F"),
    ];
    for round in 0..20 {
        for (at, spelling) in spellings.iter().enumerate() {
            write(&twinline, spelling, &format!("m v={}i 1", round * 10 + at));
        }
    }
    twinline.delivered(120);
    assert_eq!(held(&source, name), [(1, "195i".to_owned())]);
    assert_eq!(held(&destination, name), [(1, "195i".to_owned())]);
}

#[test]
fn another_policy_goes_to_a_bucket_of_both_names() {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    source.create("policies");
    source.create("policies/other");
    destination.create("policies");
    destination.create("policies/other");
    let twinline = Setup::new(source.section(), destination.section()).start();
    write(&twinline, "/write?db=policies", "m v=1i 1");
    write(&twinline, "/write?db=policies&rp=other", "m v=2i 1");
    write(&twinline, "/api/v2/write?bucket=policies/other", "m v=3i 2");
    twinline.delivered(3);
    assert_eq!(held(&destination, "policies"), [(1, "1i".to_owned())]);
    assert_eq!(held(&destination, "policies/other"), [(1, "2i".to_owned()), (2, "3i".to_owned())]);
}

/// A change of the default policy that passes through changes at once what no name means and what each name means.
#[test]
fn a_changed_default_policy_keeps_the_policies_apart() {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    for database in [&source, &destination] {
        database.create("moved");
        database.create("moved/week");
    }
    let twinline = Setup::new(source.section(), destination.section()).start();
    write(&twinline, "/write?db=moved", "m v=1i 1");
    write(&twinline, "/write?db=moved&rp=week", "m v=2i 2");
    twinline.delivered(2);
    let change = "ALTER RETENTION POLICY week ON moved DEFAULT";
    destination.query(change);
    let changed = twinline.call("POST /query", &[FORM], format!("q={}", change.replace(' ', "+")));
    assert_eq!(changed.text().trim(), r#"{"results":[{"statement_id":0}]}"#);
    write(&twinline, "/write?db=moved", "m v=3i 3");
    write(&twinline, "/write?db=moved&rp=week", "m v=4i 4");
    write(&twinline, "/write?db=moved&rp=autogen", "m v=5i 5");
    twinline.delivered(5);
    for database in [&source, &destination] {
        let times = |name| held(database, name).into_iter().map(|(time, _)| time).collect::<Vec<_>>();
        assert_eq!((times("moved/autogen"), times("moved/week")), (vec![1, 5], vec![2, 3, 4]));
    }
}

#[test]
fn rules_rename_and_what_none_names_stays_at_the_source_and_is_counted() {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::Two, 0));
    for name in ["old_name", "left_alone"] {
        source.create(name);
    }
    source.create("old_name/short");
    for name in ["new_name", "left_alone", "for_short"] {
        destination.create(name);
    }
    let rules = "[[mapping.rule]]\nfrom = { db = \"old_name\", rp = \"short\" }\nto = { bucket = \"for_short\" }\n\
                 [[mapping.rule]]\nfrom = { db = \"old_name\" }\nto = { bucket = \"new_name\" }\n";
    let twinline = Setup::new(source.section(), destination.section()).more(rules).start();
    write(&twinline, "/write?db=old_name", "m v=1i 1\nm v=2i 2");
    write(&twinline, "/write?db=old_name&rp=short", "m v=3i 3");
    write(&twinline, "/write?db=left_alone", "m v=4i 4\nm v=5i 5\nm v=6i 6");
    let status = twinline.settled(6);
    assert_eq!((&status["lines"]["delivered"], &status["lines"]["excluded"]), (&3.into(), &3.into()));
    assert_eq!(held(&destination, "new_name").len(), 2);
    assert_eq!(held(&destination, "for_short").len(), 1);
    assert_eq!(held(&source, "left_alone").len(), 3);
    assert_eq!(held(&destination, "left_alone"), []);
    let text = String::from_utf8(twinline.command(&["status"]).stdout).unwrap();
    let excluded = text.lines().find(|line| line.trim_start().starts_with("excluded")).unwrap();
    assert_eq!(excluded.split_whitespace().last(), Some("3"));
}

/// Every database of a form goes to a name made of its own, with its policies; what a form does not take stays.
#[test]
fn forms_of_names_go_to_names_made_of_them() {
    for (kind, number) in [(Kind::One, 1), (Kind::Two, 0)] {
        let (source, destination) = (shared(Kind::One, 0), shared(kind, number));
        let own = if kind == Kind::One { "form" } else { "like" };
        for name in ["-a", "-a/week", "-b", "x"] {
            source.create(&format!("{own}{name}"));
        }
        for name in ["-a", "-a/week", "-b"] {
            destination.create(&format!("prod_{own}{name}"));
        }
        let rule = format!(
            "[[mapping.rule]]\nfrom = {{ db = \"{own}-?\" }}\nto = {{ db = \"prod_{{db}}\", rp = \"{{rp}}\" }}\n"
        );
        let twinline = Setup::new(source.section(), destination.section()).more(&rule).start();
        write(&twinline, &format!("/write?db={own}-a"), "m v=1i 1");
        write(&twinline, &format!("/write?db={own}-a&rp=week"), "m v=2i 2");
        write(&twinline, &format!("/write?db={own}-b"), "m v=3i 3");
        write(&twinline, &format!("/write?db={own}x"), "m v=4i 4");
        let status = twinline.settled(4);
        assert_eq!((&status["lines"]["delivered"], &status["lines"]["excluded"]), (&3.into(), &1.into()));
        for (name, time) in [("-a", 1), ("-a/week", 2), ("-b", 3)] {
            assert_eq!(held(&destination, &format!("prod_{own}{name}")), [(time, format!("{time}i"))], "{name}");
        }
    }
}
