//! Whether a place at the destination exists and takes our writes: asked with a write that has no lines.
//!
//! Every known server looks at credentials and target before it looks at the body, so this changes nothing and needs no
//! other right than the one it asks about: a token that may only write sees no list of buckets.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::subject::{Subject, said};
use crate::db::product::Product;
use crate::delivery::write_path;
use crate::route::Target;

/// What an empty write came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Writable,
    NoDatabase,
    NoPolicy,
    NoBucket,
    NoOrganisation,
    /// It exists and we may not write there; the server's sentence.
    Denied(String),
    /// The credentials themselves are refused.
    Unauthorized,
    /// Another answer, or none.
    Unclear(String),
}

/// A place at the destination and what it says.
#[derive(Clone, Debug)]
pub(super) struct Probed {
    pub(super) target: Target,
    pub(super) verdict: Verdict,
}

/// Asks about each target, one after the other; a server that stops answering is not asked again.
pub(super) async fn probe_all<'t>(
    subject: &Subject<'_>,
    product: Product,
    targets: impl Iterator<Item = &'t Target>,
) -> Vec<Probed> {
    // A write of nothing. QuestDB wants to be told its length, which a body without bytes has none of.
    let nothing = if product == Product::Questdb { Bytes::from_static(b"\n") } else { Bytes::new() };
    let mut probed = Vec::new();
    let mut broken: Option<String> = None;
    for target in targets {
        let verdict = match (&broken, target) {
            (Some(why), _) => Verdict::Unclear(why.clone()),
            (None, Target::Bucket { org, .. }) if org.is_empty() && product == Product::Influx2 => {
                Verdict::NoOrganisation
            }
            (None, _) => match subject.server.ask(Method::POST, &write_path(product, target), nothing.clone()).await {
                Ok(reply) => verdict(reply.status, &said(&reply), target),
                Err(error) => {
                    broken = Some(error.to_string());
                    Verdict::Unclear(error.to_string())
                }
            },
        };
        probed.push(Probed { target: target.clone(), verdict });
    }
    probed
}

fn verdict(status: StatusCode, said: &str, target: &Target) -> Verdict {
    match (status, target) {
        (status, _) if status.is_success() => Verdict::Writable,
        // InfluxDB 3 has looked at everything else before.
        (StatusCode::BAD_REQUEST, _) if said.starts_with("incoming write was empty") => Verdict::Writable,
        (StatusCode::UNAUTHORIZED, _) => Verdict::Unauthorized,
        (StatusCode::FORBIDDEN, _) => Verdict::Denied(said.to_owned()),
        (StatusCode::NOT_FOUND, Target::Bucket { .. }) if said.starts_with("organization") => Verdict::NoOrganisation,
        (StatusCode::NOT_FOUND, Target::Bucket { .. }) if said.contains("bucket") => Verdict::NoBucket,
        (StatusCode::NOT_FOUND, Target::Database { .. }) if said.starts_with("database not found") => {
            Verdict::NoDatabase
        }
        (_, Target::Database { .. }) if said.starts_with("retention policy not found") => Verdict::NoPolicy,
        _ => Verdict::Unclear(format!("{}: {said}", status.as_u16())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_their_sentence_and_not_by_the_status_alone() {
        let database = Target::Database { db: "d".into(), rp: "r".into() };
        let bucket = Target::Bucket { org: "o".into(), bucket: "b".into() };
        for (status, said, target, expected) in [
            (204, "", &database, Verdict::Writable),
            (404, "database not found: \"d\"", &database, Verdict::NoDatabase),
            (500, "retention policy not found: r", &database, Verdict::NoPolicy),
            (404, "bucket \"b\" not found", &bucket, Verdict::NoBucket),
            (404, "organization name \"o\" not found", &bucket, Verdict::NoOrganisation),
            (400, "incoming write was empty", &database, Verdict::Writable),
            (401, "unauthorized access", &bucket, Verdict::Unauthorized),
            (403, "no", &bucket, Verdict::Denied("no".into())),
            (404, "page not found", &bucket, Verdict::Unclear("404: page not found".into())),
            (500, "boom", &database, Verdict::Unclear("500: boom".into())),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(verdict(status, said, target), expected, "{said}");
        }
    }
}
