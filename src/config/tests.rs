mod several;

use std::time::Duration;

use super::*;
use crate::base::size::ByteSize;

const SHORTEST: &str =
    "listen = \"127.0.0.1:8086\"\n[source]\nurl = \"http://old:8086\"\n[destination]\nurl = \"http://new:8086\"\n";

fn no_env(_: &str) -> Option<String> {
    None
}

fn good(text: &str) -> Loaded {
    parse(text, &no_env).unwrap_or_else(|errors| panic!("{}", show(&errors)))
}

fn bad(text: &str) -> Vec<ConfigError> {
    parse(text, &no_env).map(|loaded| format!("{loaded:?}")).expect_err("must be refused")
}

fn show(errors: &[ConfigError]) -> String {
    errors.iter().map(|e| format!("{e}\n")).collect()
}

/// The text must have exactly one fault; its place, key and words.
fn one_fault(text: &str) -> (usize, usize, String, String) {
    let errors = bad(text);
    assert_eq!(errors.len(), 1, "{}", show(&errors));
    let at = errors[0].at.expect("a place");
    (at.line, at.column, errors[0].key.clone(), errors[0].to_string())
}

fn with(extra: &str) -> String {
    format!("{SHORTEST}{extra}")
}

#[test]
fn the_shortest_file_gets_every_default() {
    let config = good(SHORTEST).config;
    assert_eq!(config.name, "twinline");
    assert_eq!(config.unix_socket.to_str(), Some("/var/lib/twinline/twinline.sock"));
    assert_eq!(config.listen.len(), 1);
    assert_eq!((config.listen[0].role, config.listen[0].max_connections), (Role::Proxy, 4096));
    assert_eq!(config.listen[0].idle_timeout, Duration::from_secs(330));
    assert_eq!((config.source.kind, config.source.server.max_connections), (SourceKind::Auto, 256));
    assert_eq!((config.destination().id.as_str(), config.destination().server.max_connections), ("main", 64));
    assert_eq!(config.destination().delivery.batch_wait, Duration::from_millis(20));
    assert_eq!(config.destination().delivery.pending_bytes, ByteSize(64 << 20));
    assert_eq!(config.queue.segment_size, ByteSize(128 << 20));
    assert_eq!(config.queue.stall, Duration::from_secs(3));
    assert_eq!(config.limits.max_decompression_ratio, 1_100);
    assert_eq!(config.log, Log { format: LogFormat::Auto, level: "info".to_owned() });
    assert!(config.mapping.rules.is_empty());
    assert!(config.destination().gzip(), "auto compresses to another machine");
}

#[test]
fn a_file_with_listeners_kinds_and_a_rule_is_read() {
    let text = r#"
schema = 1
data_dir = "/srv/twinline"
[[listen]]
address = "127.0.0.1:7001"
role = "proxy"
[[listen]]
address = "127.0.0.1:9086"
role = "admin"
[source]
kind = "influxdb1"
url = "http://127.0.0.1:7002"
[destination]
kind = "influxdb1"
url = "http://127.0.0.1:7003"
[destination.delivery]
retry_max = "1s"
[[mapping.rule]]
from = { db = "bench", rp = "*" }
to = { db = "bench" }
"#;
    let loaded = good(text);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let config = loaded.config;
    assert_eq!(config.listeners(Role::Admin).count(), 1);
    assert_eq!(config.destination().delivery.retry_max, Duration::from_secs(1));
    assert!(!config.destination().gzip(), "auto does not compress to this machine");
    let rule = Rule {
        from: Pattern::Database { db: Match::Is("bench".to_owned()), rp: Match::Any },
        to: Target::Database { db: Some(Naming::fixed("bench")), rp: None },
        only: Vec::new(),
        shape: Shape::default(),
    };
    assert_eq!(config.mapping.rules, vec![rule]);
}

