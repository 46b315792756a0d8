//! VictoriaMetrics as a process, and what it holds.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::database::servers_program;
use crate::foreign::Foreign;
use crate::http::call;

pub(crate) struct Victoria(pub(crate) Foreign);

/// Samples of one metric by its labels: milliseconds and values, in order.
pub(crate) type Samples = BTreeMap<String, Vec<(i64, f64)>>;

/// What the next process keeps, beside its data.
const KEEPS: &str = "keeps";

impl Victoria {
    /// From its next start on it keeps so much.
    #[allow(dead_code, reason = "not of all tests that share this")]
    pub(crate) fn keep(&self, period: &str) {
        std::fs::write(self.0.directory.path().join(KEEPS), period).unwrap();
    }

    pub(crate) fn start() -> Self {
        Self(Foreign::start(spawn))
    }

    pub(crate) fn section(&self) -> String {
        format!("url = \"http://{}\"\nkind = \"victoriametrics\"", self.0.addr)
    }

    pub(crate) fn samples(&self) -> Samples {
        let ask = |line: &str| call(&self.0.addr, line, &[], b"").unwrap();
        assert!(ask("GET /internal/force_flush").status < 300);
        let text = ask("GET /api/v1/export?match[]=%7B__name__!=%22%22%7D").text();
        let mut samples = Samples::new();
        for row in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            let labels: BTreeMap<String, String> = serde_json::from_value(row["metric"].clone()).unwrap();
            let times = row["timestamps"].as_array().unwrap().iter().map(|time| time.as_i64().unwrap());
            let values = row["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap());
            let all = samples.entry(format!("{labels:?}")).or_default();
            all.extend(times.zip(values));
            all.sort_by(|a, b| a.partial_cmp(b).unwrap());
            all.dedup();
        }
        samples
    }
}

fn spawn(directory: &Path, addr: &str) -> (Child, String) {
    let mut command = Command::new(servers_program("victoria-metrics", "victoriametrics"));
    let keeps = std::fs::read_to_string(directory.join(KEEPS)).unwrap_or_else(|_| "100y".to_owned());
    command.arg("-storageDataPath").arg(directory).args(["-httpListenAddr", addr, "-retentionPeriod", &keeps]);
    command.args(["-memory.allowedBytes", "200MB"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = lines.by_ref().map(Result::unwrap).find_map(|line| {
        let rest = line.split_once("started server at http://")?.1;
        Some(rest.split('/').next().unwrap().to_owned())
    });
    std::thread::spawn(move || lines.for_each(drop));
    (child, said.expect("it starts"))
}
