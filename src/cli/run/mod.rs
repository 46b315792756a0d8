//! `twinline run`: the daemon. Puts the rooms together, each on its thread, and takes them apart in order.
//!
//! Threads: the edge (this one), delivery, control, the log's own two, and the state store's. Order of the end: no new
//! connections; requests under way end; delivery stops and its floors become durable; the log closes.

pub(super) mod ballast;
mod bypass;
mod copying;
mod destinations;
mod gaps;
mod learn;
mod logging;
mod same;
mod silence;
pub(super) mod stores;
mod threads;
mod told;
mod watched;

use std::os::unix::fs::DirBuilderExt;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::Global;
use super::exit::{Exit, Failure};
use crate::backfill::desk::Desk;
use crate::base::clock::{SharedClock, SystemClock};
use crate::base::recent::Recent;
use crate::base::{Epoch, Error, Kind, Result, Side};
use crate::config::{Config, Outcomes, Role, Unheld};
use crate::control::{Control, Facts, Mirror, NamedSide, Recorder};
use crate::db::product::Product;
use crate::db::server::Server;
use crate::db::victoria;
use crate::delivery::{self, Hold, Regions, Writing, shared_view};
use crate::http::{
    Bound, Edge, EdgeView, Identity, Limiter, Passed, Proxied, Serve, UdpBound, bind, bind_udp, bind_unix, serve,
    serve_udp,
};
use crate::line::Dialect;
use crate::line::project::{QuestRules, VictoriaRules};
use crate::pipeline::{Changing, EdgeMeters, GapKeeper, Limits, Overlaps, Pipeline, Sent, Silence, Skew, passage_max};
use crate::queue::doubts::Doubts;
use crate::queue::{Appender, Opened};
use crate::route::{Catalogue, Resolver, TargetKind};
use crate::state::{Event, EventKind, SharedState};

use learn::{Learnt, Met};
use stores::{Stores, tell};
use watched::Watched;

/// The first primary. Flips count it up; none exist yet.
const EPOCH: Epoch = Epoch(1);
/// Added to the time that a write may take before its intent counts as forgotten.
const UNANSWERED_SLACK: Duration = Duration::from_secs(60);

/// Threads that read large bodies beside the event loop.
const BLOCKING_THREADS_MAX: usize = 2;

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub(super) struct RunArgs {
    /// How long requests under way may take to end after SIGTERM
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = crate::base::size::parse_span)]
    drain_timeout: Duration,
    /// Take over a log whose state.db is lost, with a new one: gaps, doubt and dead letters that only the old one knew stay lost
    #[arg(long)]
    adopt_log: bool,
    /// End cleanly when the starting process is gone
    #[arg(long, hide = true)]
    end_with_parent: bool,
}

pub(super) fn run(global: &Global, args: &RunArgs) -> Result<Exit, Failure> {
    if args.end_with_parent {
        let asked = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
        asked.map_err(|e| Error::disk("cannot ask to be ended with the starting process", e.into()))?;
    }
    let config = global.load()?.config;
    logging::start(&config.log, global.verbose);
    // Fails only when it was done before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let recorder = Recorder::install()?;
    let clock = SystemClock::shared();
    // Clients' data lies there: nobody else may look in. An existing directory keeps its rights.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .map_err(|e| Error::disk(format!("cannot make data_dir {}", config.data_dir.display()), e))?;
    let passed = Passed::from_env()?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX);
    // A runtime of one thread that owns its tasks: a `LocalSet` inside another one wakes itself with a system call a turn.
    let runtime = runtime.build_local(tokio::runtime::LocalOptions::default());
    let runtime = runtime.map_err(|e| Error::disk("cannot start the event loop", e))?;
    // From here on a hangup ends nothing: not even a start should be cut by a terminal that closes.
    let hangup = runtime.block_on(async { listen(SignalKind::hangup()) })?;
    let stores = stores::open(&config, &clock, args.adopt_log)?;
    let exit = runtime.block_on(daemon(config, args.drain_timeout, clock, stores, (recorder, hangup, passed)))?;
    Ok(exit)
}

/// What is shown of a destination, and how it is held; an operator's hold as a former process left it.
async fn mirror(config: &Config, is_only: bool, state: &SharedState, gaps: &GapKeeper) -> Result<Mirror> {
    let id = config.destination().id.clone();
    let began = destinations::began(state, &id).await;
    let held = destinations::held(state, &id, is_only || began.is_none()).await?;
    let (hold, gaps) = (Hold::remembered(held.as_deref()), gaps.held(&id));
    Ok(Mirror { id, view: shared_view(), hold, regions: Regions::default(), desk: Desk::default(), gaps, began })
}

