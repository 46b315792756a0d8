//! The house's order: who may use whom, how long things may be, what may stand in the text. Every complaint names file, line and rule.

#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use source::{Source, functions, line_of, paths, sources, words};

/// From the ground up; a folder may use those of lower layers.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["line", "wal", "cell", "config"],
    &["queue", "state", "db", "route"],
    &["pipeline", "delivery"],
    &["backfill"],
    &["http", "verify", "cutover"],
    &["control", "load", "sandbox"],
    &["cli"],
];

/// Uses within one layer that are allowed: (who, whom, why).
const NEIGHBOURS: &[(&str, &str, &str)] = &[
    ("config", "line", "a rule about lines is checked where it is written"),
    ("queue", "route", "an intent carries its route by name, so that a log can be read without the catalogue"),
    ("route", "state", "the catalogue's numbers are in the log and must outlive the process"),
    ("route", "db", "a request is understood in the words of the API that it speaks"),
];

/// These take bytes and times as arguments and touch nothing outside.
const PURE: &[&[&str]] = &[
    &["line"],
    &["cell"],
    &["db", "influxql"],
    &["backfill", "files"],
    &["backfill", "throttle", "rule"],
    &["wal", "record"],
    &["wal", "segment"],
    &["wal", "group"],
];
const OUTSIDE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "tokio",
    "base::disk",
    "Clock",
    "SharedClock",
    "SystemClock",
    "Instant",
    "SystemTime",
];

/// Where `unsafe` may stand.
const UNSAFE: &[&[&str]] = &[&["line", "scan"], &["base", "map"]];

const MAX_FUNCTION: usize = 70;
const MAX_FILE: usize = 800;
const MAX_MEDIAN: usize = 200;
const MAX_P90: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn complain(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}\n  {}", complaints.join("\n  "));
}

fn layer(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&folder))
}

fn within(module: &[&str], places: &[&[&str]]) -> bool {
    places.iter().any(|place| module.starts_with(place))
}

/// The top folder that a path inside `module` leads to, if it is one of ours.
fn target<'p>(path: &'p str, module: &[&str]) -> Option<&'p str> {
    let parts: Vec<&str> = path.split("::").collect();
    let ups = parts.iter().take_while(|part| **part == "super").count();
    let folder = match parts[0] {
        "crate" => parts.get(1),
        "super" if ups == module.len() => parts.get(ups),
        _ => None,
    };
    folder.copied().filter(|folder| layer(folder).is_some())
}

fn wrong_uses(file: &Source) -> Vec<String> {
    let module = file.module();
    let Some(own) = module.first().copied() else { return Vec::new() };
    let Some(own_layer) = layer(own) else {
        return vec![format!("{}:1: the folder \"{own}\" has no layer; give it one in tests/tidy.rs", file.path)];
    };
    let mut complaints = BTreeSet::new();
    for (line, path) in paths(&file.product) {
        let Some(used) = target(&path, &module).filter(|used| *used != own) else { continue };
        let used_layer = layer(used).unwrap_or(usize::MAX);
        let allowed = used_layer < own_layer || NEIGHBOURS.iter().any(|(who, whom, _)| (*who, *whom) == (own, used));
        if !allowed {
            complaints.insert((line, format!("{}:{line}: {own} may not use {used} ({path})", file.path)));
        }
    }
    complaints.into_iter().map(|(_, complaint)| complaint).collect()
}

#[test]
fn folders_use_only_what_lies_below_them() {
    let complaints: Vec<String> = sources(root(), "src").iter().flat_map(wrong_uses).collect();
    complain("direction of use: cli > control, load, sandbox > … > base", &complaints);
}

#[test]
fn pipeline_and_delivery_meet_only_through_the_queue() {
    let meet = |(who, whom, _): &&(&str, &str, &str)| {
        ["pipeline", "delivery"].contains(who) && ["pipeline", "delivery"].contains(whom)
    };
    assert_eq!(NEIGHBOURS.iter().find(meet), None, "this pair is never an exception");
}

#[test]
fn exceptions_within_a_layer_are_no_circle() {
    for (start, _, _) in NEIGHBOURS {
        let mut reached = BTreeSet::from([*start]);
        for _ in NEIGHBOURS {
            reached.extend(
                NEIGHBOURS
                    .iter()
                    .filter(|(who, ..)| reached.contains(who))
                    .map(|(_, whom, _)| *whom)
                    .collect::<Vec<_>>(),
            );
        }
        let back = NEIGHBOURS.iter().find(|(who, whom, _)| whom == start && reached.contains(who));
        assert_eq!(back, None, "{start} uses itself in the end");
        assert_eq!(layer(start), NEIGHBOURS.iter().find(|(who, ..)| who == start).and_then(|(_, whom, _)| layer(whom)));
    }
}

