//! `twinline queue release-ballast`: gives back the space that was taken while there was plenty.

use std::io;

use serde_json::json;

use super::place::Place;
use crate::base::Error;
use crate::base::size::ByteSize;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::run::ballast;

/// Options of `release-ballast`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct BallastArgs {}

pub(super) fn run(global: &Global, place: &Place, _: &BallastArgs) -> Result<Exit, Failure> {
    let path = ballast::path(&place.data_dir);
    let shown = path.display();
    let released = std::fs::symlink_metadata(&path).and_then(|found| std::fs::remove_file(&path).map(|()| found.len()));
    let bytes = match released {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = format!("there is no ballast at {shown}: it was given back, or there was never room for it");
            return Err(Failure::new(Exit::No, what)
                .hint("free space on the disk of data_dir; a start takes the ballast again once there is plenty"));
        }
        Err(error) => return Err(Error::disk(format!("cannot remove {shown}"), error).into()),
    };
    let talk = global.talk();
    if talk.json() {
        talk.document(&json!({ "schema": "twinline.ballast/1", "released_bytes": bytes }))?;
    } else {
        talk.data(&format!("{} given back; a start takes them again once there is plenty\n", ByteSize(bytes)))?;
    }
    talk.next("twinline status");
    Ok(Exit::Success)
}