async fn daemon(
    config: Config,
    drain: Duration,
    clock: SharedClock,
    stores: Stores,
    (recorder, hangup, mut passed): (Recorder, Signal, Passed),
) -> Result<Exit> {
    let Stores { state, opened, gaps } = stores;
    let source = Server::new(&config.source.server, Side::Source)?;
    let each: Vec<Config> = config.each().collect();
    // First of all: while a database is asked that hangs, clients wait in our sockets and are not refused.
    let (proxies, udp) = bind_clients(&config, &mut passed).await?;
    let learnt = meet(&config, &each, &source, &state, &clock).await?;
    let kinds =
        each.iter().zip(&learnt.destinations).map(|(config, met)| target_kind(config, met.product)).collect::<Vec<_>>();
    let admin = threads::bind_admin(&config, passed)?;
    let facts = Arc::new(Mutex::new(facts(&config, &learnt, &proxies, &admin)));
    let (stop, stopped) = watch::channel(false);
    let (late_stop, late_stopped) = watch::channel(false);
    let log = opened.first().map(|first| first.queue.log());
    let log = log.ok_or_else(|| Error::new(Kind::Config, Side::Own, "no destination is configured"))?;
    let watched = Watched { state: Arc::clone(&state), clock: Arc::clone(&clock) };
    let stores = (&state, &clock, &gaps);
    let rule = config.queue.doubt_alarm;
    let (silence, seen, doubts) = (Silence::default(), EdgeView::default(), Doubts::new(rule.window));
    let to = each.iter().zip(&learnt.destinations).zip(&kinds).zip(opened);
    let (mirrors, delivering) = deliver(to.collect(), stores, &doubts, &late_stopped, &watched).await?;
    let of_late = Recent::default();
    let copier = |(config, mirror)| copier(config, mirror, (&state, &clock), &of_late);
    let copiers = each.iter().zip(&mirrors).map(copier).collect();
    let (copy_stop, copy_stopped) = watch::channel(false);
    let copying = copying::start(copiers, copy_stopped, watched.clone())?;
    let sources = (Arc::clone(&log), silence.clone());
    let control = Control::new(sources, mirrors, Arc::clone(&state), Arc::clone(&clock), Arc::clone(&facts), recorder)
        .with_max_age(config.queue.max_age)
        .with_doubts(doubts.clone(), rule)
        .with_edge(seen.clone());
    let controlling =
        threads::control(control, admin, bind_unix(&config.unix_socket, 0o600, "listen_unix.path")?, late_stopped)?;
    let mut signals = Signals::listen(hangup, proxies.iter().filter_map(|proxy| proxy.tls.clone()).collect())?;
    let passing = Server::new(&config.source.server, Side::Source)?;
    // Nothing refuses the start from here on.
    tell(&state, clock.wall_ns(), EventKind::Started, format!("twinline {} started", env!("CARGO_PKG_VERSION")));

    let source = Source { writes: source, passing, silence, of_late, doubts };
    let gaps = Rc::new(gaps);
    let taking = Rc::clone(&gaps);
    tokio::task::spawn_local(watched.clone().again("taking over gaps", move || Rc::clone(&taking).take_over()));
    let appender = Appender::start(log, EPOCH);
    let (settling, parts) = (appender.clone(), (appender, gaps));
    let pipeline = Rc::new(pipeline(&config, source, learnt, kinds, parts, &state, &clock));
    let watch = bypass::Watch::of(&config);
    look_after_source(&pipeline, facts, watch, watched);
    let edge = Edge::new(pipeline, config.limits.in_flight.as_usize(), config.limits.max_body.as_usize());
    let front = Front { proxies, udp, edge: edge.clone(), seen, clock: Arc::clone(&clock) };
    let serving = serve_all(&config, front, drain, &stopped);

    let exit = signals.next().await?;
    tracing::info!("stopping: no new connections, requests under way end");
    stop.send_replace(true);
    tokio::select! {
        () = end_requests(serving, &edge, drain + config.source.server.request_timeout) => {}
        _ = signals.next() => tracing::warn!("a second signal: requests under way are given up"),
    }
    // What its clients have heard is to be known to the next start.
    if tokio::time::timeout(config.queue.stall, settling.settled()).await.is_err() {
        tracing::warn!("the log takes no outcomes: writes answered just now are doubt at the next start");
    }
    late_stop.send_replace(true);
    // Nothing else runs here any more that waiting could hold up.
    // All of them save their floors, whatever becomes of one.
    let ended: Vec<Result<()>> = delivering.into_iter().map(threads::join).collect();
    // Behind delivery: a region that is being copied is not let go of early.
    copy_stop.send_replace(true);
    let copied = threads::join(copying);
    ended.into_iter().collect::<Result<()>>()?;
    copied?;
    threads::join(controlling)?;
    let stopped = Event { at_ns: clock.wall_ns(), kind: EventKind::Stopped, text: "stopped".to_owned() };
    // The log is closed all the same.
    let _ = state.add_event(stopped).await;
    tracing::info!("stopped");
    Ok(exit)
}

