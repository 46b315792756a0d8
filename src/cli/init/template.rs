//! The text of a new configuration.

use crate::config::Backfill;

const TEMPLATE: &str = include_str!("template.toml");
const LISTEN_PORT: u16 = 8087;

/// What is known about one database before the user edits the file. Texts may hold `${NAME}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// `auto`, `influxdb1` or `influxdb2`; empty = auto.
    pub(super) kind: &'static str,
    pub(super) url: String,
    /// Database (1.x) or bucket (2.x).
    pub(super) store: Option<String>,
    pub(super) username: Option<String>,
    /// A reference such as `${PASSWORD}`, never a secret itself.
    pub(super) password: Option<String>,
    pub(super) org: Option<String>,
    /// A reference, never a secret itself.
    pub(super) token: Option<String>,
}

/// What is known of both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Beginning {
    pub(super) source: Option<Known>,
    pub(super) destination: Option<Known>,
}

/// A string as TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The whole file.
pub(super) fn fill(beginning: &Beginning) -> String {
    let source = database(beginning.source.as_ref(), "http://127.0.0.1:8086", "SOURCE");
    let destination = database(beginning.destination.as_ref(), "http://new-influxdb:8086", "DESTINATION");
    TEMPLATE
        .replace("@LISTEN@", &format!("127.0.0.1:{}", free_port(beginning)))
        .replace("@SOURCE@", &source)
        .replace("@DESTINATION@", &destination)
        .replace("@RULES@", &rules(beginning))
        .replace("@BACKFILL@", &Backfill::template())
}

/// A port that none of the databases has, so that the file does not forward to itself.
fn free_port(beginning: &Beginning) -> u16 {
    let taken = |port: u16| {
        let databases = [&beginning.source, &beginning.destination];
        databases.into_iter().flatten().any(|known| known.url.ends_with(&format!(":{port}")))
    };
    (LISTEN_PORT..LISTEN_PORT + 3).find(|port| !taken(*port)).unwrap_or(LISTEN_PORT)
}

fn database(known: Option<&Known>, example: &str, name: &str) -> String {
    let nothing = Known { url: example.to_owned(), ..Known::default() };
    let known = known.unwrap_or(&nothing);
    let mut lines = Vec::new();
    // Not every kind can be a source.
    let kinds = if name == "SOURCE" {
        "influxdb1 | influxdb2"
    } else {
        "influxdb1 | influxdb2 | influxdb3 | victoriametrics | questdb"
    };
    match known.kind {
        "" => lines.push(format!("#kind = \"auto\"                         # {kinds} | auto: asked at start")),
        kind => lines.push(format!("kind = \"{kind}\"")),
    }
    lines.push(format!("url = {}", quoted(&known.url)));
    let mut setting = |key: &str, value: &Option<String>, example: String| match value {
        Some(text) => lines.push(format!("{key} = {}", quoted(text))),
        None => lines.push(format!("#{key} = {example}")),
    };
    setting(
        "username",
        &known.username,
        "\"twinline\"                  # 1.x, where the database asks for one".to_owned(),
    );
    setting("password", &known.password, format!("{{ env = \"TWINLINE_{name}_PASSWORD\" }}"));
    setting("org", &known.org, "\"my-org\"                         # 2.x".to_owned());
    setting("token", &known.token, format!("{{ env = \"TWINLINE_{name}_TOKEN\" }}"));
    lines.join("\n")
}

