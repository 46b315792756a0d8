//! What the program uses. Every value is within its range, every combination makes sense, every default is filled in.

use std::path::PathBuf;
use std::time::Duration;

use super::{Address, Backfill, BaseUrl, Mapping, Network, Secret, Udp};
use crate::base::DestinationId;
use crate::base::size::ByteSize;

/// Destinations at most.
pub const DESTINATIONS_MAX: usize = 8;

/// A whole, checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Shown on every page, log line and report. Default `twinline`.
    pub name: String,
    /// Queue, state and reports live here; one process per directory. Default `/var/lib/twinline`.
    pub data_dir: PathBuf,
    /// Where clients and operators connect; at least one with [`Role::Proxy`], no address twice.
    pub listen: Vec<Listen>,
    /// Where line protocol comes in datagrams. Default nowhere.
    pub udp: Vec<Udp>,
    /// Socket for the local command line. Default `<data_dir>/twinline.sock`; at most 107 bytes long.
    pub unix_socket: PathBuf,
    /// The database in front of which we stand.
    pub source: Source,
    /// The databases that receive the copy, 1 to [`DESTINATIONS_MAX`], each with an id of its own.
    pub destinations: Vec<Destination>,
    /// What goes where.
    pub mapping: Mapping,
    /// The log on disk.
    pub queue: Queue,
    /// How doubt and gaps are read back.
    pub readback: ReadBack,
    /// Bounds of the process.
    pub limits: Limits,
    /// What copies of history may take.
    pub backfill: Backfill,
    /// What is logged and how.
    pub log: Log,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Clients of the database connect here.
    Proxy,
    /// Operators, their tools and `/metrics`.
    Admin,
}

/// One address we listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where it is.
    pub address: Address,
    /// What it is for.
    pub role: Role,
    /// Connections at once, 1 to 65,536. Default 4096 for the proxy, 2048 with TLS, 64 for a Unix socket and the admin role.
    pub max_connections: usize,
    /// A connection without a request is closed after this. Default 330 s: longer than clients keep one for reuse.
    pub idle_timeout: Duration,
    /// The user allowed an admin listener on an address that others can reach.
    pub insecure: bool,
    /// Clients may put this before each path, `/influx/write`; without a slash at its end. Default: empty, none.
    pub path_prefix: String,
    /// Clients speak TLS here. Default: they do not.
    pub tls: Option<ListenTls>,
    /// Connections begin with a header of the PROXY protocol, which is believed from these, or from everywhere where there are
    /// none. Default: they do not.
    pub proxied: Option<Vec<Network>>,
}

/// TLS toward clients: PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenTls {
    /// Our certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Clients must show a certificate of one of these authorities. Default: they need none.
    pub client_ca: Option<PathBuf>,
}

/// What kind of database the source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// InfluxDB 1.x.
    Influxdb1,
    /// InfluxDB 2.x.
    Influxdb2,
    /// Asked at start.
    Auto,
}

/// What kind of database the destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DestinationKind {
    /// InfluxDB 1.x.
    Influxdb1,
    /// InfluxDB 2.x.
    Influxdb2,
    /// InfluxDB 3.x.
    Influxdb3,
    /// VictoriaMetrics.
    Victoriametrics,
    /// QuestDB.
    Questdb,
    /// Asked at start.
    Auto,
}

/// What becomes of what the destination cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unheld {
    /// It is left out; each cell is counted.
    Drop,
    /// Its line is put aside as a dead letter.
    DeadLetter,
}

/// What is written in place of what the destination cannot hold as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Projection {
    /// Texts, where there are none (VictoriaMetrics). Default: left out.
    pub texts: Unheld,
    /// Whether tables begin with the name of the database (QuestDB). Default: they do.
    pub tables_name_database: bool,
    /// Whether tables keep nanoseconds (QuestDB). Default: microseconds.
    pub keeps_ns: bool,
}

/// TLS towards a database. Without effect on a plain `http` URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// File with the certificates to trust, instead of the system's.
    pub ca: Option<PathBuf>,
    /// Name to expect in the certificate, instead of the URL's host.
    pub server_name: Option<String>,
    /// Trust any certificate. Default no.
    pub insecure_skip_verify: bool,
    /// Our own certificate and its key, where the database asks for one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// How one database is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub url: BaseUrl,
    /// User of our own requests; present exactly when `password` is.
    pub username: Option<String>,
    /// Password of our own requests.
    pub password: Option<Secret>,
    /// Organisation (2.x), by name.
    pub org: Option<String>,
    /// Token of our own requests (2.x); never beside `username`.
    pub token: Option<Secret>,
    /// Until the connection stands. Default 3 s.
    pub connect_timeout: Duration,
    /// From the request's first byte to the answer's head. Default 30 s.
    pub request_timeout: Duration,
    /// Connections at once, 1 to 4096. Default 256 for the source, 64 for the destination.
    pub max_connections: usize,
    /// How to trust it.
    pub tls: Tls,
}