#[test]
fn an_unknown_key_is_placed_and_the_near_key_named() {
    let (line, column, key, text) = one_fault(&with("[queue]\nmax_sise = \"1GiB\"\n"));
    assert_eq!((line, column, key.as_str()), (7, 1, "queue.max_sise"));
    assert!(text.contains("did you mean max_size?"), "{text}");
    let (line, _, key, _) = one_fault(&with("[[mapping.rules]]\n"));
    assert_eq!((line, key.as_str()), (6, "mapping.rules"));
    let (_, _, key, text) = one_fault(&with("[destination.delivery]\nin_flight_max = 3\n"));
    assert_eq!(key, "destination.delivery.in_flight_max");
    assert!(text.contains("lanes"), "{text}");
    let (line, _, key, _) = one_fault(&with("[verify]\nparallel = 4\n"));
    assert_eq!((line, key.as_str()), (6, "verify"), "a section of no use today is not taken in silence");
}

#[test]
fn limits_of_copies_are_read_with_the_place_of_each_fault() {
    let config = good(&with("[backfill]\nrows_per_s = 5_000\nquota_write = \"300MB\"\nschedule = \"Sat\"\n")).config;
    assert_eq!((config.backfill.rows_per_s, config.backfill.quota_write), (5000, ByteSize(300_000_000)));
    assert_eq!(config.backfill.requests_at_once, Backfill::default().requests_at_once);
    let (line, _, key, text) = one_fault(&with("[backfill]\npaused = false\nquota_share = 0\n"));
    assert_eq!((line, key.as_str()), (8, "backfill.quota_share"));
    assert!(text.contains("within 1 to 100") && text.contains("quota_share = 50"), "{text}");
    let (_, _, key, text) = one_fault(&with("[backfill]\nrows_per_s = \"5\"\n"));
    assert!(key == "backfill.rows_per_s" && text.contains("whole number"), "{text}");
    let (_, _, _, text) = one_fault(&with("[backfill]\nrow_per_s = 5\n"));
    assert!(text.contains("did you mean rows_per_s?"), "{text}");
    let (_, _, _, text) = one_fault(&with("[backfill]\nrows_per_s = -5\n"));
    assert!(text.contains("-5"), "{text}");
}

#[test]
fn faults_of_syntax_have_a_place() {
    let (line, _, _, text) = one_fault(&with("[queue\n"));
    assert_eq!(line, 6, "{text}");
    assert!(text.contains("not TOML"), "{text}");
    let (line, _, _, text) = one_fault(&with("[limits]\nroutes = 1\nroutes = 2\n"));
    assert_eq!(line, 8, "{text}");
}

#[test]
fn wrong_types_and_values_are_placed_and_say_what_to_write() {
    for (extra, line, key, word) in [
        ("[queue]\nmax_size = \"20XB\"\n", 7, "queue.max_size", "write: max_size = \"20GiB\""),
        ("[queue]\nmax_size = true\n", 7, "queue.max_size", "not a size"),
        ("[queue]\nmax_size = -1\n", 7, "queue.max_size", "not a number of bytes"),
        ("[queue]\nstall_ms = \"3s\"\n", 7, "queue.stall_ms", "not a whole number"),
        ("[queue]\non_unavailable = \"fail_open\"\n", 7, "queue.on_unavailable", "did you mean \"fail-open\"?"),
        ("[queue]\nmax_size = \"100MiB\"\n", 7, "queue.max_size", "four segments"),
        ("[log]\nlevel = \"inof\"\n", 7, "log.level", "not a level"),
        ("[log]\nlevel = 3\n", 7, "log.level", "is a whole number, not a string"),
        ("[destination.delivery]\nlanes = 65\n", 7, "destination.delivery.lanes", "within 1 to 64"),
        ("[destination.delivery]\nbatch_bytes = \"25MB\"\n", 7, "destination.delivery.batch_bytes", "within"),
        ("[destination.delivery]\nretry_max = \"9\"\n", 7, "destination.delivery.retry_max", "not a span of time"),
        ("[destination.delivery]\nretry_max = \"1ms\"\n", 7, "destination.delivery.retry_max", "shorter"),
        ("[destination.delivery]\npending_bytes = \"5MiB\"\n", 7, "destination.delivery.pending_bytes", "two batches"),
        ("[mapping]\nunmapped = \"drop\"\n", 7, "mapping.unmapped", "source-only"),
    ] {
        let (at, _, named, text) = one_fault(&with(extra));
        assert_eq!((at, named.as_str()), (line, key), "{extra}");
        assert!(text.contains(word), "{extra}: {text}");
    }
}

