//! Writes, byte for byte: bodies, parameters, encodings.

use crate::captures::{Case, Pair};
use crate::database::Kind;
use crate::http::gzip;

const TARGETS: [&str; 2] = ["/write?db=cap", "/api/v2/write?bucket=cap&org=o"];

/// Bodies of which each says something else to a server.
fn bodies() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        &b"m v=1 1"[..],
        b"m,t=a v=1,w=2i,s=\"x\",b=t 1\nm,t=b v=2 2\n",
        b"",
        b"\n\n",
        b"# only a comment\n",
        b"u v=1",
        b"u v=1\nu v=2 7",
        b"u v=1\nbad\nu2 v=2",
        b"bad\nbad2 v=",
        b"m v=1 1\nbad\nm v=2 2\nbad2 v=",
        b"u v=\"another type\"",
        b"m v=1 3\nm v=\"another type\" 4",
        b"new f=1 3\nnew f=\"another\" 4",
        b"m v=1 3\nbad\nm v=\"another type\" 4",
        b"twice f=1,f=\"x\" 3",
        b"twice f=1,f=\"x\"",
        b"m v=1 9223372036854775807",
        b"m v=1 -9223372036854775808",
        b"m v=1 -1\nm v=1 0",
        b"m v=1 1\r\nm v=2 2\r\n",
        b"m v=1\r\nm v=2\r\n",
        b"m s=\"a\0b\" 1",
        b"m,t=a\0b v=1 1",
        b"\0\nm v=1 1",
        b"m s=\"\xff\",v=1 1",
        b"bad\0\x01\x7f\xff v",
        b"\x1f\x8b\x08\0lE\x01k\x02\xff no gzip",
        b"m\xff v=1 1",
        b"m,t=a,t=b v=1 1",
        b"m,t=a,t=b v=1",
        b"m,t= v=1 1",
        b"  m   v=1  1  ",
        b"m\tv=1 1",
        b"m s=\"a\nb\" 1",
        b"m s=\"a\nb\"\nm v=1",
        b"m u=1u 1",
        b"m i=9223372036854775808i 1",
        b"m v=1e400 1",
        b"m v=NaN 1",
        b"m v=+5 1",
        b"m v=.5 1\nm v=5. 2",
        b"m b=tRUE 1",
        b"m v=1,time=5 1",
        b"m v=1,time=5",
        b"m time=5 1",
        b"m,time=a v=1 1",
        b"m,time=a v=1",
        b"m,_field=a v=1 1",
        b"m,_measurement=a v=1",
        b"m v=1 1.5",
        b"m v=1 +5",
        b"m v=1,",
        b"m",
        b"a\\\\,t=b v=1 1",
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .collect();
    all.push(format!("{} v=1 1\nm v=1 1", "k".repeat(70_000)).into_bytes());
    all.push(format!("m v=1\nm,t={} v=1", "k".repeat(70_000)).into_bytes());
    all.push(format!("m s=\"{}\" 1", "k".repeat((1 << 20) + 1)).into_bytes());
    all.push(format!("m s=\"{}\"\nm v=1", "k".repeat((1 << 20) + 1)).into_bytes());
    all.push((0..5000).map(|at| format!("many,t={at} v={at} {at}\n")).collect::<String>().into_bytes());
    all.push((0..3000).map(|at| format!("bad{at}\nm v={at}\n")).collect::<String>().into_bytes());
    all
}

fn of_bodies() -> Vec<Case> {
    let mut cases = Vec::new();
    for target in TARGETS {
        cases.extend(bodies().iter().map(|body| Case::new(&format!("POST {target}"), &[], body)));
    }
    for target in ["/write?db=short", "/api/v2/write?bucket=short&org=o"] {
        for body in ["old v=1 1", "old v=1 1\nold v=2", "old v=1 1\nbad\nold v=3", "old v=1 1\nold,t=a v=2 2"] {
            cases.push(Case::new(&format!("POST {target}"), &[], body));
        }
    }
    cases
}

