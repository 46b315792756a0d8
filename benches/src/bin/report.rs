//! Reads what `cargo bench` measured and prints each figure beside others of the same run: a table for people, and JSON with
//! `--json`. Usage: `report [--json] [target/criterion]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

/// Bytes per second of one benchmark, by its group and name.
type Speeds = BTreeMap<String, BTreeMap<String, f64>>;

fn main() {
    let mut as_json = false;
    let mut root = PathBuf::from("target/criterion");
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => as_json = true,
            other => root = PathBuf::from(other),
        }
    }
    let mut speeds = Speeds::new();
    collect(&root, &mut speeds);
    if speeds.is_empty() {
        eprintln!("nothing measured below {}; run cargo bench first", root.display());
        std::process::exit(1);
    }
    if as_json { println!("{:#}", as_object(&speeds)) } else { print_table(&speeds) }
}

fn collect(folder: &Path, speeds: &mut Speeds) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name == "new") {
            if let Some((group, name, speed)) = one(&path) {
                speeds.entry(group).or_default().insert(name, speed);
            }
        } else if path.is_dir() {
            collect(&path, speeds);
        }
    }
}

/// The median of a measurement as bytes per second.
fn one(folder: &Path) -> Option<(String, String, f64)> {
    let read =
        |name: &str| -> Option<Json> { serde_json::from_str(&std::fs::read_to_string(folder.join(name)).ok()?).ok() };
    let (what, estimates) = (read("benchmark.json")?, read("estimates.json")?);
    let bytes = what["throughput"]["Bytes"].as_f64()?;
    let median_ns = estimates["median"]["point_estimate"].as_f64()?;
    Some((what["group_id"].as_str()?.to_owned(), what["function_id"].as_str()?.to_owned(), bytes / median_ns * 1e9))
}

fn print_table(speeds: &Speeds) {
    println!("| corpus | what | GB/s | × crate | × memcpy |\n|---|---|---|---|---|");
    for (group, of) in speeds {
        let ratio = |speed: f64, to: &str| of.get(to).map_or("-".to_owned(), |base| format!("{:.2}", speed / base));
        for (name, speed) in of {
            println!(
                "| {group} | {name} | {:.2} | {} | {} |",
                speed / 1e9,
                ratio(*speed, "crate"),
                ratio(*speed, "memcpy")
            );
        }
    }
}

fn as_object(speeds: &Speeds) -> Json {
    let rows = speeds.iter().flat_map(|(group, of)| {
        of.iter().map(move |(name, speed)| {
            let ratio = |to: &str| of.get(to).map(|base| speed / base);
            json!({"corpus": group, "what": name, "bytes_per_s": speed, "times_crate": ratio("crate"), "times_memcpy": ratio("memcpy")})
        })
    });
    Json::Array(rows.collect())
}
