use super::*;

fn judge(flavor: Flavor, status: u16, body: &str) -> Verdict {
    destination(flavor, StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
}

fn one(status: u16, said: &str) -> (Action, &'static str) {
    let body = serde_json::json!({ "error": said }).to_string();
    let Verdict { action, code, .. } = judge(Flavor::Influx1, status, &body);
    (action, code)
}

fn two(status: u16, said: &str) -> (Action, &'static str) {
    let body = serde_json::json!({ "code": "any", "message": said }).to_string();
    let Verdict { action, code, .. } = judge(Flavor::Influx2, status, &body);
    (action, code)
}

const RETRY: Action = Action::Retry { after_s: None };
const ROUTE: Action = Action::Pause(Limit::Route);
const ALL: Action = Action::Pause(Limit::Destination);

#[test]
fn only_204_acknowledges() {
    assert_eq!(judge(Flavor::Influx1, 204, "").action, Action::Acknowledge);
    for status in [200, 201, 202] {
        assert_eq!(one(status, ""), (ALL, "not-influxdb"));
    }
    let mut headers = HeaderMap::new();
    headers.insert("location", "https://login.example/?next=secret".parse().unwrap());
    let verdict = destination(Flavor::Influx1, StatusCode::FOUND, &headers, b"<html>");
    assert_eq!(
        (verdict.action, verdict.code, verdict.said.as_str()),
        (ALL, "redirect", "sends us to https://login.example/")
    );
}

#[test]
fn refused_lines_are_looked_for_and_unknown_refusals_pause() {
    let conflict = "partial write: field type conflict: input field \"v\" on measurement \"m\" is type string, already exists as type float dropped=1 for database: d";
    assert_eq!(one(400, conflict), (Action::Bisect { dropped: Some(1) }, "type-conflict"));
    for expired in [
        "partial write: points beyond retention policy dropped=3",
        "partial write: points beyond retention policy or outside permissible write window dropped=3 for database: d",
        "partial write: dropped 3 points outside retention policy of duration 24h0m0s - oldest point m at … dropped=3 for database: d",
        "partial write: dropped 0 points outside retention policy of duration 0s and 3 points outside write window (-2h0m0s to 1h0m0s) - … dropped=3 for database: d",
    ] {
        assert_eq!(one(400, expired), (Action::Bisect { dropped: Some(3) }, "expired"), "{expired}");
        let wrapped = format!("failure writing points to database: {expired}");
        assert_eq!(two(422, &wrapped), (Action::Bisect { dropped: Some(3) }, "expired"));
        assert_eq!(two(500, &wrapped), (Action::Bisect { dropped: Some(3) }, "expired"), "2.0.0 to 2.0.3");
    }
    assert_eq!(one(500, "partial write: points beyond retention policy dropped=3"), (RETRY, "server-error"));
    assert_eq!(one(400, "what is this"), (ROUTE, "unknown-answer"));
    assert_eq!(one(418, ""), (ROUTE, "unknown-answer"));
    assert_eq!(one(400, "partial write: the moon is full dropped=2"), (ROUTE, "unknown-answer"));
}

#[test]
fn what_a_line_says_about_itself_is_not_believed() {
    let quoted = "partial write: unable to parse 'm v=\" has been stripped from point dropped=0': bad dropped=0";
    assert_eq!(one(400, quoted), (Action::Quoted { kept: true, written: None }, "parse"));
    let named = "partial write: field type conflict: input field \"v\" on measurement \"a dropped=9\" is type float";
    assert_eq!(one(400, named), (Action::Bisect { dropped: None }, "type-conflict"));
    let ended = format!("{named} dropped=1 for database: d");
    assert_eq!(one(400, &ended), (Action::Bisect { dropped: Some(1) }, "type-conflict"));
    let quoted = "unable to parse 'm v=gzip: 1': invalid boolean";
    assert_eq!(one(400, quoted), (Action::Quoted { kept: false, written: None }, "parse"));
}

#[test]
fn faults_that_pass_are_tried_again_and_may_still_take_effect() {
    for (status, said, code, open) in [
        (500, "timeout", "timeout", true),
        (500, "write failed", "server-error", true),
        (500, "engine is closed", "server-error", true),
        (500, "hinted handoff queue is full", "server-error", true),
        (502, "Bad Gateway", "server-error", true),
        (504, "Gateway Timeout", "server-error", true),
        (408, "", "timeout", true),
        (499, "", "timeout", true),
        (503, "", "unavailable", true),
        (503, "request throttled, queue full", "throttled", false),
        (503, "request throttled, exceeds timeout", "throttled", false),
        (400, "partial write: shard 12 is pending deletion dropped=1", "shard-deleting", false),
    ] {
        let verdict = judge(Flavor::Influx1, status, said);
        assert_eq!((verdict.action, verdict.code, verdict.open), (RETRY, code, open), "{status} {said}");
    }
    assert!(judge(Flavor::Influx1, 503, "request throttled, queue full").crowded);
    assert_eq!(two(500, "unexpected error writing points to database: timeout"), (RETRY, "timeout"));
    assert!(!judge(Flavor::Influx1, 401, "").open);
}

#[test]
fn wrong_rights_and_missing_targets_wait_for_somebody() {
    assert_eq!(one(401, "authorization failed"), (ALL, "unauthorized"));
    assert_eq!(one(403, "\"bob\" user is not authorized to write to database \"d1\""), (ROUTE, "forbidden"));
    assert_eq!(one(404, "database not found: \"nope\""), (ROUTE, "database-missing"));
    assert_eq!(two(404, "bucket \"nope\" not found"), (ROUTE, "bucket-missing"));
    assert_eq!(two(404, "organization name \"nope\" not found"), (ROUTE, "org-missing"));
    assert_eq!(one(500, "retention policy not found: nope"), (ROUTE, "policy-missing"));
    for status in [404, 405] {
        let verdict = judge(Flavor::Influx1, status, "404 page not found\n");
        assert_eq!((verdict.action, verdict.code), (ALL, "wrong-url"));
    }
    for said in
        ["invalid precision \"x\" (use n, u, ms, s, m or h)", "invalid consistency level", "database is required"]
    {
        assert_eq!(one(400, said), (ROUTE, "our-request"), "{said}");
    }
    assert_eq!(one(417, ""), (ALL, "expectation"));
}

#[test]
fn a_destination_without_room_stands_still() {
    let values =
        "partial write: max-values-per-tag limit exceeded (5/3): measurement=\"tv\" tag=\"t\" value=\"6\" dropped=2";
    assert_eq!(one(400, values), (ROUTE, "tag-values-limit"));
    for series in [
        "partial write: max-series-per-database limit exceeded: (20) dropped=30",
        "partial write: max-series-per-database exceeded database=d limit=20 series=7 keys=30 dropped=30",
    ] {
        assert_eq!(one(400, series), (ROUTE, "series-limit"));
    }
    assert_eq!(one(500, "engine: cache-max-memory-size exceeded: (4800/4000)"), (Action::Shrink, "cache-full"));
    assert_eq!(two(429, "org has exceeded its limit"), (ALL, "cardinality"));
    assert_eq!(two(503, "max series cardinality reached"), (ALL, "cardinality"));
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "2.5".parse().unwrap());
    let verdict = destination(Flavor::Influx2, StatusCode::TOO_MANY_REQUESTS, &headers, b"");
    assert_eq!((verdict.action, verdict.code), (Action::Retry { after_s: Some(3) }, "quota"));
    let verdict = destination(Flavor::Influx2, StatusCode::SERVICE_UNAVAILABLE, &headers, b"");
    assert_eq!((verdict.action, verdict.open), (Action::Retry { after_s: Some(3) }, false));
}