#[test]
fn all_faults_come_at_once_in_the_order_of_the_file() {
    let errors = bad("nam = 1\nlisten = \"x\"\n[source]\n[destination]\nurl = 5\n[queue]\nmax_size = \"?\"\n");
    let keys: Vec<&str> = errors.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["nam", "listen", "source.url", "destination.url", "queue.max_size"], "{}", show(&errors));
}

#[test]
fn an_empty_file_says_what_is_needed() {
    let text = show(&bad(""));
    for word in ["listen = \"127.0.0.1:8086\"", "source.url: is missing", "destination.url: is missing"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn listeners_that_cannot_be_meant_are_refused() {
    let databases = "[source]\nurl = \"http://old:8086\"\n[destination]\nurl = \"http://new:8086\"\n";
    for (listen, word) in [
        ("listen = \":8086\"\n", "0.0.0.0:8086"),
        ("listen = \"localhost:8086\"\n", "127.0.0.1:8086"),
        ("[[listen]]\nrole = \"proxy\"\n", "address: is missing"),
        ("[[listen]]\naddress = \"127.0.0.1:1\"\nrole = \"admin\"\n", "no listener has the role \"proxy\""),
        ("[[listen]]\naddress = \"127.0.0.1:1\"\n[[listen]]\naddress = \"127.0.0.1:1\"\n", "listened on already"),
        ("[[listen]]\naddress = \"127.0.0.1:1\"\n[[listen]]\naddress = \"0.0.0.0:2\"\nrole = \"admin\"\n", "insecure"),
        ("[[listen]]\naddress = \"127.0.0.1:1\"\npath_prefix = \"influx\"\n", "begins with /"),
        ("[[listen]]\naddress = \"127.0.0.1:1\"\ntls = { cert = \"Cargo.toml\" }\n", "key: is missing"),
        ("[[listen]]\naddress = \"127.0.0.1:1\"\ntls = { cert = \"none\", key = \"Cargo.toml\" }\n", "no file none"),
        (
            "[[listen]]\naddress = \"127.0.0.1:1\"\n[[listen]]\naddress = \"127.0.0.1:2\"\nrole = \"admin\"\n\
             tls = { cert = \"Cargo.toml\", key = \"Cargo.toml\" }\n",
            "in the clear",
        ),
        ("[[listen]]\naddress = \"127.0.0.1:1\"\npath_prefix = \"/a?b\"\n", "begins with /"),
        ("[[listen]]\naddress = \"unix:run/a.sock\"\n", "begins with /"),
        ("[[listen]]\naddress = \"unix:/run/a.sock\"\nmode = \"rw\"\n", "three octal digits"),
        ("[[listen]]\naddress = \"unix:/var/lib/twinline/twinline.sock\"\n", "is the socket of operators"),
        (
            "[[listen]]\naddress = \"unix:/a\"\n[[listen]]\naddress = \"unix:/a\"\nmode = \"0600\"\n",
            "listened on already",
        ),
        (
            "[[listen]]\naddress = \"127.0.0.1:1\"\n[[listen]]\naddress = \"unix:/a\"\nrole = \"admin\"\n",
            "is a socket for clients",
        ),
        ("[[listen]]\naddress = \"127.0.0.1:1\"\nproxy_protocol = true\ntrusted = [\"10.0.0.0/33\"]\n", "at most 32"),
        (
            "[[listen]]\naddress = \"127.0.0.1:1\"\n[[listen]]\naddress = \"127.0.0.1:2\"\nrole = \"admin\"\n\
             proxy_protocol = true\n",
            "is for clients",
        ),
        ("listen = \"127.0.0.1:1\"\n[[udp]]\naddress = \"127.0.0.1:1\"\n", "names no database"),
        ("listen = \"127.0.0.1:1\"\n[[udp]]\naddress = \"8089\"\ndb = \"d\"\n", "not an IP address"),
        ("listen = \"127.0.0.1:1\"\n[[udp]]\naddress = \"[::]:1\"\ndb = \"d\"\nprecision = \"d\"\n", "not known"),
        ("[listen]\naddress = \"127.0.0.1:1\"\n", "[[listen]]"),
        ("listen = []\n", "nothing would accept"),
    ] {
        let errors = bad(&format!("{listen}{databases}"));
        assert_eq!(errors.len(), 1, "{listen}: {}", show(&errors));
        assert!(errors[0].to_string().contains(word), "{listen}: {}", errors[0]);
    }
    let open = format!(
        "[[listen]]\naddress = \"127.0.0.1:1\"\n[[listen]]\naddress = \"0.0.0.0:2\"\nrole = \"admin\"\ninsecure = true\n{databases}"
    );
    assert!(good(&open).config.listen[1].insecure);
}

#[test]
fn what_would_talk_to_itself_is_refused() {
    let (line, _, key, _) = one_fault(&SHORTEST.replace("new", "old"));
    assert_eq!((line, key.as_str()), (5, "destination.url"));
    let (line, _, key, text) = one_fault(&SHORTEST.replace("old", "localhost"));
    assert_eq!((line, key.as_str()), (3, "source.url"));
    assert!(text.contains("listens"), "{text}");
    let any = SHORTEST.replace("127.0.0.1", "0.0.0.0").replace("new", "127.0.0.1");
    assert_eq!(one_fault(&any).2, "destination.url");
}

#[test]
fn variables_stand_inside_strings_only_and_cannot_change_the_structure() {
    let env = |name: &str| (name == "OLD").then(|| "old\"\n[queue]\nx".to_owned());
    let text = SHORTEST.replace("http://old:8086", "${OLD}");
    let errors = parse(&text, &env).expect_err("a host of several lines is no URL");
    assert_eq!(errors.len(), 1, "{}", show(&errors));
    assert_eq!((errors[0].key.as_str(), errors[0].at.map(|at| at.line)), ("source.url", Some(3)));
    let (line, _, key, said) = one_fault(&SHORTEST.replace("old:8086", "${NOT_SET}"));
    assert_eq!((line, key.as_str()), (3, "source.url"));
    assert!(said.contains("NOT_SET is not set"), "{said}");
    assert_eq!(good(&format!("name = \"${{SITE:-berlin}}\"\n{SHORTEST}")).config.name, "berlin");
}

#[test]
fn secrets_come_from_four_places_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "hunter2\n").unwrap();
    let env = |name: &str| (name == "TOKEN").then(|| "hunter2".to_owned());
    let from_file = format!("{{ file = \"{}\" }}", file.display());
    for (token, warned) in [
        ("{ env = \"TOKEN\" }", false),
        (from_file.as_str(), true),
        ("{ command = [\"echo\", \"hunter2\"] }", false),
        ("\"${TOKEN}\"", false),
        ("\"hunter2\"", true),
    ] {
        let loaded = parse(&with(&format!("token = {token}\n")), &env).unwrap_or_else(|e| panic!("{}", show(&e)));
        let secret = loaded.config.destination().server.token.as_ref().expect("a token");
        assert_eq!(secret.expose(), "hunter2", "{token}");
        let shown = format!("{loaded:?}");
        assert!(!shown.contains("hunter2"), "{token}: {shown}");
        assert_eq!(!loaded.warnings.is_empty(), warned, "{token}: {:?}", loaded.warnings);
    }
}

