//! The whole program between real databases, and between doubles where a fault must be made.
//!
//! Needs `influxd1` and `influxd2`: `tests/servers/get influxdb1 influxdb2`, and clients: `tests/clients/get`. `TWINLINE_POINTS` sets how many points
//! each
//! pair of databases is written with (20,000; one million in the long tier), `TWINLINE_OUTAGE_S` how long a destination
//! is
//! away (5), `TWINLINE_IDLE_S` how long a client's connection idles (3; 240 in the long tier), `TWINLINE_SOAK_S`
//! how long mixed traffic lasts before the full comparison (8).
//!
//! The forty checks of the facts (§8): where each is, as `check_NN_…`, and what of it is not.
//!
//! | check | where | not |
//! | --- | --- | --- |
//! | 1 | `it/captures_write.rs`, `it/captures_other.rs` | |
//! | 2 | `it/captures_other.rs` | |
//! | 3 | `it/clients/cli.rs` | |
//! | 4 | `it/clients/python.rs` | |
//! | 5 | `it/clients/node.rs` | |
//! | 6 | `it/clients/python.rs` | |
//! | 7 | `it/clients/node.rs` | |
//! | 8 | `it/clients/go.rs` | the clients for Java |
//! | 9 | `it/clients/telegraf.rs` | 24 h: seconds |
//! | 10 | `it/clients/telegraf.rs` | the output for 3.x |
//! | 11 | `it/clients/cli.rs` | |
//! | 12 | `it/clients/grafana.rs` | SQL; recorded requests, no Grafana |
//! | 13 | `it/double.rs`, `it/long_query.rs` | 10 million rows: 1 million; the first bytes are not timed (by rule): they arrive before the source sends more |
//! | 14 | `it/activation.rs` | 4 min of idling: `TWINLINE_IDLE_S` |
//! | 15 | `it/pass.rs` | |
//! | 16 | `it/limits.rs`, `it/pass.rs` | |
//! | 17 | `it/captures_other.rs` | the close at the connection limit is a 503 of ours |
//! | 18 | `it/captures_other.rs`, `it/credentials.rs` | no test asserts a time, by rule: the added latency is measured by `benches`, `faults` |
//! | 19 | `it/secrets.rs` | |
//! | 20 | `it/exact.rs` | |
//! | 21 | `it/exact.rs` | of the sources, which are 1.x and 2.x, 1.13 and 2.9 |
//! | 22 | `it/exact.rs` | what the destination lacks is listed, not read back yet |
//! | 23 | `it/exact.rs` | the same |
//! | 24 | `it/exact.rs` | |
//! | 25 | `it/mutations.rs` | |
//! | 26 | `it/exact.rs` | as 22 |
//! | 27 | `it/limits.rs` | |
//! | 28 | `it/mutations.rs` | |
//! | 29 | `it/mutations.rs` | `SELECT INTO` is told |
//! | 30 | `it/statements.rs` | |
//! | 31 | `it/outage.rs` | 24 h: `TWINLINE_OUTAGE_S`; no test asserts a time, by rule: latency is measured by `benches`, `faults` |
//! | 32 | `it/answers.rs`, `it/answers_other.rs`, `it/answers_influx3.rs` | |
//! | 33 | `it/stubborn.rs` | |
//! | 34 | `it/stubborn.rs` | |
//! | 35 | `it/revoked.rs`, `it/stubborn.rs` | one hour: `TWINLINE_REVOKED_S` |
//! | 36 | `it/missing.rs` | |
//! | 37 | `crash.rs` | 200 kills: `TWINLINE_KILL_CYCLES` |
//! | 38 | `it/stubborn.rs`, `it/replay.rs` | 1.x to 3.x is scripted alone, in 32 |
//! | 39 | `it/victoria.rs`, `it/questdb.rs` | |
//! | 40 | `it/soak.rs` | a week: `TWINLINE_SOAK_S`, or `benches`, `soak` |
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests wait on real time and end at a surprise")]

