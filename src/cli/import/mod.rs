//! `twinline import`: history from files to the destination.
//!
//! Promise: what the destination acknowledged is noted with the place in the file, so that a command that is stopped at any moment goes on
//! there: at most the requests of one window ([`crate::backfill::files::Window`]) are written again. What cannot be written stands in the
//! rejects file before the note passes it. Of a packed file nothing is written before its checksums held, where it can be read twice. Values of one cell arrive in the order of the files. It does not work beside `twinline run` on
//! the same data directory unless it is told to, because a value of a file may be older than one that came by the proxy.

mod checkpoint;
mod context;
mod doubt;
mod form;
mod late;
mod options;
mod packed;
mod progress;
mod read;
mod rejects;
mod report;
mod send;
mod source;
mod work;

use super::Global;
use super::exit::{Exit, Failure};
use super::queue::place::{holder, quoted};
use super::queue::stop::Stop;
use crate::base::{Error, disk};
use crate::config::Config;
use crate::wal;
use checkpoint::Checkpoint;
use options::ImportArgs as Args;
use rejects::Rejects;
use source::Source;
use work::Work;

pub(super) use options::ImportArgs;

/// What lies in `data_dir/import`.
const FOLDER: &str = "import";

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, Failure> {
    args.check()?;
    let config = global.load()?.config;
    let config = config
        .one(args.destination.as_deref())
        .map_err(|what| Failure::new(Exit::Usage, what).hint("name one: --destination ID"))?;
    let sources = source::find(&args.paths)?;
    let (talk, stop) = (global.talk(), Stop::listen()?);
    let command = command(global, args);
    // Held to the end.
    let _alone = if args.dry_run { None } else { Some(alone(&config, args)?) };
    let checkpoint = checkpoint(&config, args, &sources)?;
    if !args.dry_run && checkpoint.replaces_unfinished() {
        talk.say("an earlier import of these files did not come to its end: this one begins anew (--resume goes on)");
    }
    let rejects = Rejects::new(&checkpoint.rejects, args.dry_run, checkpoint.goes_on())?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(tokio::runtime::LocalOptions::default());
    let runtime = runtime.map_err(|e| Error::disk("cannot start the event loop", e))?;
    // Fails only when it was done before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime.block_on(async {
        let mut work = Work::new(&config, args, (checkpoint, rejects), (talk, stop)).await?;
        let ended = work.all(sources).await;
        work.tell(&command, ended)
    })
}

/// The same command once more.
fn command(global: &Global, args: &Args) -> String {
    let config =
        global.config.as_ref().map_or(String::new(), |path| format!(" -c {}", quoted(&path.display().to_string())));
    let paths: Vec<String> = args.paths.iter().map(|path| quoted(&path.display().to_string())).collect();
    format!("twinline{config} import{} {}", args.words(), paths.join(" "))
}

/// What keeps others away: other imports, and whoever works on the directory.
#[derive(Debug)]
struct Alone {
    _imports: Box<dyn disk::DiskLock>,
    _directory: Option<wal::LogLock>,
}

fn alone(config: &Config, args: &Args) -> Result<Alone, Failure> {
    let folder = config.data_dir.join(FOLDER);
    let disk = disk::real();
    disk.create_dir_all(&folder).map_err(|e| Error::disk(format!("cannot create {}", folder.display()), e))?;
    let own = folder.join("LOCK");
    let imports = disk.lock(&own).map_err(|e| busy(&own.display().to_string(), &e))?;
    if args.may_overwrite_newer {
        return Ok(Alone { _imports: imports, _directory: None });
    }
    if let Some(process) = holder(&config.data_dir.join("wal/LOCK")) {
        let what = format!(
            "process {process} (twinline run) works on {}: beside live writes an import can put an old value over a newer one, because \
             InfluxDB keeps what comes last and a file does not know what has come since",
            config.data_dir.display()
        );
        let hint = "import before twinline run, or stop it meanwhile; where clients never write the times of the file again: --may-overwrite-newer";
        return Err(Failure::new(Exit::Refused, what).hint(hint));
    }
    let directory = wal::lock(disk.as_ref(), &config.data_dir.join("wal"))?;
    Ok(Alone { _imports: imports, _directory: Some(directory) })
}

fn busy(lock: &str, error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            Failure::new(Exit::Locked, format!("{lock} is held by another import")).hint("wait for its end")
        }
        _ => Failure::new(Exit::Failed, format!("cannot lock {lock}: {error}")),
    }
}

/// Where it goes on, or a new one.
fn checkpoint(config: &Config, args: &Args, sources: &[Source]) -> Result<Checkpoint, Failure> {
    let folder = config.data_dir.join(FOLDER);
    let id = args.id(config.destination().id.as_str(), sources);
    let path = folder.join(format!("{id}.json"));
    let rejects =
        args.rejects.clone().unwrap_or_else(|| folder.join(format!("{id}-{}.rejects.lp", checkpoint::now_s())));
    let known = Checkpoint::load(&path)?;
    if !args.resume {
        return Ok(Checkpoint::new(path, rejects, known.is_some_and(|known| !known.is_done())));
    }
    let Some(mut known) = known else {
        let what = "no import of these files with these options was begun: there is nothing to resume";
        return Err(Failure::new(Exit::Refused, what)
            .hint("the same paths, in the same order, with the same options; or without --resume"));
    };
    if let Some(named) = &args.rejects {
        known.rejects.clone_from(named);
    }
    known.compare(sources)?;
    Ok(known)
}

/// A path as the user named it, for people.
fn shown(path: &std::path::Path) -> String {
    if path.as_os_str() == "-" { "<stdin>".to_owned() } else { path.display().to_string() }
}
