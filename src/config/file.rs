//! What the user wrote, section by section, and how it becomes what the program uses.

mod databases;
mod edge;
mod readback;
mod rules;
mod udp;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::address::SOCKET_PATH_MAX;
use super::backfill::Backfill;
use super::budget::{budget_sum, memory_parts};
use super::checked::{
    ClientLimits, Config, DoubtAlarm, Limits, Log, LogCompression, LogFormat, OnUnavailable, Outcomes, Queue,
};
use super::document::{Document, Section, extent, plain_size};
use super::fault::ConfigError;
use crate::base::bounds::LOG_BODY_BYTES;
use crate::base::size::ByteSize;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// A configuration is never larger; a larger file is the wrong one.
const MAX_FILE_BYTES: u64 = MIB;
/// What each destination beyond the first adds to the default of `limits.memory`.
const MORE_MEMORY: u64 = 416 * MIB;

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A configuration that can be used, with what the user should know about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program uses.
    pub config: Config,
    /// What works but is probably not meant; one sentence each, holding no secret.
    pub warnings: Vec<String>,
    /// Tables in the text.
    pub sections: usize,
    /// Settings in the text.
    pub settings: usize,
    /// Full names of the keys that this version knows; below list entries and secret tables only of those the text has.
    pub known: BTreeSet<String>,
}

/// Reads a file with the process's environment.
///
/// # Errors
/// Every fault found, in the order of the file; none of them holds a secret.
pub fn load(path: &Path) -> Result<Loaded, Vec<ConfigError>> {
    load_with(path, &|name| std::env::var(name).ok())
}

/// Reads a file with the environment given.
///
/// # Errors
/// As [`load`].
pub fn load_with(path: &Path, env: Environment<'_>) -> Result<Loaded, Vec<ConfigError>> {
    let text = read_text(path).map_err(|what| {
        // What is there is somebody's, whatever it is.
        let write = (!path.exists()).then(|| format!("twinline init -c {}", path.display()));
        vec![ConfigError { file: Some(path.to_owned()), at: None, key: String::new(), what, excerpt: None, write }]
    })?;
    read(&text, Some(path), env)
}

/// Reads a text; for tests and for commands that make a configuration themselves.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, env: Environment<'_>) -> Result<Loaded, Vec<ConfigError>> {
    read(text, None, env)
}

fn read_text(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err("is larger than 1 MiB: that is not a configuration of Twinline".to_owned());
    }
    String::from_utf8(bytes).map_err(|e| format!("is not UTF-8 text (byte {})", e.utf8_error().valid_up_to()))
}

fn read(text: &str, file: Option<&Path>, env: Environment<'_>) -> Result<Loaded, Vec<ConfigError>> {
    let doc = Document::new(text, file, env);
    let (table, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let at = error.span().map_or(text.len(), |span| span.start);
        doc.fault(Some(at), "", format!("not TOML: {}", error.message()), None);
    }
    // After a fault of syntax the rest of the tree is a guess; faults found in it would mislead.
    if !syntax.is_empty() {
        return Err(doc.errors.into_inner());
    }
    let config = whole(Section::root(&doc, table.get_ref()));
    let mut errors = doc.errors.take();
    errors.sort_by_key(|error| error.at);
    match config {
        Some(config) if errors.is_empty() => {
            let (sections, settings) = extent(table.get_ref());
            Ok(Loaded { config, warnings: doc.warnings.take(), sections, settings, known: doc.known.take() })
        }
        _ => Err(errors),
    }
}

/// The whole file. Nothing where a required part is missing; its fault is recorded then.
fn whole(root: Section<'_>) -> Option<Config> {
    let config = parts(&root);
    root.finish();
    config
}