#[test]
fn permanent_faults_of_lines_are_bisected() {
    let name = "proto: field \"tsdb.MeasurementFields.Name\" contains invalid UTF-8";
    assert_eq!(one(500, name), (Action::Bisect { dropped: None }, "bad-name"));
    let engine = "engine: unable to parse bool value";
    assert_eq!(one(500, engine), (Action::Bisect { dropped: None }, "unstorable"));
    assert_eq!(two(500, &format!("unexpected error writing points to database: {engine}")).1, "unstorable");
    let name = "partial write: invalid field name: input field \"time\" on measurement \"tf\" is invalid dropped=1";
    assert_eq!(one(400, name), (Action::Bisect { dropped: Some(1) }, "bad-name"));
    let stripped = "partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid. Field \"time\" has been stripped from point. dropped=0 for database: t80 for retention policy: autogen";
    assert_eq!(one(400, stripped), (Action::Acknowledge, "expected"));
    let wrapped = format!("failure writing points to database: {stripped}");
    assert_eq!(two(422, &wrapped), (Action::Acknowledge, "expected"));
    let long = "partial write: input field \"v\" on measurement \"m\" is too long, 1048577 > 1048576 dropped=1";
    assert_eq!(one(400, long), (Action::Bisect { dropped: Some(1) }, "too-large"));
}

