//! What goes where: spellings of one place, policies, rules, and places that no rule names.

use twinline::sandbox::{Faults, Options, Sandbox, WriteAction, WriteFault};

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

/// What a rule does to lines, as it is written in the test below, on points taken apart.
mod by_hand {
    use std::collections::BTreeMap;

    /// A point: measurement, tags, fields with their values as they are written.
    #[derive(Clone, Debug)]
    pub(super) struct Point {
        pub(super) measurement: String,
        pub(super) tags: BTreeMap<String, String>,
        pub(super) fields: BTreeMap<String, String>,
        pub(super) time_ns: i64,
    }

    impl Point {
        pub(super) fn line(&self) -> String {
            let tags: String = self.tags.iter().map(|(key, value)| format!(",{key}={value}")).collect();
            let fields: Vec<_> = self.fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{}{tags} {} {}", self.measurement, fields.join(","), self.time_ns)
        }

        /// `None`: it stays at the source.
        pub(super) fn by_rule(&self) -> Option<Self> {
            let name = self.measurement.as_str();
            let is_included = name == "cpu" || name == "net" || name.starts_with("mem") && name != "mem_debug";
            let mut new = self.clone();
            new.measurement = if name == "cpu" { "processor".to_owned() } else { name.to_owned() };
            new.tags.retain(|key, _| !key.starts_with("secret"));
            if let Some(host) = new.tags.remove("hostname") {
                new.tags.insert("host".to_owned(), host);
            }
            new.fields.clear();
            for (key, value) in self.fields.iter().filter(|(key, _)| !key.ends_with("_internal")) {
                let renamed = key.strip_prefix("usage_").map_or(key.clone(), |rest| format!("{rest}_pct"));
                let value = if name == "net" { value.trim_end_matches('i') } else { value };
                new.fields.insert(renamed, value.to_owned());
            }
            (is_included && !new.fields.is_empty()).then_some(new)
        }
    }
}

const RULE: &str = "include = [\"cpu\", \"net\", \"mem*\"]\nexclude = [\"mem_debug\"]\ndrop_tags = [\"secret?\"]\n\
     drop_fields = [\"*_internal\"]\nrename_measurement = { cpu = \"processor\" }\nrename_tag = { hostname = \"host\" }\n\
     rename_field = { \"usage_*\" = \"*_pct\" }\nint_to_float = [\"net.*\"]\n";

fn some_points(seed: u64, count: usize) -> Vec<by_hand::Point> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut points = Vec::new();
    for _ in 0..count {
        let measurement = ["cpu", "net", "mem", "mem_debug", "memory", "disk"][random.usize(..6)].to_owned();
        let mut some = |keys: &[&str], most: usize| -> Vec<String> {
            (0..random.usize(..=most)).map(|_| keys[random.usize(..keys.len())].to_owned()).collect()
        };
        let (tags, fields) =
            (some(&["hostname", "secret1", "dc"], 3), some(&["usage_idle", "count", "x_internal", "text"], 4));
        let tag = |key: String| (key, ["a", "b"][random.usize(..2)].to_owned());
        let tags = tags.into_iter().map(tag).collect();
        let mut fields: std::collections::BTreeMap<_, _> = fields
            .into_iter()
            .map(|key| {
                let number = random.u32(..1000);
                let value = match key.as_str() {
                    "usage_idle" => format!("{number}.5"),
                    "text" => format!("\"t, {number}\""),
                    _ => format!("{number}i"),
                };
                (key, value)
            })
            .collect();
        if fields.is_empty() {
            fields.insert("x_internal".to_owned(), "1i".to_owned());
        }
        points.push(by_hand::Point { measurement, tags, fields, time_ns: random.i64(1..40) });
    }
    points
}