/// What can be learnt of the databases before anything is served. Refuses to copy a source to itself.
async fn meet(
    config: &Config,
    each: &[Config],
    source: &Server,
    state: &SharedState,
    clock: &SharedClock,
) -> Result<Learnt> {
    let servers = each.iter().map(|one| Server::new(&one.destination().server, Side::Destination));
    let servers: Vec<Server> = servers.collect::<Result<_>>()?;
    let learnt = learn::learn(config, source, &servers, state).await?;
    for ((config, server), met) in each.iter().zip(&servers).zip(&learnt.destinations) {
        same::refuse(config, (source, server), (&learnt.source, met), state, clock.wall_ns()).await?;
    }
    Ok(learnt)
}

/// What delivery to one destination is made of.
type To<'a> = (((&'a Config, &'a Met), &'a TargetKind), Opened);

/// Starts the delivery to each destination.
async fn deliver(
    all: Vec<To<'_>>,
    (state, clock, gaps): (&SharedState, &SharedClock, &GapKeeper),
    doubts: &Doubts,
    stopped: &watch::Receiver<bool>,
    watched: &Watched,
) -> Result<(Vec<Mirror>, Vec<threads::Running>)> {
    let (mut mirrors, mut running) = (Vec::new(), Vec::new());
    let is_only = all.len() == 1;
    for (((config, met), kind), opened) in all {
        let mirror = mirror(config, is_only, state, gaps).await?;
        let parts = delivery_parts(config, is_only, (met, kind.clone()), (state, clock, doubts), &mirror);
        let name = if is_only { "delivery".to_owned() } else { format!("delivery {}", mirror.id) };
        let to = config.destination().server.clone();
        running.push(threads::delivery(&name, opened, parts, to, stopped.clone(), watched.clone())?);
        mirrors.push(mirror);
    }
    Ok((mirrors, running))
}

/// Who copies history to a destination.
fn copier(
    config: &Config,
    mirror: &Mirror,
    (state, clock): (&SharedState, &SharedClock),
    of_late: &Recent,
) -> copying::Copier {
    copying::Copier {
        config: config.clone(),
        desk: mirror.desk.clone(),
        regions: mirror.regions.clone(),
        view: Arc::clone(&mirror.view),
        source: of_late.clone(),
        state: Arc::clone(state),
        clock: Arc::clone(clock),
    }
}

/// Keeps its version fresh, and tells when it answers no write.
fn look_after_source(pipeline: &Rc<Pipeline>, facts: Arc<Mutex<Facts>>, watch: bypass::Watch, watched: Watched) {
    let (looking, shown) = (Rc::clone(pipeline), Arc::clone(&facts));
    let look = move || bypass::keep_watching(Rc::clone(&looking), Arc::clone(&shown), watch.clone());
    tokio::task::spawn_local(watched.clone().again("comparing the source's counters", look));
    let telling = Rc::clone(pipeline);
    let tell = move || silence::keep_telling(Rc::clone(&telling));
    tokio::task::spawn_local(watched.clone().again("watching the source", tell));
    let learning = Rc::clone(pipeline);
    let learn = move || learn::keep_learning(Rc::clone(&learning), Arc::clone(&facts));
    tokio::task::spawn_local(watched.again("asking the source's version", learn));
}

pub(super) fn target_kind(config: &Config, product: Product) -> TargetKind {
    let source_org = config.source.server.org.clone();
    match product {
        Product::Influx1 | Product::Influx3 => TargetKind::Database,
        Product::Influx2 => TargetKind::Bucket { org: config.destination().server.org.clone(), source_org },
        Product::Victoria | Product::Questdb => TargetKind::Labels { source_org },
    }
}