/// The database in front of which we stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What it is. Default auto.
    pub kind: SourceKind,
    /// How it is reached.
    pub server: Server,
    /// How often its counters are compared with what came through us; zero: never. Default 1 min.
    pub watch_writes: Duration,
}

/// The database that receives the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Names floors and state. Default `main`.
    pub id: DestinationId,
    /// What it is. Default auto.
    pub kind: DestinationKind,
    /// How it is reached.
    pub server: Server,
    /// What becomes of what it cannot hold.
    pub projection: Projection,
    /// Whether databases, policies and buckets that are missing there are made. Default: they are not.
    pub create: bool,
    /// How lines are sent to it.
    pub delivery: Delivery,
}

/// Whether deliveries are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// gzip, except to this machine, where it costs more than it saves.
    Auto,
    /// Never.
    None,
    /// Always gzip.
    Gzip,
}

/// How lines are sent to the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Line protocol in one request before compression; at most 24 MB, because 1.13 counts its 25 MB after decompression. Default 4 MiB.
    pub batch_bytes: ByteSize,
    /// Lines in one request, 1 to 1,000,000. Default 50,000.
    pub batch_lines: usize,
    /// A batch that is not full goes after this. Default 20 ms.
    pub batch_wait: Duration,
    /// Default auto.
    pub compression: Compression,
    /// Ordered streams, 1 to 64, one request in flight in each. Default 4.
    pub lanes: usize,
    /// First pause before a retry. Default 250 ms.
    pub retry_initial: Duration,
    /// Longest pause before a retry; not below `retry_initial`. Default 30 s.
    pub retry_max: Duration,
    /// Decoded lines waiting in all lanes. Default 64 MiB; at least twice `batch_bytes`.
    pub pending_bytes: ByteSize,
    /// By so many bytes of log the fastest lane may lead the slowest. Default 256 MiB.
    pub lane_lead: ByteSize,
    /// The longest time in which a request without an answer can still take effect; newer values of its cells wait so
    /// long. Default 60 s.
    pub late_write_max: Duration,
    /// While clients write, a destination that is behind gets at most so many times the lines that they write (and 64 MB a
    /// second at least), in small requests, so that they do not wait for it. 2 to 1,000; 0: as fast as it can. Default 2.
    pub catch_up: u32,
    /// Log that one place of the destination may hold back while it takes nothing; beyond it, its lines become a gap, so that
    /// it cannot fill the queue for all. Half of `queue.max_size` at most, whatever is set. Default 4 GiB.
    pub route_backlog: ByteSize,
}

/// What happens to writes when the queue cannot take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnUnavailable {
    /// The source goes on; what the mirror misses is recorded as a gap.
    FailOpen,
    /// Clients hear 503 with `Retry-After`.
    Refuse,
}

/// When the outcome of a write that the source has kept whole is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcomes {
    /// Before its client hears the answer.
    Durable,
    /// With the next write, or 50 ms later. A crash of twinline or its machine turns what was answered since into doubt, which is read
    /// back from the source.
    Lazy,
}

/// How bodies are stored in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogCompression {
    /// As they are.
    None,
    /// LZ4: lines become 2.6 times smaller.
    Lz4,
    /// Zstandard: lines become 4.7 times smaller, for more time.
    Zstd,
}

/// The log on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Size of all segments; at least four of them. Default 20 GiB.
    pub max_size: ByteSize,
    /// Size of one segment file, 1 MiB to 1 GiB. Default 128 MiB.
    pub segment_size: ByteSize,
    /// Left free on the file system. Default 1 GiB.
    pub reserve_free: ByteSize,
    /// No durability for so long means that the queue is unavailable. Default 3 s (`stall_ms = 3000`).
    pub stall: Duration,
    /// Default fail open.
    pub on_unavailable: OnUnavailable,
    /// Default durable.
    pub outcomes: Outcomes,
    /// A directory on another disk that takes note of gaps when the disk of `data_dir` cannot. Default none.
    pub spare_dir: Option<PathBuf>,
    /// Operators hear of a write that waits for longer than this; nothing is dropped. Default none.
    pub max_age: Option<Duration>,
    /// Complete files of the log are read through once in this time, to find damage early; 1 s to 90 days. Default 24 h.
    pub scrub_every: Duration,
    /// Space that is taken beside the log and given back by `twinline queue release-ballast`; 0 for none. Default 16 MiB.
    pub ballast: ByteSize,
    /// Room for refused lines. Default 1 GiB.
    pub dead_letter_max: ByteSize,
    /// Regions to be read back that are kept apart, 10 to 1,000,000; beyond this they are merged. Default 10,000.
    pub dirty_regions: usize,
    /// How bodies are stored in the log. Default as they are.
    pub compression: LogCompression,
    /// Lines of writes under way, or unanswered for less than `late_write_max`, whose cells are remembered to find two writes to one
    /// cell; 0 to 100,000,000, 64 bytes each. Default 250,000.
    pub overlap_lines: usize,
    /// When lines in doubt are an alarm.
    pub doubt_alarm: DoubtAlarm,
}

