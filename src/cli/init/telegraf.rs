//! What a telegraf.conf tells about the databases it writes to. References to variables are kept, secrets are not copied.

use std::path::Path;

use toml::{Table, Value};

use super::template::{Beginning, Known};
use crate::cli::exit::{Exit, Failure};
use crate::config::BaseUrl;

/// One output that we can use, and how it is called in notes.
struct Output {
    known: Known,
    said: String,
}

/// Reads the file. Beside the beginning come notes for the user.
///
/// # Errors
/// When the file cannot be read, is not TOML, or holds no InfluxDB output with an HTTP address.
pub(super) fn read(path: &Path) -> Result<(Beginning, Vec<String>), Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot read {}: {e}", path.display())))?;
    from_text(&text).map_err(|what| {
        Failure::new(Exit::Failed, format!("{}: {what}", path.display())).hint("twinline init, without --from")
    })
}

fn from_text(text: &str) -> Result<(Beginning, Vec<String>), String> {
    let table: Table = text.parse().map_err(|e: toml::de::Error| {
        let place =
            e.span().map_or(String::new(), |span| format!("line {}: ", text[..span.start].matches('\n').count() + 1));
        format!("{place}not TOML as it stands: {}", e.message())
    })?;
    let mut outputs = of_plugin(&table, "influxdb");
    outputs.extend(of_plugin(&table, "influxdb_v2"));
    let count = outputs.len();
    let list: Vec<&str> = outputs.iter().map(|output| output.said.as_str()).collect();
    let mut notes =
        vec![format!("Read {count} InfluxDB output{}: {}", if count == 1 { "" } else { "s" }, list.join(" and "))];
    let mut usable = outputs.into_iter().filter(|output| !output.known.url.is_empty()).map(|output| output.known);
    let Some(source) = usable.next() else {
        return Err("no outputs.influxdb or outputs.influxdb_v2 with an http:// or https:// address".to_owned());
    };
    let destination = usable.next();
    let other = destination.as_ref().map_or("yours to fill in", |known| known.url.as_str());
    notes.push(format!("Taken as source: {}  ·  taken as destination: {other}", source.url));
    notes.push("Secrets: none copied; they are left as ${…} or { env = … }".to_owned());
    let rest = usable.count();
    if rest > 0 {
        notes.push(format!("Not used: {rest} more"));
    }
    Ok((Beginning { source: Some(source), destination }, notes))
}

fn of_plugin(table: &Table, plugin: &str) -> Vec<Output> {
    let list = table.get("outputs").and_then(|outputs| outputs.get(plugin)).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_table).map(|output| of_output(output, plugin)).collect()
}

fn of_output(output: &Table, plugin: &str) -> Output {
    let text = |key: &str| output.get(key).and_then(Value::as_str).map(braces).filter(|text| !text.is_empty());
    let urls = output.get("urls").and_then(Value::as_array);
    let default = if plugin == "influxdb" && urls.is_none() { Some("http://localhost:8086") } else { None };
    let urls = urls.into_iter().flatten().filter_map(Value::as_str).chain(default);
    let url = urls.map(without_credentials).find(|url| is_usable(url)).unwrap_or_default();
    let second = plugin == "influxdb_v2";
    let store = if second { text("bucket") } else { text("database").or_else(|| Some("telegraf".to_owned())) };
    let said = format!(
        "outputs.{plugin} ({}{})",
        if url.is_empty() { "no http address" } else { &url },
        match &store {
            Some(store) if second => format!(", bucket {store}"),
            Some(store) => format!(", db {store}"),
            None => String::new(),
        }
    );
    // The two keys of a credential go together: one alone would not be accepted.
    let username = text("username").filter(|_| !second);
    let known = Known {
        kind: if second { "influxdb2" } else { "influxdb1" },
        password: username.as_ref().map(|_| reference(text("password"), "TELEGRAF_PASSWORD")),
        username,
        org: text("organization").filter(|_| second),
        token: second.then(|| reference(text("token"), "INFLUX_TOKEN")),
        store,
        url,
    };
    Output { known, said }
}

/// A secret is kept only where it is nothing but a variable.
fn reference(text: Option<String>, name: &str) -> String {
    match text {
        Some(text) if text.starts_with("${") && text.find('}') == Some(text.len() - 1) => text,
        _ => format!("${{{name}}}"),
    }
}

/// Telegraf's `$NAME` as `${NAME}`; what is in braces already stays.
fn braces(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
        let name = &after[..end];
        if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            out.push_str(&format!("${{{name}}}"));
        } else if after.starts_with('{') {
            out.push('$');
            out.push_str(name);
        } else {
            out.push_str("$$");
            out.push_str(name);
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

fn without_credentials(url: &str) -> String {
    let url = braces(url);
    let Some((scheme, rest)) = url.split_once("://") else { return url };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}").trim_end_matches('/').to_owned()
}

fn is_usable(url: &str) -> bool {
    BaseUrl::parse(url).is_ok() || url.contains("${")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::template::fill;

    const CONF: &str = r#"
[agent]
  interval = "10s"
[[outputs.influxdb]]
  urls = ["udp://127.0.0.1:8089", "http://ferry:hunter2@old:8086/"]
  database = "metrics"
  username = "$INFLUX_USER"
  password = "hunter2"
[[outputs.influxdb_v2]]
  urls = ["https://new:8086"]
  token = "${NEW_TOKEN}"
  organization = "acme"
  bucket = "metrics"
[[outputs.file]]
  files = ["stdout"]
"#;

    #[test]
    fn both_databases_are_taken_and_no_secret_is() {
        let (beginning, notes) = from_text(CONF).unwrap();
        let text = fill(&beginning);
        assert!(!text.contains("hunter2") && !notes.join(" ").contains("hunter2"), "{text}\n{notes:?}");
        let env = |_: &str| Some("value".to_owned());
        let config = crate::config::parse(&text, &env).unwrap_or_else(|e| panic!("{e:?}\n{text}")).config;
        assert_eq!(config.source.server.url.to_string(), "http://old:8086");
        assert_eq!(config.source.server.username.as_deref(), Some("value"));
        assert_eq!(config.destination().server.url.to_string(), "https://new:8086");
        assert_eq!(config.destination().server.org.as_deref(), Some("acme"));
        assert_eq!(config.mapping.rules.len(), 1);
        assert!(text.contains("${NEW_TOKEN}"), "a reference is kept: {text}");
    }

    #[test]
    fn one_output_leaves_the_destination_to_the_user() {
        let (beginning, notes) = from_text("[[outputs.influxdb]]\n").unwrap();
        assert_eq!(beginning.source.map(|known| known.url), Some("http://localhost:8086".to_owned()));
        assert_eq!(beginning.destination, None);
        assert!(notes.join(" ").contains("yours to fill in"), "{notes:?}");
    }

    #[test]
    fn a_file_without_influxdb_or_without_sense_is_refused() {
        assert!(from_text("[[outputs.file]]\n").unwrap_err().contains("no outputs.influxdb"));
        assert!(from_text("[[outputs.influxdb]]\nurls = [\"unix:///x.sock\"]\n").unwrap_err().contains("http://"));
        assert!(from_text("\nurls = $URLS\n").unwrap_err().starts_with("line 2: "));
    }

    #[test]
    fn variables_get_braces() {
        for (text, out) in [("$A-b", "${A}-b"), ("${A}x", "${A}x"), ("5$", "5$$"), ("$1", "$$1"), ("plain", "plain")] {
            assert_eq!(braces(text), out, "{text}");
        }
    }
}
