//! QuestDB as a process, and what it holds.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::database::servers_program;
use crate::foreign::Foreign;
use crate::http::{call, escape};
use crate::proxy::eventually;

pub(crate) struct Questdb(pub(crate) Foreign);

/// Rows of a table, each a value by the name of its column; what is missing is left out.
pub(crate) type Rows = Vec<BTreeMap<String, Value>>;

impl Questdb {
    pub(crate) fn start() -> Self {
        Self(Foreign::start(spawn))
    }

    pub(crate) fn section(&self, kind: &str) -> String {
        format!("url = \"http://{}\"\n{kind}", self.0.addr)
    }

    pub(crate) fn ask(&self, query: &str) -> Value {
        let answer = call(&self.0.addr, &format!("GET /exec?query={}", escape(query)), &[], b"").unwrap();
        assert!(answer.status == 200, "{query}: {}", answer.text());
        answer.json()
    }

    /// All that is in a table, once everything that was committed can be seen.
    pub(crate) fn rows(&self, table: &str) -> Rows {
        let pending = format!("select count() from wal_tables() where name = '{table}' and writerTxn < sequencerTxn");
        eventually("all commits can be read", || match self.ask(&pending)["dataset"][0][0].as_i64() {
            Some(0) => Ok(()),
            left => Err(format!("{left:?}")),
        });
        let found = self.ask(&format!("select * from \"{table}\" order by timestamp"));
        let names: Vec<&str> =
            found["columns"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
        let row = |row: &Value| {
            let cells = names.iter().zip(row.as_array().unwrap()).filter(|(_, value)| !value.is_null());
            cells.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        found["dataset"].as_array().unwrap().iter().map(row).collect()
    }

    /// The types of a table's columns by their names.
    pub(crate) fn types(&self, table: &str) -> BTreeMap<String, String> {
        let found = self.ask(&format!("select \"column\", type from table_columns('{table}')"));
        serde_json::from_value::<Vec<(String, String)>>(found["dataset"].clone()).unwrap().into_iter().collect()
    }
}

impl Questdb {
    /// All rows of a table as texts.
    pub(crate) fn texts(&self, table: &str) -> Vec<BTreeMap<String, String>> {
        self.rows(table);
        let types = self.types(table);
        // As texts: whoever reads JSON may round a float.
        let columns = types.iter().map(|(name, kind)| match kind.as_str() {
            "DOUBLE" => format!("cast(\"{name}\" as varchar) \"{name}\""),
            "TIMESTAMP" => format!("cast(\"{name}\" as long) us"),
            _ => format!("\"{name}\""),
        });
        let found = self.ask(&format!("select {} from \"{table}\"", columns.collect::<Vec<_>>().join(", ")));
        let names: Vec<&str> =
            found["columns"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
        let cell = |(name, value): (&&str, &Value)| {
            let kind = types.get(*name).map(String::as_str);
            let text = match (kind, value) {
                (_, Value::Null) => return None,
                (Some("DOUBLE"), value) => {
                    format!("{:016x}", value.as_str().unwrap().parse::<f64>().unwrap().to_bits())
                }
                (_, Value::String(text)) => text.clone(),
                (_, other) => other.to_string(),
            };
            Some(((*name).to_owned(), text))
        };
        let row = |row: &Value| names.iter().zip(row.as_array().unwrap()).filter_map(cell).collect();
        let mut rows: Vec<_> = found["dataset"].as_array().unwrap().iter().map(row).collect();
        rows.sort();
        rows
    }
}

fn spawn(directory: &Path, addr: &str) -> (Child, String) {
    // Java itself, not the script: a killed script leaves it behind.
    let jar = servers_program("questdb", "questdb").with_file_name("questdb.jar");
    let mut command = Command::new("java");
    command.args(["-XX:+UseSerialGC", "-Xmx256m", "-p"]).arg(jar).args([
        "-m",
        "io.questdb/io.questdb.ServerMain",
        "-d",
    ]);
    command.arg(directory).arg("-n").env("QDB_HTTP_BIND_TO", addr);
    for off in ["HTTP_MIN", "PG", "LINE_TCP", "TELEMETRY"] {
        command.env(format!("QDB_{off}_ENABLED"), "false");
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.by_ref().map(Result::unwrap).find_map(|line| {
        let rest = line.split_once("http-server listening on ")?.1;
        Some(rest.split(' ').next().unwrap().to_owned())
    });
    std::thread::spawn(move || lines.for_each(drop));
    let addr = said.expect("it starts");
    // Its first answers take long.
    eventually("it answers", || {
        let answer = call(&addr, "GET /exec?query=select%201", &[], b"").map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    (child, addr)
}
