//! The two databases and how we deliver.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::{GIB, KIB, MIB};
use crate::base::DestinationId;
use crate::base::size::ByteSize;
use crate::config::checked::{
    Compression, DESTINATIONS_MAX, Delivery, Destination, DestinationKind, Projection, Server, Source, SourceKind, Tls,
    Unheld,
};
use crate::config::document::Section;
use crate::config::secret::Secret;
use crate::config::url::BaseUrl;

/// The source's counters are not asked for more often.
const WATCH_MIN: Duration = Duration::from_millis(100);
/// The servers count 25 MB after decompression; the rest is room for what they count beside the lines.
const MAX_BATCH: u64 = 24_000_000;

pub(super) fn source(root: &Section<'_>) -> Option<Source> {
    let section = root.section("source");
    let kinds =
        [("auto", SourceKind::Auto), ("influxdb1", SourceKind::Influxdb1), ("influxdb2", SourceKind::Influxdb2)];
    let kind = section.choice("kind", SourceKind::Auto, &kinds);
    let server = server(&section, 256, "http://old:8086");
    let hour = Duration::from_secs(3600);
    let watch_writes = section.span("watch_writes", Duration::from_secs(60), Duration::ZERO..=hour);
    if !watch_writes.is_zero() && watch_writes < WATCH_MIN {
        let what = "is shorter than 100 ms: the source would be busy with telling its counters";
        section.fault("watch_writes", what, "watch_writes = \"1m\", or \"0\" for never".to_owned());
    }
    section.finish();
    Some(Source { kind, server: server?, watch_writes })
}

/// `[destination]`, or `[[destination]]` once for each.
pub(super) fn destinations(root: &Section<'_>) -> Option<Vec<Destination>> {
    let tables = match root.peek("destination") {
        Some(DeValue::Array(_)) => root.sections("destination"),
        _ => vec![root.section("destination")],
    };
    if tables.is_empty() || tables.len() > DESTINATIONS_MAX {
        let what = format!("has {} entries, not 1 to {DESTINATIONS_MAX}", tables.len());
        root.fault("destination", what, "[[destination]] once for each database".to_owned());
    }
    let several = tables.len() > 1;
    let mut read: Vec<Option<Destination>> = Vec::new();
    for section in tables {
        if several && !section.has("id") {
            let _ = section.value("id");
            section.fault("id", "is missing: each of several destinations has its own", "id = \"second\"".to_owned());
        }
        let known: Vec<&Destination> = read.iter().flatten().collect();
        let one = destination(section, &known);
        read.push(one);
    }
    read.into_iter().collect()
}

fn destination(section: Section<'_>, others: &[&Destination]) -> Option<Destination> {
    let kinds = [
        ("auto", DestinationKind::Auto),
        ("influxdb1", DestinationKind::Influxdb1),
        ("influxdb2", DestinationKind::Influxdb2),
        ("influxdb3", DestinationKind::Influxdb3),
        ("victoriametrics", DestinationKind::Victoriametrics),
        ("questdb", DestinationKind::Questdb),
    ];
    let kind = section.choice("kind", DestinationKind::Auto, &kinds);
    let id = destination_id(&section);
    let server = server(&section, 64, "http://new:8086");
    if let (DestinationKind::Influxdb2, Some(server)) = (kind, &server) {
        second_generation(&section, server);
    }
    if let Some(id) = id.as_ref().filter(|id| section.has("id") && others.iter().any(|other| other.id == **id)) {
        let what = format!("\"{id}\" is the id of another destination: floors and state go by it");
        section.fault("id", what, format!("id = \"{id}-{}\"", others.len() + 1));
    }
    if let Some(server) = &server
        && let Some(other) = others.iter().find(|other| is_same_place(&other.server, server))
    {
        let what = format!("is that of destination \"{}\" above: it would get everything twice", other.id);
        section.fault("url", what, "the address of another database, or another org".to_owned());
    }
    // Drops of whole places wait for an operator's word; nothing else is known so far.
    section.choice("drops", (), &[("ask", ())]);
    let create = section.choice("create", false, &[("missing", true), ("never", false)]);
    let names_alone = [DestinationKind::Influxdb3, DestinationKind::Victoriametrics, DestinationKind::Questdb];
    if section.has("create") && names_alone.contains(&kind) {
        section.warn("create", "has no effect: this kind of destination makes what is missing by itself");
    }
    let projection = projection(section.section("projection"));
    let delivery = delivery(section.section("delivery"));
    section.finish();
    Some(Destination { id: id?, kind, server: server?, projection, create, delivery })
}

fn is_same_place(one: &Server, other: &Server) -> bool {
    let (a, b) = (&one.url, &other.url);
    a.authority().eq_ignore_ascii_case(&b.authority()) && a.path_prefix == b.path_prefix && one.org == other.org
}