fn names_outside(file: &Source, outside: &[&str]) -> Vec<String> {
    let mut complaints = BTreeSet::new();
    for (line, path) in paths(&file.product) {
        let named = |word: &&&str| {
            path.split("::").collect::<Vec<_>>().windows(word.split("::").count()).any(|w| w.join("::") == ***word)
        };
        if let Some(word) = outside.iter().find(named) {
            complaints.insert(format!("{}:{line}: names {word} ({path})", file.path));
        }
    }
    complaints.into_iter().collect()
}

#[test]
fn pure_code_does_no_input_and_output() {
    let files = sources(root(), "src");
    let pure = files.iter().filter(|file| within(&file.module(), PURE));
    complain(
        "pure code takes bytes and times as arguments",
        &pure.flat_map(|file| names_outside(file, OUTSIDE)).collect::<Vec<_>>(),
    );
}

#[test]
fn the_log_knows_neither_http_nor_line_protocol() {
    let files = sources(root(), "src");
    let log = files.iter().filter(|file| within(&file.module(), &[&["wal"]]));
    let words = ["http", "hyper", "reqwest", "route", "line"];
    let named = |file: &Source| {
        let mut complaints = names_outside(file, &["hyper", "reqwest", "hyper_util", "http_body_util"]);
        complaints.extend(paths(&file.product).into_iter().filter_map(|(line, path)| {
            let first = path.strip_prefix("crate::").unwrap_or(&path).split("::").next().unwrap_or_default();
            (path.contains("::") && words.contains(&first)).then(|| format!("{}:{line}: names {path}", file.path))
        }));
        complaints
    };
    complain("wal knows no HTTP, no routes and no line protocol", &log.flat_map(named).collect::<Vec<_>>());
}

#[test]
fn unsafe_stands_only_where_it_is_looked_after() {
    let mut complaints = Vec::new();
    for file in sources(root(), "src").iter().filter(|file| !within(&file.module(), UNSAFE)) {
        for (at, _) in words(&file.code).filter(|(_, word)| *word == "unsafe") {
            complaints.push(format!("{}:{}: unsafe", file.path, line_of(&file.code, at)));
        }
    }
    complain("unsafe only in line/scan and base/map", &complaints);
}

#[test]
fn functions_are_short() {
    let mut complaints = Vec::new();
    for file in sources(root(), "src") {
        for (name, line, lines) in functions(&file.product).into_iter().filter(|(_, _, lines)| *lines > MAX_FUNCTION) {
            complaints.push(format!("{}:{line}: {name} has {lines} lines", file.path));
        }
    }
    complain(&format!("a function has at most {MAX_FUNCTION} lines"), &complaints);
}

#[test]
fn files_are_short() {
    let files = sources(root(), "src");
    let long = files.iter().filter(|file| file.lines > MAX_FILE);
    let long: Vec<String> = long.map(|file| format!("{}:1: {} lines", file.path, file.lines)).collect();
    complain(&format!("a file has at most {MAX_FILE} lines without its tests"), &long);
    let mut counted: Vec<&Source> = files.iter().filter(|file| file.lines > 0).collect();
    counted.sort_by_key(|file| file.lines);
    for (what, share, most) in [("median", 50, MAX_MEDIAN), ("90th percentile", 90, MAX_P90)] {
        let at = (counted.len() * share).div_ceil(100).saturating_sub(1);
        let complaints: Vec<String> = counted[at..]
            .iter()
            .filter(|_| counted[at].lines > most)
            .map(|file| format!("{}:1: {} lines", file.path, file.lines))
            .collect();
        complain(
            &format!("the {what} of file lengths is at most {most} lines, and is {}", counted[at].lines),
            &complaints,
        );
    }
}

#[test]
fn nothing_is_left_open() {
    let mut complaints = Vec::new();
    for file in sources(root(), "src").into_iter().chain(sources(root(), "tests")) {
        for mark in ["todo!", "unimplemented!", "#[ignore", "dbg!"] {
            for (at, _) in file.code.match_indices(mark) {
                complaints.push(format!("{}:{}: {mark}", file.path, line_of(&file.code, at)));
            }
        }
    }
    complain("no todo!, unimplemented!, dbg! and no ignored test", &complaints);
}

/// Files under version control; where there is no repository, every file but what a build makes.
fn tracked() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    if let Some(output) = listed.ok().filter(|output| output.status.success() && !output.stdout.is_empty()) {
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        return names.split('\0').filter(|name| !name.is_empty()).map(|name| root().join(name)).collect();
    }
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if entry.path().is_dir() && name != "target" && name != ".git" {
                folders.push(entry.path());
            } else if entry.path().is_file() {
                files.push(entry.path());
            }
        }
    }
    files
}

#[test]
fn no_text_names_a_place_on_one_machine() {
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut complaints = Vec::new();
    for file in tracked() {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(place) = places.iter().find(|place| line.contains(*place)) {
                let name = file.strip_prefix(root()).unwrap_or(&file).display();
                complaints.push(format!("{name}:{}: {place}", number + 1));
            }
        }
    }
    complain("no path of one machine", &complaints);
}