fn parts(root: &Section<'_>) -> Option<Config> {
    if root.count("schema", 1, 0..=u64::MAX) != 1 {
        root.fault("schema", "this version reads schema 1 only", "schema = 1".to_owned());
    }
    let name = root.filled("name", "twinline").map_or_else(|| "twinline".to_owned(), |text| text.value);
    let data_dir = root.filled("data_dir", "/var/lib/twinline").map_or("/var/lib/twinline".into(), |text| {
        if Path::new(&text.value).is_relative() {
            root.warn("data_dir", "is relative: it depends on the directory in which twinline is started");
        }
        PathBuf::from(text.value)
    });
    let unix_socket = unix_socket(root, &data_dir);
    let listen = edge::listeners(root);
    let udp = udp::all(root);
    let source = databases::source(root);
    let destinations = databases::destinations(root);
    let mapping = rules::mapping(root, destinations.as_deref());
    let queue = queue(root.section("queue"));
    let limits = limits(root.section("limits"), destinations.as_ref().map_or(1, Vec::len));
    let backfill = Backfill::of(root.section("backfill"));
    let log = log(root.section("log"));
    let readback = readback::read(root.section("readback"));
    let (source, destinations) = (source?, destinations?);
    edge::no_shared_socket(root, &listen, &unix_socket);
    for destination in &destinations {
        edge::no_loop(root, &listen, &source.server.url, &destination.server.url);
    }
    let config = Config {
        name,
        data_dir,
        listen,
        udp,
        unix_socket,
        source,
        destinations,
        mapping,
        queue,
        readback,
        limits,
        backfill,
        log,
    };
    // With other faults some values are defaults in place of what was meant, and the sum would mislead.
    if root.doc.errors.borrow().is_empty() {
        fits_in_memory(root, &config);
        fits_in_queue(root, &config);
    }
    Some(config)
}

fn unix_socket(root: &Section<'_>, data_dir: &Path) -> PathBuf {
    let section = root.section("listen_unix");
    let written = section.filled("path", "/run/twinline/twinline.sock").map(|text| PathBuf::from(text.value));
    let path = written.unwrap_or_else(|| data_dir.join("twinline.sock"));
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        section.fault(
            "path",
            format!("\"{}\" is longer than the {SOCKET_PATH_MAX} bytes that a socket may have", path.display()),
            "path = \"/run/twinline/twinline.sock\"".to_owned(),
        );
    }
    section.finish();
    path
}

fn queue(section: Section<'_>) -> Queue {
    let segment_size = section.size("segment_size", ByteSize(128 * MIB), MIB..=GIB);
    let max_size = section.size("max_size", ByteSize(20 * GIB), 4 * MIB..=1024 * TIB);
    if max_size.0 < 4 * segment_size.0 {
        let least = plain_size(ByteSize(4 * segment_size.0));
        section.fault(
            "max_size",
            "is less than four segments",
            format!("max_size = \"{least}\" or more, or a smaller segment_size"),
        );
    }
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(3650 * 24 * 3600));
    let max_age = section.span("max_age", Duration::from_secs(3 * 24 * 3600), least..=most);
    let queue = Queue {
        max_size,
        segment_size,
        reserve_free: section.size("reserve_free", ByteSize(GIB), 0..=1024 * TIB),
        stall: Duration::from_millis(section.count("stall_ms", 3000, 10..=600_000)),
        on_unavailable: section.choice(
            "on_unavailable",
            OnUnavailable::FailOpen,
            &[("fail-open", OnUnavailable::FailOpen), ("refuse", OnUnavailable::Refuse)],
        ),
        outcomes: section.choice(
            "outcomes",
            Outcomes::Durable,
            &[("durable", Outcomes::Durable), ("lazy", Outcomes::Lazy)],
        ),
        spare_dir: section.filled("spare_dir", "/mnt/other/twinline").map(|text| PathBuf::from(text.value)),
        max_age: section.has("max_age").then_some(max_age),
        scrub_every: section.span(
            "scrub_every",
            Duration::from_secs(24 * 3600),
            Duration::from_secs(1)..=Duration::from_secs(90 * 24 * 3600),
        ),
        ballast: section.size("ballast", ByteSize(16 * MIB), 0..=TIB),
        dead_letter_max: section.size("dead_letter_max", ByteSize(GIB), MIB..=1024 * TIB),
        dirty_regions: section.count("dirty_regions", 10_000, 10..=1_000_000) as usize,
        compression: section.choice(
            "compression",
            LogCompression::None,
            &[("none", LogCompression::None), ("lz4", LogCompression::Lz4), ("zstd", LogCompression::Zstd)],
        ),
        overlap_lines: section.count("overlap_lines", 250_000, 0..=100_000_000) as usize,
        doubt_alarm: doubt_alarm(&section),
    };
    section.finish();
    queue
}

