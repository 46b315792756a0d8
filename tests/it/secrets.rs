//! Check 19: no credential of a client or of our own stands in anything that a run leaves behind.

use base64::Engine as _;
use rustix::process::Signal;

use crate::database::{Kind, shared};
use crate::http::{Connection, escape};
use crate::proxy::{Setup, Twinline};
use crate::scripted::{Reply, Scripted};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// Every secret of the run begins so, and goes on with what it is for.
const MARK: &str = "hush-7Qz";

fn secret(what: &str) -> String {
    format!("{MARK}{what}")
}

fn basic(user: &str, what: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", secret(what)))
}

/// Requests with credentials in every style: answered, refused, broken.
fn speak(twinline: &Twinline, salt: &str) {
    let s = |what: &str| secret(&format!("{what}{salt}"));
    let authorizations = [
        format!("Authorization: Basic {}", basic("reader", &format!("basic{salt}"))),
        format!("Authorization: Token {}", s("token")),
        format!("Authorization: Token reader:{}", s("pair")),
        format!("Authorization: Bearer {}", s("bearer")),
        format!("Cookie: influxdb-oss-session={}", s("cookie")),
    ];
    for header in &authorizations {
        for (line, body) in [
            ("POST /write?db=hush", "m v=1 1"),
            ("POST /write?db=hush", "m v=text,,= 1"),
            ("POST /write?db=missing", "m v=1 1"),
            ("POST /api/v2/write?bucket=hush%2Fautogen&org=o", "m v=2 2"),
            ("POST /api/v2/write?bucket=&org=", "m v=2 2"),
            ("GET /query?db=hush&q=SELECT+*+FROM+m", ""),
            ("GET /query?db=hush&q=SELEKT", ""),
            ("POST /api/v2/delete?bucket=hush", "{}"),
            ("DELETE /api/v2/authorizations/1", ""),
            ("GET /nowhere", ""),
        ] {
            twinline.call(line, &[header], body);
        }
    }
    let p = |what: &str| format!("u=reader&p={}", escape(&s(what)));
    for line in [
        format!("POST /write?db=hush&{}", p("url")),
        format!("POST /write?db=missing&{}", p("url2")),
        format!("POST /write?{}", p("url3")),
        format!("GET /query?db=hush&q=SELECT+1&{}", p("url4")),
        format!("POST /query?q=DROP+SERIES+FROM+nothing&db=hush&{}", p("url5")),
        format!("GET /anything?{}", p("url6")),
        format!("GET http://reader:{}@x/ping", s("userinfo")),
    ] {
        twinline.call(&line, &[], "m v=3 3");
    }
    for q in [
        format!("CREATE USER hush{salt} WITH PASSWORD '{}'", s("create")),
        format!("SET PASSWORD FOR hush{salt} = '{}'", s("set")),
        format!("create user \"hush{salt}\" with password '{}' with all privileges", s("again")),
        format!("SHOW DATABASES; CREATE USER x WITH PASSWORD '{}' OOPS", s("bad")),
        format!("CREATE USER x WITH PASSWORD '{}", s("open")),
        format!("SET PASSWORD FOR nobody = '\\'{}'", s("escaped")),
        format!("CREATE USER x WITH /* */ PASSWORD\n'{}'; DROP MEASUREMENT nothing", s("comment")),
        format!("CREATE SUBSCRIPTION s ON hush.autogen DESTINATIONS ALL 'http://u:{}@127.0.0.1:9'", s("subscription")),
        format!("DROP USER hush{salt}"),
    ] {
        twinline.call(&format!("POST /query?{}", p("statement")), &[FORM], format!("q={}", escape(&q)));
        twinline.call(&format!("POST /query?q={}", escape(&q)), &[], "");
        twinline.call("POST /query", &[FORM], format!("{}&q={}", p("form"), escape(&q)));
    }
    twinline.call("POST /api/v2/users/1/password", &[], format!("{{\"password\":\"{}\"}}", s("json")));
    // Not even requests.
    for text in [
        format!("GET /x?{} HTTP/1.1\r\nHost: a b\r\nAuthorization: Token {}\r\n\r\n", p("host"), s("host")),
        format!("POST /write?{} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\nX: {}\r\n\r\n", p("te"), s("te")),
        format!("POST /write?db=hush&{} HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\nm v=1", p("cut")),
        format!("{}\r\n\r\n", s("garbage")),
    ] {
        let mut client = Connection::open(&twinline.addr).unwrap();
        client.send(text.as_bytes()).unwrap();
        client.close_half().unwrap();
        while client.answer(false).is_ok() {}
    }
}