#[test]
fn secrets_that_cannot_be_had_name_the_key_and_never_the_value() {
    for (lines, key, word) in [
        ("token = { env = \"TOKEN\" }\n", "destination.token", "TOKEN is not set"),
        ("token = { file = \"/nonexistent/token\" }\n", "destination.token", "/nonexistent/token"),
        ("token = { command = [\"false\"] }\n", "destination.token", "failed"),
        ("token = { env = \"A\", file = \"b\" }\n", "destination.token", "exactly one"),
        ("token = {}\n", "destination.token", "exactly one"),
        ("token = \"hunter2\\n\"\n", "destination.token", "control character"),
        ("token = 5\n", "destination.token", "neither a string nor a table"),
        ("password = \"hunter2\"\n", "destination.username", "is missing"),
        ("username = \"x\"\n", "destination.password", "is missing"),
        ("token = \"hunter2\"\nusername = \"x\"\npassword = \"hunter2\"\n", "destination.token", "beside username"),
    ] {
        let (_, _, named, text) = one_fault(&with(lines));
        assert_eq!(named, key, "{lines}: {text}");
        assert!(text.contains(word) && !text.contains("hunter2"), "{lines}: {text}");
    }
    let (_, _, key, _) = one_fault(
        &with("token = { enf = \"X\", env = \"HOME\" }\n").replace("env = \"HOME\"", "command = [\"echo\", \"x\"]"),
    );
    assert_eq!(key, "destination.token.enf");
}