pub(super) fn writing(config: &Config, product: Product, keeps: victoria::Keeps) -> Writing {
    match product {
        Product::Influx1 => Writing::Influx(Dialect::Influx1),
        Product::Influx2 => Writing::Influx(Dialect::Influx2),
        Product::Influx3 => Writing::Influx3,
        Product::Victoria => {
            let refuse_texts = config.destination().projection.texts == Unheld::DeadLetter;
            let victoria::Keeps { past_ms, ahead_ms } = keeps;
            Writing::Victoria(VictoriaRules { refuse_texts, past_ms, ahead_ms, now_ms: 0 })
        }
        Product::Questdb => {
            let projection = config.destination().projection;
            Writing::Questdb(QuestRules { names_place: projection.tables_name_database, keeps_ns: projection.keeps_ns })
        }
    }
}

fn delivery_parts(
    config: &Config,
    is_only: bool,
    (met, kind): (&Met, TargetKind),
    (state, clock, doubts): (&SharedState, &SharedClock, &Doubts),
    mirror: &Mirror,
) -> delivery::Parts {
    delivery::Parts {
        is_only,
        product: met.product,
        writing: writing(config, met.product, met.keeps),
        id: config.destination().id.clone(),
        kind,
        mapping: config.mapping.clone(),
        settings: config.destination().delivery.clone(),
        gzip: config.destination().gzip(),
        create: config.destination().create.then(|| config.source.server.clone()),
        dead_letter_bytes_max: config.queue.dead_letter_max.0,
        route_backlog_bytes: config.destination().delivery.route_backlog.0.min(config.queue.max_size.0 / 2),
        state: Arc::clone(state),
        clock: Arc::clone(clock),
        hold: mirror.hold.clone(),
        regions: mirror.regions.clone(),
        view: Arc::clone(&mirror.view),
        doubts: doubts.clone(),
        unanswered_max: passage_max(config.limits.max_body.as_usize())
            + config.source.server.request_timeout
            + 2 * config.queue.stall
            + UNANSWERED_SLACK,
    }
}

/// The source twice: queries have connections of their own, so that writes never wait behind them.
struct Source {
    writes: Server,
    passing: Server,
    silence: Silence,
    of_late: Recent,
    doubts: Doubts,
}

fn pipeline(
    config: &Config,
    source: Source,
    learnt: Learnt,
    kinds: Vec<TargetKind>,
    (appender, gaps): (Appender, Rc<GapKeeper>),
    state: &SharedState,
    clock: &SharedClock,
) -> Pipeline {
    let org = config.source.server.org.clone();
    let mappings = config.each().map(|one| one.mapping).zip(kinds).collect();
    Pipeline {
        resolver: Resolver::new(source.passing.clone(), learnt.source.flavor, org),
        catalogue: Catalogue::new(Arc::clone(state), mappings, config.limits.routes),
        source: source.writes,
        passing: source.passing,
        version: learnt.source.into(),
        appender,
        state: Arc::clone(state),
        gaps,
        clock: Arc::clone(clock),
        skew: Skew::default(),
        limits: Limits {
            body_bytes_max: config.limits.max_body.as_usize(),
            ratio_max: config.limits.max_decompression_ratio,
        },
        stall: config.queue.stall,
        on_unavailable: config.queue.on_unavailable,
        lazy: config.queue.outcomes == Outcomes::Lazy,
        epoch: EPOCH,
        silence: source.silence,
        doubts: source.doubts,
        overlaps: Overlaps::new(config.queue.overlap_lines, late_write_max(config)),
        sent: Sent::default(),
        changing: Changing::default(),
        meters: EdgeMeters::default().shown_in(source.of_late),
    }
}

/// An unanswered request may take effect for as long as it may at any destination.
fn late_write_max(config: &Config) -> Duration {
    config.destinations.iter().map(|one| one.delivery.late_write_max).max().unwrap_or_default()
}

/// Binds the addresses of clients. Those of operators come later: until there is something to tell, nobody answers there.
async fn bind_clients(config: &Config, passed: &mut Passed) -> Result<(Vec<Proxy>, Vec<UdpBound>)> {
    let mut proxies = Vec::new();
    for listen in config.listeners(Role::Proxy) {
        let tls = listen.tls.clone().map(Identity::read).transpose()?.map(Rc::new);
        let bound = bind(&listen.address, passed.take(&listen.address)).await?;
        proxies.push(Proxy { bound, listen: listen.clone(), tls });
    }
    let udp = config.udp.iter().cloned().map(bind_udp).collect::<Result<_>>()?;
    Ok((proxies, udp))
}

/// Everything that listens, and who answers.
struct Front {
    proxies: Vec<Proxy>,
    udp: Vec<UdpBound>,
    edge: Edge,
    seen: EdgeView,
    clock: SharedClock,
}