/// When a route's lines in doubt are an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoubtAlarm {
    /// When so many percent of them are in doubt, 0 to 100; 0: never. Default 1.
    pub percent: u64,
    /// All over this time, 1 s to 24 h. Default 5 min.
    pub window: Duration,
}

impl Default for DoubtAlarm {
    fn default() -> Self {
        Self { percent: 1, window: Duration::from_secs(300) }
    }
}

/// How what is in doubt, or in a gap, is read back from the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBack {
    /// Whether it is done by itself. Default true.
    pub enabled: bool,
    /// Between two parts of the data; 0 to 10 min. Default 200 ms.
    pub pause: Duration,
    /// Parts in a minute at most, 1 to 6,000. Default 120.
    pub per_minute: u64,
    /// Delivery leaves a part alone no longer than this before its copy is written; 1 s to 1 min. Default 10 s. Source: the protocol
    /// of holds.
    pub hold_max: Duration,
}

impl Default for ReadBack {
    fn default() -> Self {
        Self { enabled: true, pause: Duration::from_millis(200), per_minute: 120, hold_max: Duration::from_secs(10) }
    }
}

/// Bounds of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body, before and after decompression; large ones pass through in pieces. Default 256 MiB.
    pub max_body: ByteSize,
    /// A body may unpack to so many times its size, 10 to 10,000. Default 1,100: gzip reaches no more, so that only `max_body` bounds it.
    pub max_decompression_ratio: u32,
    /// Request bodies held at once. Default 224 MiB.
    pub in_flight: ByteSize,
    /// What all budgets together may take; see [`super::memory_parts`]. Default 1,216 MiB, and 416 MiB for each
    /// destination beyond the first.
    pub memory: ByteSize,
    /// Routes that are listed, 1 to 1,000,000. Default 10,000.
    pub routes: usize,
    /// Largest request head, 8 KiB to 1 MiB. Default 64 KiB.
    pub max_header: ByteSize,
    /// What one client may ask. Default anything.
    pub client: ClientLimits,
}

/// What one client may ask: an address, or a /64 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Requests a second; 0 for any number. Default 0.
    pub requests_per_s: u64,
    /// Bytes of requests a second; 0 for any number. Default 0.
    pub bytes_per_s: u64,
    /// What may come at once, as time in which it would come at these rates. Default 10 s.
    pub burst: Duration,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// Text on a terminal, JSON lines otherwise.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Default auto.
    pub format: LogFormat,
    /// Levels as `info` or `info,twinline::delivery=debug`. Default `info`.
    pub level: String,
}

impl Config {
    /// The listeners of one role, in the order of the file.
    pub fn listeners(&self, role: Role) -> impl Iterator<Item = &Listen> {
        self.listen.iter().filter(move |listen| listen.role == role)
    }

    /// The first destination; the only one of what [`Config::each`] gives.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        self.destinations.first().expect("a configuration has a destination: what reads it refuses others")
    }

    /// One configuration for each destination, as if it were the only one.
    pub fn each(&self) -> impl Iterator<Item = Self> {
        self.destinations.iter().map(|one| self.of(one))
    }

    /// The configuration of one destination; where none is named, of the only one.
    ///
    /// # Errors
    /// There is none of that name, or several and none is named.
    pub fn one(&self, id: Option<&str>) -> Result<Self, String> {
        let ids: Vec<&str> = self.destinations.iter().map(|one| one.id.as_str()).collect();
        let listed = ids.join(", ");
        let found = match id {
            None if ids.len() > 1 => return Err(format!("there are several destinations: {listed}")),
            None => Some(0),
            Some(id) => ids.iter().position(|own| *own == id),
        };
        let at =
            found.ok_or_else(|| format!("there is no destination {}; there is {listed}", id.unwrap_or_default()))?;
        Ok(self.of(&self.destinations[at]))
    }

    fn of(&self, one: &Destination) -> Self {
        Self { destinations: vec![one.clone()], mapping: self.mapping.of(&one.id), ..self.clone() }
    }
}

impl Destination {
    /// Whether deliveries are compressed, with `auto` decided.
    #[must_use]
    pub fn gzip(&self) -> bool {
        match self.delivery.compression {
            Compression::Auto => !self.server.url.is_loopback(),
            Compression::None => false,
            Compression::Gzip => true,
        }
    }
}