#[test]
fn influxdb_2_needs_a_token_and_an_organisation() {
    let errors = bad(&with("kind = \"influxdb2\"\n"));
    let keys: Vec<&str> = errors.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["destination.token", "destination.org"]);
}

#[test]
fn tls_settings_are_read_and_doubtful_ones_are_warned_of() {
    let text =
        with("tls = { insecure_skip_verify = true, server_name = \"influx\" }\n").replace("http://new", "https://new");
    let loaded = good(&text);
    assert_eq!(loaded.config.destination().server.tls.server_name.as_deref(), Some("influx"));
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert_eq!(
        one_fault(&text.replace("server_name = \"influx\"", "ca = \"/nonexistent.pem\"")).2,
        "destination.tls.ca"
    );
    assert_eq!(good(&with("tls = {}\n")).warnings.len(), 1, "no effect on http");
}

#[test]
fn rules_that_cannot_be_meant_are_refused() {
    for (rules, key) in [
        ("[[mapping.rule]]\nfrom = { db = \"a\" }\n", "mapping.rule.to"),
        ("[[mapping.rule]]\nfrom = { db = \"a\", bucket = \"b\" }\nto = { db = \"a\" }\n", "mapping.rule.from"),
        ("[[mapping.rule]]\nfrom = { db = \"a\" }\nto = { db = \"a*\" }\n", "mapping.rule.to.db"),
        ("[[mapping.rule]]\nfrom = { bucket = \"a\" }\nto = { bucket = \"a{name}\" }\n", "mapping.rule.to.bucket"),
        (
            "[[mapping.rule]]\nfrom = { db = \"a*\" }\nto = { db = \"{db}\" }\n[[mapping.rule]]\nfrom = { db = \"ab?\" }\nto = { db = \"b\" }\n",
            "mapping.rule.from",
        ),
        ("[[mapping.rule]]\nfrom = {}\nto = { db = \"a\" }\n", "mapping.rule.from"),
        ("[[mapping.rule]]\nfrom = \"a\"\nto = { db = \"a\" }\n", "mapping.rule.from"),
        ("[[mapping.rule]]\nfrom = { db = \"\" }\nto = { db = \"a\" }\n", "mapping.rule.from.db"),
        ("[[mapping.rule]]\nfrom = { db = \"a\", rpp = \"x\" }\nto = { db = \"a\" }\n", "mapping.rule.from.rpp"),
        (
            "[[mapping.rule]]\nfrom = { db = \"*\" }\nto = { db = \"*\" }\n[[mapping.rule]]\nfrom = { db = \"a\" }\nto = { db = \"b\" }\n",
            "mapping.rule.from",
        ),
    ] {
        let (_, _, named, text) = one_fault(&with(rules));
        assert_eq!(named, key, "{rules}: {text}");
    }
    let forms = "[[mapping.rule]]\nfrom = { db = \"telegraf-*\" }\nto = { db = \"prod_{db}\", rp = \"{rp}\" }\n\
                 [[mapping.rule]]\nfrom = { db = \"*\" }\nto = { db = \"*\" }\n\
                 [[mapping.rule]]\nfrom = { db = \"_internal\" }\nto = { db = \"seen\" }\n";
    assert_eq!(good(&with(forms)).warnings, Vec::<String>::new());
    let merged = good(&with("[[mapping.rule]]\nfrom = { db = \"a*\" }\nto = { bucket = \"all\" }\n"));
    assert_eq!(merged.warnings.len(), 1, "{:?}", merged.warnings);
    let bucket =
        good(&with("[[mapping.rule]]\nfrom = { bucket = \"b\", org = \"o\" }\nto = { db = \"d\", rp = \"\" }\n"));
    assert_eq!(
        bucket.config.mapping.rules[0].to,
        Target::Database { db: Some(Naming::fixed("d")), rp: Some(Naming::fixed("")) }
    );
}