fn rules(beginning: &Beginning) -> String {
    let example = "\n#[[mapping.rule]]\n#from = { db = \"telegraf-*\", rp = \"*\" }  # * any characters, ? one; 2.x: { bucket = \"…\", org = \"…\" }\n#to = { db = \"prod_{db}\", rp = \"{rp}\" }  # {db} {rp} {bucket} {org}: the source's; 2.x: { bucket = \"…\", org = \"…\" }; destination = \"ID\": for that one alone\n# include = [\"cpu\", \"mem*\"]               # measurements that go; exclude = [\"debug_*\"]: that stay\n# drop_tags = [\"secret*\"]                 # also drop_fields\n# rename_tag = { \"hostname\" = \"host\" }    # also rename_measurement, rename_field\n# int_to_float = [\"mem.*\"]                # measurement.field\n";
    let (Some(source), Some(destination)) = (&beginning.source, &beginning.destination) else {
        return example.to_owned();
    };
    let (Some(from), Some(to)) = (&source.store, &destination.store) else { return example.to_owned() };
    if source.kind == destination.kind && from == to {
        return example.to_owned();
    }
    let side = |known: &Known, store: &str, first: bool| match (known.kind, &known.org) {
        ("influxdb2", Some(org)) => format!("{{ bucket = {}, org = {} }}", quoted(store), quoted(org)),
        ("influxdb2", None) => format!("{{ bucket = {} }}", quoted(store)),
        _ if first => format!("{{ db = {}, rp = \"*\" }}", quoted(store)),
        _ => format!("{{ db = {} }}", quoted(store)),
    };
    format!("\n[[mapping.rule]]\nfrom = {}\nto = {}\n", side(source, from, true), side(destination, to, false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Loaded, parse};

    fn read(text: &str) -> Loaded {
        let env = |name: &str| name.starts_with("TWINLINE_").then(|| "x".to_owned());
        parse(text, &env).unwrap_or_else(|errors| {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            panic!("{}\n{text}", all.join("\n"))
        })
    }

    /// The template with every default switched on, but what is an example rather than a default.
    fn all_defaults() -> String {
        let examples = [
            "#username",
            "#password",
            "#org",
            "#token",
            "#tls",
            "#[[",
            "#from",
            "#to",
            "#kind",
            "#spare_dir",
            "#path_prefix",
            "#trusted",
            "#max_age",
        ];
        let on = |line: &str| {
            let is_setting =
                line.starts_with('#') && line[1..].starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
            let is_example = examples.iter().any(|example| line.starts_with(example));
            if is_setting && !is_example { line[1..].to_owned() } else { line.to_owned() }
        };
        fill(&Beginning::default()).lines().map(on).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_new_file_is_valid_as_it_is() {
        let loaded = read(&fill(&Beginning::default()));
        assert_eq!(loaded.warnings, Vec::<String>::new());
    }

    #[test]
    fn the_defaults_it_shows_are_the_defaults() {
        assert_eq!(read(&all_defaults()).config, read(&fill(&Beginning::default())).config);
        assert!(read(&all_defaults()).settings > 35, "the defaults were switched on");
    }

    #[test]
    fn it_names_every_key_there_is() {
        let text = fill(&Beginning::default());
        for key in read(&text).known {
            let last = key.rsplit('.').next().unwrap_or(&key);
            let shown = ["", "#", "{ ", ", "].iter().any(|before| text.contains(&format!("{before}{last} = ")));
            let section = text.contains(&format!("[{key}]"));
            assert!(shown || section, "{key} is not in the template");
        }
    }

    #[test]
    fn what_is_known_is_filled_in_and_quoted() {
        let old = Known {
            kind: "influxdb1",
            url: "http://127.0.0.1:8087".to_owned(),
            store: Some("te\"legraf".to_owned()),
            username: Some("u\\".to_owned()),
            password: Some("${TWINLINE_P}".to_owned()),
            ..Known::default()
        };
        let new = Known {
            kind: "influxdb2",
            url: "https://new".to_owned(),
            store: Some("metrics".to_owned()),
            org: Some("acme".to_owned()),
            token: Some("${TWINLINE_T}".to_owned()),
            ..Known::default()
        };
        let config = read(&fill(&Beginning { source: Some(old), destination: Some(new) })).config;
        assert_eq!(config.listen[0].address.tcp().unwrap().port(), 8088, "8087 is the source's");
        assert_eq!(config.source.server.username.as_deref(), Some("u\\"));
        assert_eq!(config.destination().server.token.as_ref().map(|t| t.expose()), Some("x"));
        assert_eq!(config.mapping.rules.len(), 1);
    }
}
