//! Rules for one destination alone: what stays at the source for one goes on to the others.

use crate::database::{Database, Kind};
use crate::many::{delivered, is_equal, lines_of, named, of, sandbox};
use crate::proxy::{Setup, Twinline};
use crate::victoria_server::Victoria;

fn write(twinline: &Twinline, db: &str, body: &str) {
    let answer = twinline.call(&format!("POST /write?db={db}"), &[], body);
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn rule(db: &str, to: &str) -> String {
    format!("[[mapping.rule]]\nfrom = {{ db = \"{db}\" }}\nto = {{ {to} }}\n")
}

#[test]
fn what_is_excluded_for_one_goes_to_the_others() {
    let (source, main, second) = (sandbox(), sandbox(), sandbox());
    source.create_database("own");
    source.create_database("neither");
    main.create_database("own");
    let mut setup = Setup::new(lines_of(&source), named("main", &main));
    setup.others.push(named("second", &second));
    let rules = rule("own", "destination = \"main\"") + &rule("d", "db = \"d\"");
    let twinline = setup.more(&rules).start();
    write(&twinline, "own", "m v=1 1\nm v=2 2");
    write(&twinline, "d", "m v=1 1\nm v=2 2\nm v=3 3");
    write(&twinline, "neither", "m v=1 1");
    let main_status = delivered(&twinline, "main", 5);
    let second_status = delivered(&twinline, "second", 3);
    assert_eq!((&main_status["lines"]["excluded"], &second_status["lines"]["excluded"]), (&1.into(), &3.into()));
    is_equal(&source, &main).unwrap();
    is_equal(&source, &second).unwrap();
    assert_eq!((main.cells("own", "").len(), second.cells("own", "").len()), (2, 0));
    // A statement follows the same rules.
    let drops = |q: &str, db: &str| {
        let answer = twinline.call(&format!("GET /query?db={db}&q={}", crate::http::escape(q)), &[], "");
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    drops("DELETE FROM m WHERE time < 2", "own");
    drops("DELETE FROM m WHERE time < 2", "d");
    write(&twinline, "d", "m v=4 4");
    delivered(&twinline, "second", 4);
    delivered(&twinline, "main", 6);
    assert_eq!((main.cells("own", "").len(), main.cells("d", "").len(), second.cells("d", "").len()), (1, 3, 3));
    let status = twinline.status();
    assert_eq!(status["statements_not_mirrored"], 0, "{status:#}");
    assert_eq!(of(&status, "second")["lines"]["doubt"], 0);
}

/// 1.13 to 2.9 and VictoriaMetrics: one database to each alone, and one to both.
#[test]
fn each_of_two_real_destinations_gets_what_its_rules_say() {
    let (source, two, victoria) = (Database::start(Kind::One), Database::start(Kind::Two), Victoria::start());
    for name in ["only_two", "metrics", "shared"] {
        source.create(name);
    }
    two.create("only_two");
    two.create("shared");
    let mut setup = Setup::new(source.section(), format!("id = \"two\"\n{}", two.section()));
    setup.others.push(format!("id = \"vm\"\n{}", victoria.section()));
    let rules = rule("only_two", "destination = \"two\", bucket = \"only_two\"")
        + &rule("metrics", "destination = \"vm\"")
        + &rule("shared", "destinations = [\"two\", \"vm\"]");
    let twinline = setup.more(&rules).start();
    let plan = String::from_utf8(twinline.command(&["plan"]).stdout).unwrap();
    assert!(plan.contains("what goes there by the rules: db metrics → the same name; db shared"), "{plan}");
    let shown = String::from_utf8(twinline.command(&["inventory"]).stdout).unwrap();
    assert!(shown.contains("mirrored to bucket shared of o at two, database shared at vm"), "{shown}");
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let at = |back: u128| (now_ms - back * 1000) * 1_000_000;
    for (name, lines) in [("only_two", 3), ("metrics", 4), ("shared", 5)] {
        let body: String = (1..=lines).map(|back| format!("m,h=a v={back} {}\n", at(back))).collect();
        write(&twinline, name, &body);
    }
    let two_status = delivered(&twinline, "two", 8);
    let vm_status = delivered(&twinline, "vm", 9);
    assert_eq!((&two_status["lines"]["excluded"], &vm_status["lines"]["excluded"]), (&4.into(), &3.into()));
    for (name, lines) in [("only_two", 3), ("shared", 5)] {
        let differences = twinline::cell::compare(source.cells(name), two.cells(name));
        assert!(differences.is_empty() && differences.equal == lines, "{name}: {differences}");
    }
    let samples = victoria.samples();
    for (name, lines) in [("only_two", 0), ("metrics", 4), ("shared", 5)] {
        let of = |labels: &str| labels.contains(&format!("\"db\": \"{name}\""));
        let own: usize = samples.iter().filter(|(labels, _)| of(labels)).map(|(_, all)| all.len()).sum();
        assert_eq!(own, lines, "{name}: {samples:?}");
    }
}