/// Everything that a run leaves behind or shows, by where it is.
fn left_behind(twinline: &Twinline) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![twinline.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                all.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    all
}

fn shown(twinline: &Twinline) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for path in ["/metrics", "/api/v1/status", "/api/v1/events?limit=1000", "/api/v1/dead-letters", "/readyz"] {
        all.push((path.to_owned(), twinline.admin(path).body));
    }
    let out = twinline.data().with_file_name("export");
    let out = out.to_str().unwrap();
    for words in [
        &["status"][..],
        &["status", "-o", "json"],
        &["queue", "ls"],
        &["queue", "export", "--out", out],
        &["deadletter", "ls", "-o", "json"],
        &["validate"],
        &["check"],
    ] {
        let output = twinline.command(words);
        all.push((words.join(" "), [output.stdout, output.stderr].concat()));
    }
    let exported = std::fs::read(out).unwrap();
    assert!(!exported.is_empty());
    all.push(("the export".to_owned(), exported));
    all
}

fn clean(all: &[(String, Vec<u8>)]) {
    // Of `user:secret` in base64 everything but the ends stands fast for each of three offsets.
    let encoded = |before: &str| {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}{MARK}"));
        text[4 * before.len().div_ceil(3)..].get(..8).unwrap().to_owned()
    };
    let marks = [MARK.to_owned(), escape(MARK), encoded("own:"), encoded("reader:"), encoded("abc")];
    for user in ["own", "reader"] {
        assert!(marks.iter().any(|mark| basic(user, "x").contains(mark)), "{marks:?}: what is looked for can be found");
    }
    for (place, bytes) in all {
        for mark in &marks {
            if let Some(at) = bytes.windows(mark.len()).position(|window| window == mark.as_bytes()) {
                let around = &bytes[at.saturating_sub(300)..(at + 100).min(bytes.len())];
                panic!("a secret stands in {place}: {}", around.escape_ascii());
            }
        }
    }
}

#[test]
fn check_19_no_credential_stands_in_what_a_run_leaves_behind() {
    let source = shared(Kind::One, 0);
    source.create("hush");
    let destination = Scripted::start(|write| match write.body.contains("v=2") {
        true => Reply::new(400, r#"{"error":"unable to parse 'm v=2 2': bad"}"#),
        false => Reply::new(204, ""),
    });
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("token");
    std::fs::write(&file, secret("file")).unwrap();
    let own = |url: &str| {
        let password = format!("command = [\"printf\", \"%s\", \"{}\"]", secret("command"));
        // What stands in the configuration itself is its owner's.
        format!("url = \"{url}\"\nkind = \"influxdb1\"\nusername = \"own\"\npassword = {{ {password} }}")
    };
    let to =
        format!("url = \"{}\"\nkind = \"influxdb2\"\norg = \"o\"\ntoken = {{ file = {file:?} }}", destination.url());
    let mut setup = Setup::new(own(&format!("http://{}", source.addr)), to).more("level = \"trace\"\n");
    let mut twinline = setup.start();
    speak(&twinline, "A");
    twinline.quiet();
    assert!(destination.writes("/write").iter().any(|write| write.body.contains("v=1")), "the run did something");
    let mut all = shown(&twinline);
    twinline.stop(Signal::KILL);
    let log = twinline.said();
    assert!(log.contains("\"level\":\"DEBUG\""), "it is as loud as it can be");
    all.push(("the log".to_owned(), log.into_bytes()));
    twinline.start_again();
    all.extend(shown(&twinline));
    twinline.stop(Signal::TERM);
    all.push(("the second log".to_owned(), twinline.said().into_bytes()));
    all.extend(left_behind(&twinline));
    clean(&all);

    // A source that is down, and a destination that is none.
    setup.source = own("http://127.0.0.1:9");
    setup.destination = setup.destination.replace(&destination.url(), "http://127.0.0.1:7");
    let mut twinline = setup.start();
    speak(&twinline, "B");
    let mut all = shown(&twinline);
    twinline.stop(Signal::TERM);
    all.push(("the log without a source".to_owned(), twinline.said().into_bytes()));
    all.extend(left_behind(&twinline));
    clean(&all);
}
