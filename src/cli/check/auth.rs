//! `auth` and `rights`: our credentials are accepted, and their rights suffice for what we do with them.

use std::collections::BTreeSet;

use http::StatusCode;

use super::finding::{About, Code, Finding, Group, State};
use super::probe::{Probed, Verdict};
use super::report::some_of;
use super::subject::{Subject, Unanswered, identifier};
use crate::db::encode::shell_word;
use crate::db::server::Flavor;
use crate::route::Target;

/// Asks the smallest question that needs rights. False when further questions would be refused alike.
pub(super) async fn credentials(subject: &Subject<'_>, flavor: Flavor) -> (bool, Finding) {
    let answer = match flavor {
        Flavor::Influx1 => subject.statement("SHOW DATABASES").await.map(|rows| Some(rows.column("name").len())),
        Flavor::Influx2 => subject.json("/api/v2/buckets?limit=1").await.map(|_| None),
    };
    match answer {
        Ok(visible) => {
            let visible = visible.map(|n| format!(", {n} database{} visible", if n == 1 { "" } else { "s" }));
            let text = format!("{}{}", accepted(subject), visible.unwrap_or_default());
            (true, subject.found(Group::Auth, State::Ok, Code::CREDENTIALS, text))
        }
        Err(why) => {
            let alike = matches!(why, Unanswered::Broken(_) | Unanswered::Refused(StatusCode::UNAUTHORIZED, _));
            (!alike, refused(subject, flavor, &why))
        }
    }
}

fn accepted(subject: &Subject<'_>) -> String {
    match (&subject.config.token, &subject.config.username) {
        (Some(_), _) => "token accepted".to_owned(),
        (None, Some(user)) => format!("user {user:?} accepted"),
        (None, None) => "asks for no credentials".to_owned(),
    }
}

fn refused(subject: &Subject<'_>, flavor: Flavor, why: &Unanswered) -> Finding {
    let found = |state, text| subject.found(Group::Auth, state, Code::CREDENTIALS, text);
    let section = subject.section;
    let setting = match flavor {
        Flavor::Influx1 => format!("username and password in [{section}]"),
        Flavor::Influx2 => format!("token in [{section}]"),
    };
    match why {
        Unanswered::Refused(StatusCode::UNAUTHORIZED, _) if !subject.has_credentials() => {
            if subject.about == About::Source {
                let text = "asks for credentials and none are configured: writes pass with the clients' own, but names \
                            are taken by convention and the mapping cannot be checked";
                return found(State::Warning, text.to_owned()).fix(setting);
            }
            found(State::Failed, "asks for credentials and none are configured".to_owned()).fix(setting)
        }
        Unanswered::Refused(StatusCode::UNAUTHORIZED, said) => {
            found(State::Failed, format!("credentials refused: {said}")).fix(format!("correct {setting}"))
        }
        Unanswered::Refused(StatusCode::FORBIDDEN, said) if subject.about == About::Source => {
            let text = format!("rights to see what there is are missing: {said}");
            found(State::Warning, text).fix(format!("grant them, or correct {setting}"))
        }
        // At the destination the right to write decides, which is asked for on its own.
        Unanswered::Refused(..) => found(State::Unknown, format!("cannot be found out: {}", why.text())),
        Unanswered::Broken(error) => found(State::Unknown, format!("cannot be found out: {error}")),
    }
}

/// Databases of the source whose policies we may not see.
pub(super) fn read_rights(subject: &Subject<'_>, closed: &[String]) -> Option<Finding> {
    let user = identifier(subject.config.username.as_deref().unwrap_or("user"));
    let text = format!("may not see the retention policies of {}: only their default policy is known", some_of(closed));
    let grants: Vec<String> =
        closed.iter().take(3).map(|db| format!("GRANT READ ON {} TO {user}", identifier(db))).collect();
    (!closed.is_empty())
        .then(|| subject.found(Group::Rights, State::Warning, Code::READ_RIGHTS, text).fix(grants.join("; ")))
}

/// Whether we may write to what exists at the destination.
pub(super) fn write_rights(subject: &Subject<'_>, probed: &[Probed]) -> Vec<Finding> {
    let of = |wanted: fn(&Verdict) -> bool| probed.iter().filter(move |p| wanted(&p.verdict)).map(|p| &p.target);
    let writable: Vec<String> = of(|v| *v == Verdict::Writable).map(ToString::to_string).collect();
    let denied: Vec<&Target> = of(|v| matches!(v, Verdict::Denied(_))).collect();
    let mut findings = Vec::new();
    if !writable.is_empty() {
        let text = format!("may write to {}", some_of(&writable));
        findings.push(subject.found(Group::Rights, State::Ok, Code::WRITE_RIGHTS, text));
    }
    if !denied.is_empty() {
        let names: Vec<String> = denied.iter().map(ToString::to_string).collect();
        let fixes: BTreeSet<String> = denied.iter().map(|target| grant(subject, target)).collect();
        let fix = fixes.into_iter().take(5).collect::<Vec<_>>().join("\n");
        let text = format!("may not write to {}", some_of(&names));
        findings.push(subject.found(Group::Rights, State::Failed, Code::WRITE_RIGHTS, text).fix(fix));
    }
    findings
}

fn grant(subject: &Subject<'_>, target: &Target) -> String {
    match target {
        Target::Database { db, .. } => {
            let user = identifier(subject.config.username.as_deref().unwrap_or("user"));
            format!("GRANT WRITE ON {} TO {user}", identifier(db))
        }
        Target::Bucket { org, bucket } => {
            let (org, bucket) = (shell_word(org), shell_word(bucket));
            let id = format!("$(influx bucket list --org {org} --name {bucket} --hide-headers | cut -f 1)");
            format!("influx auth create --org {org} --write-bucket {id}")
        }
    }
}