/// Whatever lines come, the destination holds what the rules make of them one by one, in their order; nothing else, and all is counted.
#[test]
fn the_destination_holds_what_rules_make_of_each_line() {
    for (kind, number, seed) in [(Kind::One, 1, 11), (Kind::Two, 0, 12)] {
        let (source, destination) = (shared(Kind::One, 0), shared(kind, number));
        let (from, to) = (format!("shape_{kind:?}"), format!("shaped_{kind:?}"));
        source.create(&from);
        destination.create(&to);
        source.create(&format!("{from}_x"));
        let rule = format!("[[mapping.rule]]\nfrom = {{ db = \"{from}\" }}\nto = {{ db = \"{to}\" }}\n{RULE}");
        let mut twinline = Setup::new(source.section(), destination.section()).more(&rule).start();
        let points = some_points(seed, 1_200);
        let mut expected = std::collections::BTreeMap::new();
        let mut stay = 0;
        for point in &points {
            let Some(new) = point.by_rule() else {
                stay += 1;
                continue;
            };
            for (key, value) in new.fields {
                let value = if value.bytes().all(|b| b.is_ascii_digit()) { format!("{value}.0") } else { value };
                expected.insert((new.measurement.clone(), format!("{:?}", new.tags), key, new.time_ns), value);
            }
        }
        for (at, chunk) in points.chunks(40).enumerate() {
            let body: Vec<_> = chunk.iter().map(by_hand::Point::line).collect();
            write(&twinline, &format!("/write?db={from}"), &body.join("\n"));
            if at == 15 {
                twinline.settled(640);
                twinline.stop(rustix::process::Signal::KILL);
                twinline.start_again();
            }
        }
        write(&twinline, &format!("/write?db={from}_x"), "m v=1 1\nm v=1 2");
        let status = twinline.settled(1_202);
        let lines = &status["lines"];
        assert_eq!((&lines["excluded"], &lines["dead_lettered"]), (&(stay + 2).into(), &0.into()), "{status:#}");
        assert_eq!(lines["delivered"], 1_200 - stay);
        let rows = status["excluded"].to_string();
        assert!(
            rows.contains(&format!("\"{from}_x\"")) && rows.contains("no-rule") && rows.contains("by-rule"),
            "{rows}"
        );
        for code in ["tag-dropped", "field-dropped", "renamed", "integer-as-float"] {
            assert!(status["changes"].to_string().contains(code), "{code}: {}", status["changes"]);
        }
        let mut found = std::collections::BTreeMap::new();
        for cell in destination.cells(&to) {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let tags: std::collections::BTreeMap<_, _> =
                cell.series.tags().iter().map(|(key, value)| (text(key), text(value))).collect();
            let key = (text(cell.series.measurement()), format!("{tags:?}"), text(&cell.field), cell.time_ns);
            found.insert(key, cell.value.to_string());
        }
        assert_eq!(found, expected);
    }
}

/// A delete of a measurement that has another name there deletes it there; what cannot be said under the rules is told.
#[test]
fn deletes_follow_the_names_that_lines_have_at_the_destination() {
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    source.create("shape_del");
    destination.create("shaped_del");
    let rule = format!("[[mapping.rule]]\nfrom = {{ db = \"shape_del\" }}\nto = {{ db = \"shaped_del\" }}\n{RULE}");
    let twinline = Setup::new(source.section(), destination.section()).more(&rule).start();
    let run = |q: &str| {
        let answer = twinline.call("POST /query?db=shape_del", &[FORM], format!("q={}", crate::http::escape(q)));
        assert_eq!(answer.text().trim(), r#"{"results":[{"statement_id":0}]}"#, "{q}");
    };
    write(
        &twinline,
        "/write?db=shape_del",
        "cpu v=1i 1\ncpu v=2i 2\nmem,hostname=a v=3i 3\nmem_debug v=1i 1\nmemory v=4i 4",
    );
    run("DELETE FROM cpu WHERE time <= 1");
    run("DROP MEASUREMENT mem_debug");
    run("DROP MEASUREMENT memory");
    assert_eq!(twinline.status()["statements_not_mirrored"], 0);
    run("DELETE FROM mem WHERE hostname = 'a'");
    twinline.until("the last is told", |status| status["statements_not_mirrored"] == 1);
    crate::proxy::eventually("what came before it is done", || {
        let held = held(&destination, "shaped_del");
        if held == [(2, "2i".to_owned()), (3, "3i".to_owned())] { Ok(()) } else { Err(format!("{held:?}")) }
    });
    assert_eq!(held(&source, "shape_del"), [(2, "2i".to_owned())]);
}

/// What no rule sends anywhere is in nobody's doubt: there is nothing to read back.
#[test]
fn doubt_of_a_route_that_stays_at_the_source_is_no_region() {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    for db in ["goes", "stays"] {
        source.create_database(db);
        destination.create_database(db);
    }
    let url =
        |sandbox: &Sandbox| format!("url = \"{}\"\nkind = \"influxdb1\"\nrequest_timeout = \"1s\"", sandbox.url());
    let rule = "[[mapping.rule]]\nfrom = { db = \"goes\" }\nto = { db = \"goes\" }";
    let mut twinline = Setup::new(url(&source), url(&destination)).more(rule).start();
    for db in ["stays", "goes"] {
        let fault = WriteFault { action: WriteAction::Drop { applied: true }, next: Some(1) };
        source.set_faults(Faults { writes: Some(fault), ..Faults::default() });
        assert_eq!(twinline.call(&format!("POST /write?db={db}"), &[], "m v=1 1").status, 503);
    }
    for _ in 0..2 {
        let status = twinline.settled(2);
        let lines = &status["lines"];
        assert_eq!((&lines["doubt"], &lines["excluded"]), (&1.into(), &1.into()), "{status:#}");
        assert_eq!(status["dirty_regions"], 1, "{status:#}");
        assert!(status["regions"][0]["route"].as_str().unwrap().contains("goes"), "{status:#}");
        twinline.stop(rustix::process::Signal::KILL);
        twinline.start_again();
    }
}