fn of_parameters() -> Vec<Case> {
    let mut cases = Vec::new();
    for precision in ["", "n", "ns", "u", "us", "µ", "ms", "s", "m", "h", "nanosecond", "second", "foo", "S", "%6es"] {
        for target in TARGETS {
            for body in ["p v=1 1600", "p v=1", "p v=1 1600\nbad"] {
                cases.push(Case::new(&format!("POST {target}&precision={precision}"), &[], body));
            }
        }
    }
    for target in [
        "/write",
        "/write?db=",
        "/write?db=nope",
        "/write?db=no%22pe",
        "/write?db=no\"p<e>",
        "/write?db=cap#x",
        "/write?db=n\u{e4}",
        "/write?db=cap&rp=",
        "/write?db=cap&rp=autogen",
        "/write?db=cap&rp=nope",
        "/write?db=cap&consistency=one",
        "/write?db=cap&consistency=foo",
        "/write?db=cap&db=nope",
        "/write?db=nope&db=cap",
        "/write?db=cap;precision=s",
        "/write?db=cap&x=%zz",
        "/write?db=%zz&db=cap",
        "/write?db=c+p",
        "/write?db=c%61p",
        "/write?&&db=cap&",
        "/write?db=cap&precision=s&precision=ms",
        "/write?DB=cap",
        "/%77rite?db=cap",
        "/api/v2/write",
        "/api/v2/write?org=o",
        "/api/v2/write?bucket=cap",
        "/api/v2/write?bucket=&org=o",
        "/api/v2/write?bucket=nope&org=o",
        "/api/v2/write?bucket=cap/&org=o",
        "/api/v2/write?bucket=cap/autogen&org=o",
        "/api/v2/write?bucket=cap%2Fnope&org=o",
        "/api/v2/write?bucket=cap&org=nope",
        "/api/v2/write?bucket=cap&orgID=1",
        "/api/v2/write?bucket=cap&orgID=0000000000000001",
        "/api/v2/write?bucket=cap&org=o&bucket=nope",
        "/api/v2/write?bucket=nope&bucket=cap&org=o",
    ] {
        for body in ["t v=1 1", "", "t v=1"] {
            cases.push(Case::new(&format!("POST {target}"), &[], body));
        }
    }
    cases
}

fn of_encodings() -> Vec<Case> {
    let text = b"m,t=zip v=1 1\nm,t=zip v=2 2\n";
    let good = gzip(text);
    let mut checksum = good.clone();
    let trailer = checksum.len() - 8;
    checksum[trailer] ^= 1;
    let mut shapes: Vec<(&str, Vec<u8>)> = vec![
        ("gzip", good.clone()),
        ("gzip", [gzip(b"m,t=zip v="), gzip(b"1 1\n"), gzip(b"m,t=zip v=2 2")].concat()),
        ("gzip", good[..good.len() / 2].to_vec()),
        ("gzip", good[..good.len() - 3].to_vec()),
        ("gzip", b"this is no gzip".to_vec()),
        ("gzip", b"x".to_vec()),
        ("gzip", Vec::new()),
        ("gzip", checksum),
        ("gzip", [&good[..], &[0; 20]].concat()),
        ("gzip", [&good[..], b"garbage behind it"].concat()),
        ("gzip", gzip(b"")),
        ("gzip", gzip(b"u,t=zip v=1\nbad\nm,t=zip v=\"another type\"")),
        ("gzip", gzip(b"u,t=zip v=1")),
    ];
    for encoding in ["GZIP", "Gzip", "x-gzip", "gzip, gzip", " gzip ", "deflate", "identity", "br", "zstd", ""] {
        shapes.push((encoding, good.clone()));
        shapes.push((encoding, text.to_vec()));
        shapes.push((encoding, b"u,t=zip v=1".to_vec()));
    }
    let mut cases = Vec::new();
    for target in TARGETS {
        for (encoding, body) in &shapes {
            cases.push(Case::new(&format!("POST {target}"), &[&format!("Content-Encoding: {encoding}")], body));
        }
        // 2.x packs an answer to `/write` from 1,400 bytes on, a refusal too.
        for bad in [format!("bad{}", "d".repeat(2_000)), format!("m v=1 1\nbad{}", "d".repeat(200))] {
            for accepted in ["gzip", "gzip;q=0.5, *", "identity", "deflate"] {
                cases.push(Case::new(&format!("POST {target}"), &[&format!("Accept-Encoding: {accepted}")], &bad));
            }
        }
    }
    cases
}

fn cases() -> Vec<Case> {
    [of_bodies(), of_parameters(), of_encodings()].concat()
}

#[test]
fn check_01_writes_to_influxdb_1_are_answered_byte_for_byte() {
    Pair::start(Kind::One).assert_alike(&cases(), &[]);
}

#[test]
fn check_01_writes_to_influxdb_2_are_answered_byte_for_byte() {
    Pair::start(Kind::Two).assert_alike(&cases(), &[]);
}