#[test]
fn budgets_above_the_limit_are_refused_with_the_sum() {
    let (line, _, key, text) = one_fault(&with("[limits]\nin_flight = \"800MiB\"\n"));
    assert_eq!((line, key.as_str()), (6, "limits.memory"));
    assert!(text.contains("800 MiB") && text.contains("above the limit of 1216 MiB"), "{text}");
    let need = text.split("memory = \"").nth(1).and_then(|t| t.split('"').next()).expect("a size to write");
    let enough = with(&format!("[limits]\nin_flight = \"800MiB\"\nmemory = \"{need}\"\n"));
    let sum = budget_sum(&memory_parts(&good(&enough).config)).0;
    // Above the limit by little, it does not look as if it were equal.
    let little = with(&format!("[limits]\nin_flight = \"800MiB\"\nmemory = \"{}\"\n", sum - 1));
    let (need, less) = (sum.div_ceil(1 << 20), (sum - 1) >> 20);
    let said = format!("together are {need} MiB, above the limit of {less} MiB");
    assert!(need > less && one_fault(&little).3.contains(&said), "{said}: {}", one_fault(&little).3);
}

#[test]
fn a_queue_that_no_large_body_fits_in_is_warned_of() {
    let queue = |size: &str, more: &str| {
        with(&format!("[queue]\nmax_size = \"{size}\"\nsegment_size = \"1MiB\"\n[limits]\n{more}\n"))
    };
    let warnings = |size, more| good(&queue(size, more)).warnings;
    assert_eq!(warnings("266MiB", ""), Vec::<String>::new());
    let said = warnings("265MiB", "");
    assert!(said.len() == 1 && said[0].contains("queue.max_size") && said[0].contains("\"266MiB\""), "{said:?}");
    let said = warnings("4MiB", "max_body = \"8MiB\"");
    assert!(said.len() == 1 && said[0].contains("\"18MiB\""), "{said:?}");
    assert_eq!(warnings("4MiB", "max_body = \"1MiB\""), Vec::<String>::new());
}

#[test]
fn what_is_written_in_place_of_a_file_overwrites_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("twinline.toml");
    let write = |path: &std::path::Path| load_with(path, &no_env).expect_err("must be refused")[0].write.clone();
    assert_eq!(write(&path), Some(format!("twinline init -c {}", path.display())));
    std::fs::write(&path, b"url = \"caf\xe9\"").expect("a file");
    assert_eq!(write(&path), None, "it is there, and only not UTF-8");
}