fn projection(section: Section<'_>) -> Projection {
    let unheld = [("drop", Unheld::Drop), ("dead-letter", Unheld::DeadLetter)];
    let projection = Projection {
        texts: section.choice("texts", Unheld::Drop, &unheld),
        tables_name_database: section.choice("tables", true, &[("database_measurement", true), ("measurement", false)]),
        keeps_ns: section.choice("resolution", false, &[("us", false), ("ns", true)]),
    };
    section.finish();
    projection
}

fn destination_id(section: &Section<'_>) -> Option<DestinationId> {
    let text = section.string("id", "main").map_or_else(|| "main".to_owned(), |text| text.value);
    DestinationId::parse(&text).map_err(|what| section.fault("id", what, "id = \"main\"".to_owned())).ok()
}

/// What InfluxDB 2 asks of every request that writes.
fn second_generation(section: &Section<'_>, server: &Server) {
    if server.token.is_none() && server.username.is_none() && !section.has("token") && !section.has("username") {
        section.fault(
            "token",
            "is missing: InfluxDB 2 answers nobody without one",
            "token = { env = \"TWINLINE_DESTINATION_TOKEN\" }".to_owned(),
        );
    }
    if server.org.is_none() && !section.has("org") {
        section.fault("org", "is missing: InfluxDB 2 keeps buckets by organisation", "org = \"my-org\"".to_owned());
    }
}

fn server(section: &Section<'_>, max_connections: u64, example: &str) -> Option<Server> {
    let url = base_url(section, example);
    let username = section.filled("username", "twinline").map(|text| text.value);
    let password = secret(section, "password");
    let token = secret(section, "token");
    let org = section.filled("org", "my-org").map(|text| text.value);
    let (has_user, has_password) = (section.has("username"), section.has("password"));
    if has_user && !has_password {
        section.fault("password", "is missing beside username", "password = { env = \"NAME\" }".to_owned());
    }
    if has_password && !has_user {
        section.fault("username", "is missing beside password", "username = \"twinline\"".to_owned());
    }
    if has_user && section.has("token") {
        section.fault(
            "token",
            "stands beside username: one of the two decides",
            "only token (2.x) or only username and password (1.x)".to_owned(),
        );
    }
    let (least, most) = (Duration::from_millis(10), Duration::from_secs(3600));
    let connect_timeout = section.span("connect_timeout", Duration::from_secs(3), least..=most);
    let request_timeout = section.span("request_timeout", Duration::from_secs(30), least..=most);
    let max_connections = section.count("max_connections", max_connections, 1..=4096) as usize;
    let tls = tls(section, url.as_ref());
    let url = url?;
    Some(Server { url, username, password, org, token, connect_timeout, request_timeout, max_connections, tls })
}

fn base_url(section: &Section<'_>, example: &str) -> Option<BaseUrl> {
    if !section.has("url") {
        // Asked all the same, so that the key counts as known in suggestions.
        let _ = section.value("url");
        section.fault("url", "is missing", format!("url = \"{example}\" in [{}]", section.name("")));
        return None;
    }
    let text = section.filled("url", example)?.value;
    match BaseUrl::parse(&text) {
        Ok(url) => {
            if url.port == 80 && !text.trim_end_matches('/').ends_with(":80") {
                section.warn("url", "names no port, so 80 is used; InfluxDB listens on 8086 unless told otherwise");
            }
            Some(url)
        }
        Err(what) => {
            section.fault("url", what, format!("url = \"{example}\""));
            None
        }
    }
}

/// A file that is there.
pub(super) fn pem_file(table: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    let path = table.filled(key, &format!("/etc/twinline/{key}.pem")).map(|text| PathBuf::from(text.value))?;
    if !path.is_file() {
        table.fault(key, format!("there is no file {}", path.display()), None);
    }
    Some(path)
}

fn tls(section: &Section<'_>, url: Option<&BaseUrl>) -> Tls {
    let written = section.has("tls");
    let table = section.section("tls");
    let ca = pem_file(&table, "ca");
    let (cert, key) = (pem_file(&table, "cert"), pem_file(&table, "key"));
    for (name, there, other) in [("cert", cert.is_some(), "key"), ("key", key.is_some(), "cert")] {
        if !there && table.has(other) && !table.has(name) {
            table.fault(name, format!("is missing: {other} is of no use without it"), None);
        }
    }
    let tls = Tls {
        ca,
        own: cert.zip(key),
        server_name: table.filled("server_name", "influx.example").map(|text| text.value),
        insecure_skip_verify: table.flag("insecure_skip_verify", false),
    };
    if tls.insecure_skip_verify {
        table.warn(
            "insecure_skip_verify",
            "any certificate is trusted: whoever stands in between reads the credentials",
        );
    }
    if written && url.is_some_and(|url| !url.https) {
        section.warn("tls", "has no effect on an http:// URL");
    }
    table.finish();
    tls
}