fn doubt_alarm(section: &Section<'_>) -> DoubtAlarm {
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
    let DoubtAlarm { percent, window } = DoubtAlarm::default();
    DoubtAlarm {
        percent: section.count("doubt_alarm_percent", percent, 0..=100),
        window: section.span("doubt_alarm_window", window, least..=most),
    }
}

fn limits(section: Section<'_>, destinations: usize) -> Limits {
    let memory = GIB + 192 * MIB + MORE_MEMORY * destinations.saturating_sub(1) as u64;
    let least = Duration::from_millis(100);
    let limits = Limits {
        max_body: section.size("max_body", ByteSize(256 * MIB), KIB..=TIB),
        max_decompression_ratio: section.count("max_decompression_ratio", 1_100, 10..=10_000) as u32,
        in_flight: section.size("in_flight", ByteSize(224 * MIB), MIB..=TIB),
        memory: section.size("memory", ByteSize(memory), 64 * MIB..=1024 * TIB),
        routes: section.count("routes", 10_000, 1..=1_000_000) as usize,
        max_header: section.size("max_header", ByteSize(64 * KIB), 8 * KIB..=MIB),
        client: ClientLimits {
            requests_per_s: section.count("client_requests_per_s", 0, 0..=1_000_000_000),
            bytes_per_s: section.size("client_bytes_per_s", ByteSize(0), 0..=TIB).0,
            burst: section.span("client_burst", Duration::from_secs(10), least..=Duration::from_secs(3600)),
        },
    };
    section.finish();
    limits
}

fn log(section: Section<'_>) -> Log {
    let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = section.choice("format", LogFormat::Auto, &formats);
    let level = section.filled("level", "info").map_or_else(|| "info".to_owned(), |text| text.value);
    if let Some(bad) = level.split(',').find(|part| !is_level_directive(part.trim())) {
        section.fault(
            "level",
            format!("\"{bad}\" is not a level: off, error, warn, info, debug, trace, or module=level"),
            "level = \"info,twinline::delivery=debug\"".to_owned(),
        );
    }
    section.finish();
    Log { format, level }
}

/// The logger itself takes a mistyped level for the name of a module and then says nothing at all.
fn is_level_directive(part: &str) -> bool {
    let (target, level) = part.split_once('=').map_or((None, part), |(target, level)| (Some(target), level));
    let known = ["off", "error", "warn", "info", "debug", "trace"].contains(&level);
    let named = |t: &str| !t.is_empty() && t.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    known && target.is_none_or(named)
}

/// A write whose body is larger than the whole queue goes to the source alone: that is a gap even while all is well.
fn fits_in_queue(root: &Section<'_>, config: &Config) {
    let (queue, body) = (&config.queue, config.limits.max_body.0);
    let record = LOG_BODY_BYTES as u64;
    // Files are left before their end where a record does not fit, and the last one is not free again at once.
    let least = body.saturating_add(body.min(record)).saturating_add(2 * queue.segment_size.0);
    if queue.max_size.0 < least {
        let least = plain_size(ByteSize(least.div_ceil(MIB) * MIB));
        let what = format!(
            "holds no body of limits.max_body ({}): such a write is a gap even while nothing waits; write max_size = \"{least}\" \
             or more, or a smaller limits.max_body",
            config.limits.max_body
        );
        root.section("queue").warn("max_size", &what);
    }
}

fn fits_in_memory(root: &Section<'_>, config: &Config) {
    let parts = memory_parts(config);
    let sum = budget_sum(&parts);
    if sum <= config.limits.memory {
        return;
    }
    let mut list = String::new();
    for part in &parts {
        list.push_str(&format!("\n      {:>9}  {}", part.size.to_string(), part.what));
    }
    // In whole MiB, so that two that differ by little do not look alike.
    let (need, limit) = (sum.0.div_ceil(MIB), config.limits.memory.0 / MIB);
    root.section("limits").fault(
        "memory",
        format!("all budgets together are {need} MiB, above the limit of {limit} MiB:{list}"),
        format!("memory = \"{need}MiB\" or more in [limits], or make the largest part smaller"),
    );
}
