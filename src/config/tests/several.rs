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
