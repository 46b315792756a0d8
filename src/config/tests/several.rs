//! `[[destination]]`, several times.

use super::*;
use crate::config::{budget_sum, memory_parts};

const HEAD: &str = "listen = \"127.0.0.1:8086\"\n[source]\nurl = \"http://old:8086\"\n";

fn table(id: &str, url: &str) -> String {
    format!("[[destination]]\nid = \"{id}\"\nurl = \"{url}\"\n")
}

#[test]
fn each_has_what_is_its_own_and_counts_in_the_budget() {
    let second = table("vm", "http://vm:8428");
    let text = format!(
        "{HEAD}{}lanes = 2\n",
        table("main", "http://new:8086") + &second + "kind = \"victoriametrics\"\n[destination.delivery]\n"
    );
    let config = good(&text).config;
    let read: Vec<_> = config.destinations.iter().map(|one| (one.id.as_str(), one.kind, one.delivery.lanes)).collect();
    assert_eq!(read, [("main", DestinationKind::Auto, 4), ("vm", DestinationKind::Victoriametrics, 2)]);
    let alone = config.each().map(|one| budget_sum(&memory_parts(&one)).0).collect::<Vec<_>>();
    assert!(budget_sum(&memory_parts(&config)).0 > alone[0].max(alone[1]) + (100 << 20));
    assert_eq!(config.one(Some("vm")).unwrap().destination().id.as_str(), "vm");
    assert_eq!(config.one(None).unwrap_err(), "there are several destinations: main, vm");
    assert_eq!(config.one(Some("x")).unwrap_err(), "there is no destination x; there is main, vm");
}

#[test]
fn what_cannot_be_meant_is_placed() {
    let main = table("main", "http://new:8086");
    let missing = format!("{HEAD}{main}[[destination]]\nurl = \"http://b:8086\"\n");
    let (line, _, key, text) = one_fault(&missing);
    assert!((line, key.as_str()) == (7, "destination.id") && text.contains("each of several"), "{line} {text}");
    let (line, _, key, text) = one_fault(&format!("{HEAD}{main}{}", table("main", "http://b:8086")));
    assert!((line, key.as_str()) == (8, "destination.id") && text.contains("main-2"), "{line} {text}");
    let (line, _, key, text) = one_fault(&format!("{HEAD}{main}{}", table("b", "http://new:8086")));
    assert!((line, key.as_str()) == (9, "destination.url") && text.contains("twice"), "{line} {text}");
    let (line, _, key, text) = one_fault(&format!("{HEAD}{main}{}", table("b", "http://old:8086")));
    assert!((line, key.as_str()) == (9, "destination.url") && text.contains("source itself"), "{line} {text}");
    let nine: String = (1..=9).map(|n| table(&format!("d{n}"), &format!("http://d{n}:8086"))).collect();
    let (_, _, key, text) = one_fault(&format!("{HEAD}{nine}"));
    assert!(key == "destination" && text.contains("9 entries, not 1 to 8"), "{text}");
    let (_, _, key, _) = one_fault(&format!("destination = []\n{HEAD}"));
    assert_eq!(key, "destination");
    let (line, _, key, _) =
        one_fault(&format!("{HEAD}{main}[[destination]]\nid = \"b\"\nurl = \"http://b:1\"\nlanes = 1\n"));
    assert_eq!((line, key.as_str()), (10, "destination.lanes"));
}

fn ruled(rules: &str) -> String {
    format!("{HEAD}{}{}{rules}", table("main", "http://new:8086"), table("vm", "http://vm:8428"))
}

fn rule(from: &str, to: &str) -> String {
    format!("[[mapping.rule]]\nfrom = {{ {from} }}\nto = {{ {to} }}\n")
}

#[test]
fn a_rule_may_be_for_some_of_them_alone() {
    let only_main = rule("db = \"a\"", "destination = \"main\"");
    let both = rule("db = \"b\"", "destinations = [\"vm\", \"main\"], db = \"x_{db}\"");
    let config = good(&ruled(&(only_main.clone() + &both))).config;
    let shown: Vec<Vec<String>> =
        config.each().map(|one| one.mapping.rules.iter().map(ToString::to_string).collect()).collect();
    assert_eq!(shown, [vec!["db a → the same name", "db b → db x_{db}"], vec!["db b → db x_{db}"]]);
    // A wider one behind it is for the others, and does not hide it.
    let all = rule("db = \"*\"", "db = \"*\"");
    assert_eq!(good(&ruled(&(only_main.clone() + &all))).warnings, Vec::<String>::new());
    let (.., text) = one_fault(&ruled(&(all + &only_main)));
    assert!(text.contains("never applies"), "{text}");
    // One for whom there is none gets nothing, instead of everything.
    let loaded = good(&ruled(&only_main));
    assert!(loaded.warnings.len() == 1 && loaded.warnings[0].contains("none is for destination \"vm\""));
    let vm = loaded.config.one(Some("vm")).unwrap().mapping;
    assert!(vm.takes_nothing() && !vm.keeps_names());
}

#[test]
fn a_rule_for_nobody_and_two_that_fill_one_place_are_told() {
    for (to, what) in [
        ("destination = \"vn\"", "\"vn\" is no destination of this file"),
        ("destinations = []", "names none"),
        ("destinations = [\"vm\"], destination = \"main\"", "stands beside destinations"),
    ] {
        let (.., text) = one_fault(&ruled(&rule("db = \"a\"", to)));
        assert!(text.contains(what), "{text}");
    }
    let into = |db: &str, to: &str| rule(&format!("db = \"{db}\""), to);
    let warnings = |text: String| good(&ruled(&text)).warnings;
    for (first, second) in [
        (into("a", "db = \"x\""), into("b", "db = \"x\"")),
        (into("a", "db = \"b\""), into("b", "db = \"*\"")),
        (into("a", "db = \"x\""), rule("bucket = \"b\"", "bucket = \"x\"")),
        (rule("db = \"a\", rp = \"p\"", "db = \"a\""), into("a", "db = \"a\"")),
    ] {
        let told = warnings(first.clone() + &second);
        assert!(
            told.len() == 1 && told[0].contains("is where rule 1 above it puts its own"),
            "{first}{second}{told:?}"
        );
    }
    for (first, second) in [
        (into("a", "db = \"x\""), into("b", "db = \"y\"")),
        (into("a", "db = \"x\", destination = \"vm\""), into("b", "db = \"x\", destination = \"main\"")),
        (
            rule("db = \"a\", rp = \"p\"", "db = \"a\", rp = \"{rp}\""),
            rule("db = \"a\", rp = \"q\"", "db = \"a\", rp = \"q\""),
        ),
    ] {
        assert_eq!(warnings(first + &second), Vec::<String>::new());
    }
}
