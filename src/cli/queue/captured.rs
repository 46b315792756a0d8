//! `twinline queue show` and `verify` of a capture: a file that `export` has written.

use std::path::Path;

use serde_json::json;

use super::routes::Routes;
use super::show::{Page, ShowArgs, damage_document, row_document, row_text, titles};
use super::stop::Stop;
use super::text::{plural, time, time_or_null};
use crate::base::size::ByteSize;
use crate::base::{Lsn, disk};
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::talk::Mark;
use crate::queue::Outcome;
use crate::wal::Kind;
use crate::wal::capture::CaptureReader;
use crate::wal::look::{Row, Sight};

/// Whether this names a capture.
pub(super) fn is_one(path: &Path) -> bool {
    path.is_file() && CaptureReader::is_one(disk::real().as_ref(), path)
}

fn open(path: &Path) -> Result<CaptureReader, Failure> {
    CaptureReader::open(disk::real().as_ref(), path).map_err(super::place::failure)
}

pub(super) fn show(global: &Global, path: &Path, args: &ShowArgs) -> Result<Exit, Failure> {
    let (talk, stop) = (global.talk(), Stop::listen()?);
    let mut reader = open(path)?;
    let head = reader.head;
    let next = if args.rows() { "verify" } else { "show --records" };
    let next = format!("twinline queue {next} {}", path.display());
    let mut page = Page::new(talk);
    if talk.json() {
        let head = json!({"schema": "twinline.queue.show/1", "capture": {
            "file": path.display().to_string(),
            "created": time_or_null(head.created_ns),
            "first_lsn": head.lsns.0.0,
            "last_lsn": head.lsns.1.0,
            "received_from": time_or_null(head.received_ns.0),
            "received_to": time_or_null(head.received_ns.1),
            "whole": reader.whole,
        }});
        let head = head.to_string();
        page.out.push_str(head.strip_suffix('}').unwrap_or(&head));
    } else {
        let (from, to) = (time(head.received_ns.0), time(head.received_ns.1));
        page.out = format!(
            "capture      {}\ncreated      {}\nasked for    records {} to {}, received {from} to {to}\nwhole        {}\n",
            path.display(),
            time(head.created_ns),
            head.lsns.0,
            head.lsns.1,
            if reader.whole { "yes" } else { "no: its end is missing or damaged" }
        );
    }
    let mut exit = Exit::Success;
    if args.rows() {
        page.out.push_str(&if talk.json() { ",\"records\":[".to_owned() } else { titles() });
        exit = rows(&mut reader, args, &mut page, &stop)?;
        if talk.json() {
            page.out.push(']');
        }
    }
    page.end(exit, &next)?;
    talk.next(&next);
    Ok(exit)
}

/// An intent waits for what stands right behind it: its outcome.
fn rows(reader: &mut CaptureReader, args: &ShowArgs, page: &mut Page, stop: &Stop) -> Result<Exit, Failure> {
    let (mut routes, mut held): (Routes, Option<Row>) = (Routes::default(), None);
    let asked = Lsn(args.from.unwrap_or(0))..=Lsn(args.to.unwrap_or(u64::MAX));
    loop {
        if let Some(exit) = stop.asked() {
            return Ok(exit);
        }
        let sight = reader.next().map_err(super::place::failure)?;
        let outcome = match &sight {
            Some(Sight::Row(row)) if row.kind() == Some(Kind::Outcomes) => {
                Outcome::decode_all(&row.record.body).last().map(|(outcome, _)| outcome)
            }
            _ => None,
        };
        if let Some(row) = held.take().filter(|row| asked.contains(&row.record.lsn)) {
            let (route, found) = (routes.learn(&row), Some(outcome.filter(|outcome| outcome.lsn == row.record.lsn)));
            page.row(&match page.talk.json() {
                true => row_document(&row, route, found.as_ref(), args.bodies).to_string(),
                false => row_text(&row, route, found.as_ref(), args.bodies),
            })?;
        }
        match sight {
            None => return Ok(Exit::Success),
            Some(Sight::Row(row)) if row.kind() == Some(Kind::Outcomes) => {}
            Some(Sight::Row(row)) => held = Some(row),
            Some(Sight::Damage(damage, from, to)) => {
                let mark = page.talk.mark(Mark::Bad);
                page.row(&match page.talk.json() {
                    true => damage_document(&damage, &routes, from, to).to_string(),
                    false => format!("{mark} {}, bytes {from} to {to}\n", routes.lost(&damage)),
                })?;
            }
        }
    }
}

pub(super) fn verify(global: &Global, path: &Path) -> Result<Exit, Failure> {
    let (talk, stop) = (global.talk(), Stop::listen()?);
    let mut reader = open(path)?;
    let (mut routes, mut flaws) = (Routes::default(), Vec::new());
    let (mut records, mut lines, mut bytes, mut more) = (0u64, 0u64, 0u64, 0u64);
    while let Some(sight) = reader.next().map_err(super::place::failure)? {
        match sight {
            Sight::Row(row) => {
                routes.learn(&row);
                (records, bytes) = (records + 1, bytes + row.bytes);
                lines += u64::from(row.record.lines);
            }
            Sight::Damage(..) if flaws.len() >= FLAWS_MAX => more += 1,
            Sight::Damage(damage, from, to) => {
                flaws.push((
                    format!("{}, bytes {from} to {to}", routes.lost(&damage)),
                    damage_document(&damage, &routes, from, to),
                ));
            }
        }
        if let Some(exit) = stop.asked() {
            talk.say(&format!("interrupted after {}", plural(records, "record")));
            return Ok(exit);
        }
    }
    if !reader.whole {
        let text = "its end is missing or damaged: it may have been longer".to_owned();
        flaws.push((text.clone(), json!({"kind": "end", "text": text})));
    }
    let sound = flaws.is_empty();
    let next = format!("twinline queue show {} --records", path.display());
    if talk.json() {
        talk.document(&json!({
            "schema": "twinline.queue.verify/1",
            "capture": path.display().to_string(),
            "sound": sound,
            "records": records,
            "lines": lines,
            "record_bytes": bytes,
            "flaws": flaws.iter().map(|(_, document)| document).collect::<Vec<_>>(),
            "flaws_not_listed": more,
            "next_steps": [next],
        }))?;
    } else {
        let what = format!(
            "{}: {}, {}, {}",
            path.display(),
            plural(records, "record"),
            plural(lines, "line"),
            ByteSize(bytes)
        );
        let mut out: String = flaws.iter().map(|(text, _)| format!("{} {text}\n", talk.mark(Mark::Bad))).collect();
        out.push_str(&match sound {
            true => format!("{} {what}: every checksum holds\n", talk.mark(Mark::Good)),
            false => format!("{} {what}: {}\n", talk.mark(Mark::Bad), plural(flaws.len() as u64 + more, "flaw")),
        });
        talk.data(&out)?;
    }
    talk.next(&next);
    Ok(if sound { Exit::Success } else { Exit::No })
}

/// What is told one by one.
const FLAWS_MAX: usize = 10_000;
