//! Clients that want to change the protocol, or write in one that is not mirrored.

use crate::captures::{Case, Pair};
use crate::database::Kind;
use crate::double::{Seen, start};
use crate::proxy::{PATIENCE, Setup};
use crate::scripted::{Reply, Scripted};

/// What browsers and HTTP/2 clients ask for.
const WISHES: [&[&str]; 3] = [
    &[
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ],
    &["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
    &["Connection: keep-alive, Upgrade", "Upgrade: TLS/1.2, HTTP/1.1"],
];

/// The source is not asked, answers as ever, and the connection goes on.
#[test]
fn a_wish_for_another_protocol_is_answered_as_if_it_were_not_there() {
    let (twinline, seen) = start();
    for wish in WISHES {
        let mut client = twinline.connect();
        for (line, body) in [("GET /any", ""), ("POST /query?q=SHOW+DATABASES", ""), ("POST /write?db=d", "m v=1 1")] {
            let answer = client.call(line, wish, body.as_bytes()).unwrap();
            assert_eq!((answer.status, answer.header("upgrade")), (204, None), "{line} {wish:?}");
            let got = loop {
                let Ok(Seen::Request(head, _)) = seen.recv_timeout(PATIENCE) else { panic!("{line} did not come") };
                // Twinline's own questions come in between.
                if head[0].starts_with(line) {
                    break head;
                }
            };
            let left = |name: &str| got.iter().any(|line| line.to_ascii_lowercase().starts_with(name));
            assert!(!left("upgrade:") && !left("http2-settings:"), "{got:?}");
        }
    }
}

/// A source that changes it unasked is not followed: the client hears so, instead of nothing.
#[test]
fn a_source_that_changes_the_protocol_unasked_gave_no_answer() {
    let (twinline, _seen) = start();
    let answer = twinline.call("GET /switch", WISHES[0], "");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("another protocol"), "{}", answer.text());
    assert_eq!(twinline.call("GET /any", &[], "").status, 204);
}

#[test]
fn real_servers_are_heard_as_directly() {
    for kind in [Kind::One, Kind::Two] {
        let cases = WISHES.iter().flat_map(|wish| {
            [("GET /ping", ""), ("POST /write?db=cap", "m v=1 1"), ("GET /no/such/path", "")]
                .map(|(line, body)| Case::new(line, &[wish, &["<CREDENTIALS>"][..]].concat(), body))
        });
        let cases: Vec<Case> = cases.collect();
        Pair::start(kind).assert_alike(&cases, &[]);
    }
}

/// A source that takes `/api/v3/write_lp` has what the mirror does not: that is counted. One that does not know it has nothing.
#[test]
fn writes_of_the_third_api_reach_the_source_and_are_a_gap() {
    let source = Scripted::start(|write| Reply::new(if write.path.contains("db=d") { 204 } else { 404 }, ""));
    let setup = Setup::new(
        format!("url = \"{}\"\nkind = \"influxdb1\"", source.url()),
        "url = \"http://127.0.0.1:9\"\nkind = \"influxdb1\"".to_owned(),
    );
    let twinline = setup.start();
    assert_eq!(twinline.call("POST /api/v3/write_lp?db=other&precision=second", &[], "m v=1 1").status, 404);
    assert_eq!(twinline.status()["lines"]["gap"], 0);
    assert_eq!(twinline.call("POST /api/v3/write_lp?db=d&precision=second", &[], "m v=1 1").status, 204);
    let status = twinline.until("the gap is told", |status| status["lines"]["gap"] == 1);
    assert_eq!(status["gaps"][0]["cause"], "other-protocol", "{status:#}");
    assert!(status["not_covered"].to_string().contains("/api/v3/write_lp"), "{status:#}");
    assert_eq!(source.writes("db=d").len(), 1);
}