/// A secret that can stand in a request header.
fn secret(section: &Section<'_>, key: &'static str) -> Option<Secret> {
    let found = any_secret(section, key)?;
    if found.expose().contains(char::is_control) {
        section.fault(key, "holds a control character, such as a line end or a tab: it cannot be sent", None);
        return None;
    }
    Some(found)
}

/// `{ env = … }`, `{ file = … }`, `{ command = […] }`, or a string.
fn any_secret(section: &Section<'_>, key: &'static str) -> Option<Secret> {
    let forms = format!(
        "{key} = {{ env = \"NAME\" }}, {{ file = \"/run/secrets/name\" }} or {{ command = [\"pass\", \"name\"] }}"
    );
    match section.peek(key)? {
        DeValue::String(_) => {
            let text = section.filled(key, "…")?;
            if text.literal {
                section.warn(key, format!("stands in the file for every reader of it; better: {forms}"));
            }
            Some(Secret::new(text.value))
        }
        DeValue::Table(_) => {
            let table = section.section(key);
            let found = secret_table(section, key, &table, &forms);
            table.finish();
            found
        }
        _ => {
            let _ = section.value(key);
            section.fault(key, "is neither a string nor a table", forms);
            None
        }
    }
}

fn secret_table(section: &Section<'_>, key: &'static str, table: &Section<'_>, forms: &str) -> Option<Secret> {
    let written = ["env", "file", "command"].iter().filter(|form| table.has(form)).count();
    let env = table.filled("env", "NAME");
    let file = table.filled("file", "/run/secrets/name");
    let command = table.strings("command", "[\"pass\", \"name\"]");
    if written != 1 {
        section.fault(key, "needs exactly one of env, file and command", forms.to_owned());
        return None;
    }
    let outcome = if let Some(name) = env {
        let value = (section.doc.env)(&name.value).filter(|value| !value.is_empty());
        value.map(Secret::new).ok_or_else(|| format!("the environment variable {} is not set", name.value))
    } else if let Some(path) = file {
        let path = Path::new(&path.value);
        if others_can_read(path) {
            table.warn("file", format!("{} can be read by every user of this machine; chmod 600 it", path.display()));
        }
        Secret::from_file(path)
    } else {
        Secret::from_command(&command?)
    };
    outcome.map_err(|what| section.fault(key, what, None)).ok()
}

fn others_can_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o004 != 0)
}

fn delivery(section: Section<'_>) -> Delivery {
    let (millisecond, hour) = (Duration::from_millis(1), Duration::from_secs(3600));
    let gzip = [("auto", Compression::Auto), ("none", Compression::None), ("gzip", Compression::Gzip)];
    let delivery = Delivery {
        batch_bytes: section.size("batch_bytes", ByteSize(4 * MIB), KIB..=MAX_BATCH),
        batch_lines: section.count("batch_lines", 50_000, 1..=1_000_000) as usize,
        batch_wait: section.span("batch_wait", Duration::from_millis(20), Duration::ZERO..=Duration::from_secs(60)),
        compression: section.choice("compression", Compression::Auto, &gzip),
        lanes: section.count("lanes", 4, 1..=64) as usize,
        retry_initial: section.span("retry_initial", Duration::from_millis(250), millisecond..=hour),
        retry_max: section.span("retry_max", Duration::from_secs(30), millisecond..=hour),
        pending_bytes: section.size("pending_bytes", ByteSize(64 * MIB), MIB..=1024 * GIB),
        lane_lead: section.size("lane_lead", ByteSize(256 * MIB), MIB..=1024 * GIB),
        late_write_max: section.span("late_write_max", Duration::from_secs(60), Duration::ZERO..=hour),
        catch_up: section.count("catch_up", 2, 0..=1000) as u32,
        route_backlog: section.size("route_backlog", ByteSize(4 * GIB), MIB..=1024 * GIB),
    };
    if delivery.retry_initial > delivery.retry_max {
        section.fault("retry_max", "is shorter than retry_initial", "retry_max = \"30s\"".to_owned());
    }
    if delivery.catch_up == 1 {
        let hint = "catch_up = 2, or 0 for as fast as it can".to_owned();
        section.fault("catch_up", "would never catch up: clients write as much in the same time", hint);
    }
    if delivery.pending_bytes.0 < 2 * delivery.batch_bytes.0 {
        section.fault(
            "pending_bytes",
            "is less than two batches: one would wait for the other",
            "pending_bytes = \"64MiB\", or a smaller batch_bytes".to_owned(),
        );
    }
    section.finish();
    delivery
}