// Every accepted line is in one state; what idling costs.
#[path = "it/account.rs"]
mod account;
// Sockets that were opened before the program; a connection that is kept.
#[path = "it/activation.rs"]
mod activation;
// Clients that mean no good, and what they send.
#[path = "it/adversarial.rs"]
mod adversarial;
#[path = "it/hostile.rs"]
mod hostile;
// Each answer of a destination, and what follows.
#[path = "it/answers.rs"]
mod answers;
#[path = "it/answers_other.rs"]
mod answers_other;
// The same for InfluxDB 3.
#[path = "it/answers_influx3.rs"]
mod answers_influx3;
// Lines on which parsers disagree.
#[path = "it/awkward.rs"]
mod awkward;
#[path = "it/barriers.rs"]
mod barriers;
// Writes that come to the source around us.
#[path = "it/bypass.rs"]
mod bypass;
// Byte for byte what the source says: requests and comparison, then the tables of requests.
#[path = "it/captures.rs"]
mod captures;
#[path = "it/captures_other.rs"]
mod captures_other;
#[path = "it/captures_write.rs"]
mod captures_write;
// Clients that people use.
#[path = "it/clients.rs"]
mod clients;
// Real databases, started and stopped by id.
#[path = "it/database.rs"]
mod database;
// A data directory that is not as it was left.
#[path = "it/data_dir.rs"]
mod data_dir;
// Lines that the destination refused: listed, exported, purged.
#[path = "it/deadletter.rs"]
mod deadletter;
// The log is damaged while it runs.
#[path = "it/damage.rs"]
mod damage;
// A source that shows what reaches it.
#[path = "it/double.rs"]
mod double;
// Answers before outcomes are durable.
#[path = "it/lazy.rs"]
mod lazy;
// What is in doubt, by route and cause.
#[path = "it/doubt.rs"]
mod doubt;
// Times, partial writes, ends without an answer: each cell is on both sides or listed.
#[path = "it/early_head.rs"]
mod early_head;
#[path = "it/exact.rs"]
mod exact;
// The table above is true.
#[path = "it/forty.rs"]
mod forty;
// Faults that no real server makes on demand.
#[path = "it/faults.rs"]
mod faults;
// A source that takes half a write.
#[path = "it/half.rs"]
mod half;
// The queue is unavailable.
#[path = "it/hang.rs"]
mod hang;
// A client that shows answers as they came.
#[path = "it/http.rs"]
mod http;
// A disk that fills.
#[path = "it/full_disk.rs"]
mod full_disk;
// Bad and large input.
#[path = "it/limits.rs"]
mod limits;
// History from files.
#[path = "it/import.rs"]
mod import;
// What the source has.
#[path = "it/inventory.rs"]
mod inventory;
// Writers at work.
#[path = "it/load.rs"]
mod load;
// What goes where, by identity and by rules.
#[path = "it/mapping.rs"]
mod mapping;
// The destination goes away and comes back.
#[path = "it/outage.rs"]
mod outage;
// Pairs of databases end equal to the writer's record.
#[path = "it/pairs.rs"]
mod pairs;
// QuestDB as the destination.
#[path = "it/questdb.rs"]
mod questdb;
// Places that are missing at the destination.
#[path = "it/missing.rs"]
mod missing;
// A route that takes nothing for long.
#[path = "it/parked.rs"]
mod parked;
// Answers pass through unchanged.
#[path = "it/pass.rs"]
mod pass;
// Clients behind a balancer that says who they are.
#[path = "it/proxied.rs"]
mod proxied;
// The built program as a process.
#[path = "it/proxy.rs"]
mod proxy;
// The queue on disk, looked at from outside.
#[path = "it/queue.rs"]
mod queue;
// The writer's own record.
#[path = "it/record.rs"]
mod record;
// Lines that one side refuses.
#[path = "it/refused.rs"]
mod refused;
// Dead letters are put right from the source.
#[path = "it/replay.rs"]
mod replay;
#[path = "it/replay_foreign.rs"]
mod replay_foreign;
// A token that does not hold for a while.
#[path = "it/revoked.rs"]
mod revoked;
// Rows and tables of QuestDB.
#[path = "it/rows.rs"]
mod rows;
// Check 19: secrets stay secret.
#[path = "it/secrets.rs"]
mod secrets;
// A destination that answers from a script.
#[path = "it/scripted.rs"]
mod scripted;
// Mixed traffic, then a full comparison.
#[path = "it/soak.rs"]
mod soak;
// A source that answers no write is shown.
#[path = "it/silence.rs"]
mod silence;
// The source goes away and comes back.
#[path = "it/source_down.rs"]
mod source_down;
// Statements: carried out, or told.
#[path = "it/mutations.rs"]
mod mutations;
// A destination that does not take them.
#[path = "it/mutations_faults.rs"]
mod mutations_faults;
#[path = "it/mutations_refused.rs"]
mod mutations_refused;
#[path = "it/statements.rs"]
mod statements;
#[path = "it/statements_decided.rs"]
mod statements_decided;
#[path = "it/tap.rs"]
mod tap;
// TLS toward clients and databases.
#[path = "it/tls.rs"]
mod tls;
// Fewer requests at once.
#[path = "it/crowded.rs"]
mod crowded;
// What delivery does when an answer keeps coming.
#[path = "it/stubborn.rs"]
mod stubborn;
// The end of the process and its next start.
#[path = "it/stop.rs"]
mod stop;
// A start on a slow disk.
#[path = "it/start.rs"]
mod start;
// The typed reader gives back every bit.
#[path = "it/typed_read.rs"]
mod typed_read;
// A part of the program dies.
#[path = "it/broken.rs"]
mod broken;
// More than one destination.
#[path = "it/many.rs"]
mod many;
#[path = "it/many_rules.rs"]
mod many_rules;
// One of them is in trouble.
#[path = "it/apart.rs"]
mod apart;
// A database that is no InfluxDB.
#[path = "it/foreign.rs"]
mod foreign;
// What one client may ask.
#[path = "it/client_limit.rs"]
mod client_limit;
// Line protocol in datagrams.
#[path = "it/udp.rs"]
mod udp;
// What credentials cost.
#[path = "it/conflicts.rs"]
mod conflicts;
#[path = "it/credentials.rs"]
mod credentials;
// Answers longer than anybody's memory.
#[path = "it/long_query.rs"]
mod long_query;
// Other protocols than ours.
#[path = "it/upgrade.rs"]
mod upgrade;
// Clients on a Unix socket.
#[path = "it/unix.rs"]
mod unix;
// Those two as processes.
#[path = "it/questdb_server.rs"]
mod questdb_server;
#[path = "it/victoria_server.rs"]
mod victoria_server;
// VictoriaMetrics as the destination.
#[path = "it/victoria.rs"]
mod victoria;