/// The log's readers, scrubbing, and a record as it is stored and unpacked: more than anything that is only written.
#[test]
fn the_defaults_fit_with_everything_that_reads_the_log() {
    use crate::base::bounds::{COUNTED_MAX, LOG_BODY_BYTES, LOG_CHUNK_BYTES, READ_AGAIN_MAX};
    let parts = memory_parts(&good(SHORTEST).config);
    let log = parts.iter().find(|part| part.what.contains("buffers of the log")).expect("a part of its own").size.0;
    let readers = (4 + 2 * (2 + 2 * READ_AGAIN_MAX + 2 * COUNTED_MAX)) * LOG_CHUNK_BYTES;
    assert!(log >= (readers + 4 * LOG_BODY_BYTES) as u64, "{log}");
    let default = good(SHORTEST).config.limits.memory;
    assert!(budget_sum(&parts) <= default && default.0 == 1216 << 20, "{parts:?}");
}

#[test]
fn a_socket_path_that_the_system_cannot_bind_is_refused() {
    let long = format!("data_dir = \"/{}\"\n{SHORTEST}", "d".repeat(120));
    assert_eq!(bad(&long)[0].key, "listen_unix.path");
    let socket = |bytes: usize| {
        let path = "p".repeat(bytes - 1);
        format!(
            "[[listen]]\naddress = \"unix:/{path}\"\n[source]\nurl = \"http://a\"\n[destination]\nurl = \"http://b\"\n"
        )
    };
    assert_eq!(bad(&socket(108))[0].key, "listen.address");
    let listen = &good(&socket(107)).config.listen[0];
    assert!(matches!(&listen.address, Address::Unix(path, 0o660) if path.as_os_str().len() == 107));
    let other = good(&format!("{long}[listen_unix]\npath = \"/run/t.sock\"\n"));
    assert_eq!(other.config.unix_socket.to_str(), Some("/run/t.sock"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let path = std::path::Path::new("/nonexistent/twinline.toml");
    let text = show(&load_with(path, &no_env).expect_err("there is none"));
    assert!(text.contains("/nonexistent/twinline.toml") && text.contains("twinline init"), "{text}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]a-z=\"{}$.#\\n ä0-9-]{0,200}") {
        let _ = parse(&text, &no_env);
        let _ = parse(&format!("{SHORTEST}{text}"), &no_env);
    }
}

#[test]
fn what_a_rule_does_to_lines_is_read_in_the_order_of_the_file_and_checked() {
    let rule =
        |more: &str| with(&format!("[[mapping.rule]]\nfrom = {{ db = \"a\" }}\nto = {{ db = \"a\" }}\n{more}\n"));
    let loaded = good(&rule(
        "include = [\"cpu\", \"mem*\"]\nexclude = [\"memory\"]\ndrop_fields = [\"x?\"]\nint_to_float = [\"mem.*\"]\n\
         rename_field = { \"z*\" = \"y*\", \"a\" = \"b\" }",
    ));
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let shape = &loaded.config.mapping.rules[0].shape;
    assert_eq!(shape.rename_field, [("z*", "y*"), ("a", "b")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!((shape.include.len(), shape.exclude.as_slice()), (2, &["memory".to_owned()][..]));
    for key in ["drop_tags = [\"host\"]", "rename_tag = { a = \"b\" }", "rename_measurement = { \"a*\" = \"*\" }"] {
        let warnings = good(&rule(key)).warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("may make one series of two"), "{key}: {warnings:?}");
    }
    let dead = good(&rule("include = [\"mem1\"]\nexclude = [\"mem*\"]")).warnings;
    assert!(dead.len() == 1 && dead[0].contains("taken out again"), "{dead:?}");
    for (more, key) in [
        ("include = [\"\"]", "mapping.rule.include"),
        ("exclude = \"a\"", "mapping.rule.exclude"),
        ("drop_tags = [1]", "mapping.rule.drop_tags"),
        ("rename_tag = { a = 1 }", "mapping.rule.rename_tag"),
        ("rename_tag = { \"a*\" = \"b\" }", "mapping.rule.rename_tag"),
        ("rename_measurement = [\"a\"]", "mapping.rule.rename_measurement"),
        ("rename_fields = { a = \"b\" }", "mapping.rule.rename_fields"),
        ("int_to_float = [\"\"]", "mapping.rule.int_to_float"),
    ] {
        assert_eq!(one_fault(&rule(more)).2, key, "{more}");
    }
}