#[test]
fn configurations_in_the_readme_are_accepted() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap_or_default();
    let mut complaints = Vec::new();
    for (index, part) in text.split("```").enumerate().filter(|(index, _)| index % 2 == 1) {
        let Some(block) = part.strip_prefix("toml\n").filter(|block| block.contains("[source]")) else { continue };
        let before: String = text.split("```").take(index).collect();
        let first = before.matches('\n').count() + 1;
        let env = |name: &str| Some(format!("http://{}:8086", name.to_ascii_lowercase()));
        // Files of the reader's machine are not here, and that is no fault of the text.
        let elsewhere =
            |what: &str| what.starts_with("cannot read the secret file") || what.starts_with("there is no file");
        for error in twinline::config::parse(block, &env).err().into_iter().flatten().filter(|e| !elsewhere(&e.what)) {
            let line = first + error.at.map_or(0, |at| at.line);
            complaints.push(format!("README.md:{line}: {}: {}", error.key, error.what));
        }
    }
    complain("what the README shows can be used", &complaints);
}

#[test]
fn the_container_is_built_with_the_toolchain_of_the_project() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("a file of this package");
    let toolchain = read("rust-toolchain.toml");
    let version = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .expect("it names a channel")
        .trim_matches('"');
    let image = format!("FROM rust:{version}-");
    assert!(
        read("deploy/container/Dockerfile").contains(&image),
        "deploy/container/Dockerfile:1: expected \"{image}…\""
    );
}

/// The rules themselves, on texts that break them.
mod rules_can_fail {
    use super::*;

    #[test]
    fn a_use_upwards_or_sideways_is_found_in_every_form() {
        for (path, text, line) in [
            ("src/wal/mod.rs", "use crate::config::Config;", 1),
            ("src/base/disk.rs", "\nuse crate::{\n    base::Error,\n    wal::{record, segment},\n};", 4),
            ("src/wal/mod.rs", "use super::line;", 0),
            ("src/wal/mod.rs", "use super::line::x;", 1),
            ("src/wal/a.rs", "fn f() { super::super::http::serve() }", 1),
            ("src/delivery/mod.rs", "\n\nfn f() { crate::pipeline::admit(); }", 3),
        ] {
            let found = wrong_uses(&Source::new(path, text));
            match line {
                0 => assert!(found.len() == 1, "{text}: {found:?}"),
                line => {
                    assert!(!found.is_empty() && found[0].starts_with(&format!("{path}:{line}:")), "{text}: {found:?}")
                }
            }
        }
    }

    #[test]
    fn uses_downwards_within_and_in_tests_are_fine() {
        for (path, text) in [
            ("src/wal/mod.rs", "use crate::base::{Error, clock};\nuse crate::wal::record;\nuse super::base;"),
            ("src/wal/a.rs", "use super::line; // crate::http::x\nconst X: &str = \"crate::http::x\";"),
            ("src/wal/a.rs", "#[cfg(test)]\nmod tests { use crate::cli; }"),
            ("src/wal/tests.rs", "use crate::cli;"),
            ("src/cli/mod.rs", "use crate::config::Config;"),
        ] {
            assert_eq!(wrong_uses(&Source::new(path, text)), Vec::<String>::new(), "{text}");
        }
        assert_eq!(wrong_uses(&Source::new("src/attic/mod.rs", "")).len(), 1, "a folder without a layer");
    }

    #[test]
    fn input_and_output_in_pure_code_is_found_in_every_form() {
        for text in [
            "use std::fs::File;",
            "use std::{io, fs};",
            "fn f() { tokio::spawn(x) }",
            "use crate::base::Clock;",
            "use crate::base::disk::Disk;",
        ] {
            assert_eq!(names_outside(&Source::new("src/line/mod.rs", text), OUTSIDE).len(), 1, "{text}");
        }
        assert_eq!(
            names_outside(&Source::new("src/line/mod.rs", "use std::io::Read; let instant = 1;"), OUTSIDE).len(),
            0
        );
    }

    #[test]
    fn functions_and_files_are_measured_without_tests() {
        let body = "x;\n".repeat(3);
        let text = format!(
            "fn a(f: fn(u8)) -> [u8; 3] {{\n{body}}}\n#[cfg(test)]\nmod tests {{\n    fn b() {{}}\n}}\ntrait T {{ fn c(); }}\n"
        );
        let file = Source::new("src/line/mod.rs", &text);
        assert_eq!(functions(&file.product), vec![("a".to_owned(), 1, 5)]);
        assert_eq!(file.lines, 6);
    }

    #[test]
    fn comments_and_texts_are_not_code() {
        let text = "let a = \"unsafe \\\" unsafe\"; // unsafe\n/* unsafe /* unsafe */ unsafe */ let b = r#\"unsafe \"unsafe\"#; let c = '\"'; let d = '\\''; fn e<'a>(x: &'a str) {} 'ä'";
        let file = Source::new("src/line/mod.rs", text);
        assert!(!file.code.contains("unsafe"), "{}", file.code);
        assert!(file.code.contains("let d") && file.code.contains("fn e<'a>"), "{}", file.code);
        assert_eq!(file.code.len(), text.len(), "offsets stay right");
    }
}