/// One listener of clients.
struct Proxy {
    bound: Bound,
    listen: crate::config::Listen,
    tls: Option<Rc<Identity>>,
}

fn serve_all(
    config: &Config,
    front: Front,
    drain_max: Duration,
    stopped: &watch::Receiver<bool>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let Front { proxies, udp, edge, seen, clock } = front;
    let limiter = Limiter::new(config.limits.client, clock, seen.clone());
    let header_bytes_max = config.limits.max_header.as_usize();
    let datagrams = udp.into_iter().map(|bound| {
        tracing::info!(address = %bound.address(), "datagrams may come");
        let taking = serve_udp(bound, edge.clone(), seen.clone(), drain_max, stopped.clone());
        tokio::task::spawn_local(taking)
    });
    let datagrams: Vec<_> = datagrams.collect();
    let each = proxies.into_iter().map(|Proxy { bound, listen, tls }| {
        tracing::info!(address = %bound.address, "clients may connect");
        let limits = Serve {
            connections_max: listen.max_connections,
            idle_timeout: listen.idle_timeout,
            header_bytes_max,
            drain_max,
            path_prefix: listen.path_prefix.as_str().into(),
            tls,
            proxied: listen.proxied.map(|trusted| Rc::new(Proxied::new(trusted))),
            limiter: limiter.clone(),
        };
        let edge = edge.clone();
        let handle = move |request| {
            let edge = edge.clone();
            async move { edge.handle(request).await }
        };
        tokio::task::spawn_local(serve(bound, limits, handle, stopped.clone()))
    });
    each.chain(datagrams).collect()
}

fn facts(
    config: &Config,
    learnt: &Learnt,
    proxies: &[Proxy],
    admin: &[(std::net::TcpListener, crate::config::Listen)],
) -> Facts {
    let side = |(one, met): (&crate::config::Destination, &Met)| NamedSide {
        id: one.id.to_string(),
        side: learn::side(&one.server, met.product, &met.version),
    };
    let destinations: Vec<NamedSide> = config.destinations.iter().zip(&learnt.destinations).map(side).collect();
    Facts {
        name: config.name.clone(),
        proxy: proxies.iter().map(|proxy| proxy.bound.address.to_string()).collect(),
        admin: admin.iter().filter_map(|(socket, _)| socket.local_addr().ok()).map(|a| a.to_string()).collect(),
        source: learn::side(&config.source.server, learnt.source.flavor.into(), &learnt.source.text),
        destination: destinations.first().map(|first| first.side.clone()).unwrap_or_default(),
        destination_id: config.destination().id.to_string(),
        destinations,
        ..Facts::default()
    }
}

/// Waits for the listeners' ends, then for writes whose clients may be gone, but for no longer than `writes_max`.
async fn end_requests(serving: Vec<tokio::task::JoinHandle<()>>, edge: &Edge, writes_max: Duration) {
    for task in serving {
        // A listener's task that panicked has told so already.
        let _ = task.await;
    }
    let ended = async {
        while edge.writes_under_way() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(writes_max, ended).await.is_err() {
        tracing::warn!(writes = edge.writes_under_way(), "writes without an end are given up: they become doubt");
    }
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|e| Error::disk("cannot listen for signals", e))
}

/// At each hangup the certificates of listeners are read again, and nothing else.
async fn read_again(mut hangup: Signal, identities: Vec<Rc<Identity>>) {
    while hangup.recv().await.is_some() {
        for identity in &identities {
            match identity.read_again() {
                Ok(()) => {
                    tracing::info!(event = "tls.read", "SIGHUP: certificate and key of a listener are read again")
                }
                Err(error) => tracing::error!(%error, event = "tls.kept", "SIGHUP: the certificate in use stays"),
            }
        }
        tracing::info!("SIGHUP changes nothing else: the configuration is read at the start; SIGTERM ends twinline");
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    /// `hangup`: listened to since the process began.
    fn listen(hangup: Signal, identities: Vec<Rc<Identity>>) -> Result<Self> {
        tokio::task::spawn_local(read_again(hangup, identities));
        Ok(Self { term: listen(SignalKind::terminate())?, int: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Result<Exit> {
        tokio::select! {
            got = self.term.recv() => got.map(|()| Exit::Terminated),
            got = self.int.recv() => got.map(|()| Exit::Interrupted),
        }
        .ok_or_else(|| Error::new(Kind::State, Side::Own, "signals are not delivered any more"))
    }
}