#[test]
fn a_bare_conflict_is_sent_once_more() {
    let verdict = judge(Flavor::Influx1, 400, "{\"error\":\"field type conflict\"}\n");
    assert_eq!((&verdict.action, verdict.code), (&Action::Again, "type-conflict"));
    assert_eq!(verdict.again_failed().action, Action::Bisect { dropped: None });
}

#[test]
fn the_cloud_numbers_or_quotes_lines() {
    let text = "failed to parse line protocol:\n  errors encountered on line(s):\n  error parsing line 2 (1-based): Invalid\n  error parsing line 5 (1-based): no";
    let body = serde_json::json!({ "code": "invalid", "line": 2, "message": text }).to_string();
    let verdict = judge(Flavor::Influx2, 400, &body);
    assert_eq!((verdict.action, verdict.code), (Action::Numbered { lines: vec![2, 5], kept: false }, "parse"));
    let body = body.replace("failed to parse", "partial write of line protocol: failed to parse");
    assert_eq!(judge(Flavor::Influx2, 400, &body).action, Action::Numbered { lines: vec![2, 5], kept: true });
    let only = judge(Flavor::Influx2, 400, "{\"code\":\"invalid\",\"line\":7,\"message\":\"no\"}");
    assert_eq!(only.action, Action::Numbered { lines: vec![7], kept: false });
    let schema = "partial write error (2 written): unable to parse 'air v=\"7\"': schema: field type";
    assert_eq!(two(400, schema), (Action::Quoted { kept: true, written: Some(2) }, "schema"));
}

#[test]
fn a_body_that_cannot_be_unpacked_is_sent_plain_and_then_waits() {
    let internal = r#"{"code":"internal error","message":"An internal error has occurred - check server logs"}"#;
    let verdict = judge(Flavor::Influx2, 500, internal);
    assert_eq!(verdict.action, Action::Plain { passes: true });
    assert_eq!(verdict.plain_failed().action, RETRY);
    for text in ["unexpected EOF", "gzip: invalid header", "unable to read data: gzip: invalid checksum"] {
        let verdict = judge(Flavor::Influx1, 400, text);
        assert_eq!((&verdict.action, verdict.code), (&Action::Plain { passes: false }, "gzip"));
        assert_eq!(verdict.plain_failed().action, ROUTE);
    }
    assert_eq!(two(500, "unable to read data: unexpected EOF"), (Action::Plain { passes: true }, "gzip"));
}

#[test]
fn a_nodes_queue_of_a_cluster_counts_as_stored() {
    let verdict = judge(Flavor::Influx1, 500, "{\"error\":\"write failed: hinted handoff queue not empty\"}");
    assert_eq!((verdict.action, verdict.code, verdict.crowded), (Action::Acknowledge, "eventual", true));
}
