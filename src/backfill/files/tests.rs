//! Whole files, read in pieces of every size.

use super::*;

fn read_in(format: Format, options: Options, file: &[u8], cuts: impl Iterator<Item = usize>) -> Vec<Item> {
    let (mut reader, mut all, mut from) = (Reader::new(format, options), Vec::new(), 0);
    for cut in cuts.chain([file.len()]) {
        let cut = cut.clamp(from, file.len());
        reader.feed(&file[from..cut]);
        all.extend(&mut reader);
        from = cut;
    }
    reader.end();
    all.extend(&mut reader);
    all
}

fn read(format: Format, file: &[u8]) -> Vec<Item> {
    read_in(format, Options::default(), file, std::iter::empty())
}

/// A point as text, a fault by line, byte and code, or what is broken.
fn shown(item: &Item) -> String {
    let place = item.context.as_ref().map_or_else(String::new, |context| format!("{}|{}: ", context.db, context.rp));
    match &item.found {
        Found::Point(point) => {
            let fields: Vec<_> =
                point.fields.iter().map(|(key, value)| format!("{}={value}", key.escape_ascii())).collect();
            format!("{place}{} {} {}", point.series, fields.join(","), point.time_ns)
        }
        Found::Fault(fault) => format!("{place}{}:{} {}", fault.at.line, fault.at.byte, fault.code),
        Found::Broken(why) => format!("broken: {why}"),
    }
}

fn all_shown(format: Format, file: &[u8]) -> Vec<String> {
    read(format, file).iter().map(shown).collect()
}

const EXPORT: &[u8] = b"# INFLUXDB EXPORT: 1677-09-21T00:12:43Z - 2262-04-11T23:47:16Z
# DDL
CREATE DATABASE \"d:1\" WITH NAME autogen
CREATE RETENTION POLICY week ON d:1 DURATION 0s REPLICATION 1
# DML
# CONTEXT-DATABASE:d:1
# CONTEXT-RETENTION-POLICY:autogen
# writing tsm data
m\\ x,t=a v=1 1700000000000000000
m\\ x,t=a s=\"one
# CONTEXT-DATABASE:no
three\" 1700000000000000000
# CONTEXT-RETENTION-POLICY:week
# writing wal data
m i=-3i,u=5u,b=true -7
m v=x 1

m v=2
m v=3 5";

#[test]
fn an_export_of_1x_is_read_with_its_headers_and_its_strings() {
    assert_eq!(
        all_shown(Format::Lines, EXPORT),
        [
            "d:1|autogen: m x,t=a v=1.0 1700000000000000000",
            "d:1|autogen: m x,t=a s=\"one\\n# CONTEXT-DATABASE:no\\nthree\" 1700000000000000000",
            "d:1|week: m i=-3i,u=5u,b=true -7",
            "d:1|week: 16:430 invalid-boolean",
            "d:1|week: 18:440 no-time",
            "d:1|week: m v=3.0 5",
        ]
    );
    assert!(EXPORT[430..].starts_with(b"x 1\n") && EXPORT[440..].starts_with(b"\nm v=3 5"));
}

const FLUX: &[u8] =
    b"#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string,string\r
#group,false,false,true,true,false,false,true,true,true\r
#default,_result,,,,,,,,\r
,result,table,_start,_stop,_time,_value,_field,_measurement,host\r
,,0,2020-01-01T00:00:00Z,2021-01-01T00:00:00Z,2020-02-01T00:00:00.123456789Z,-0,v,m,\"a,\"\"b\"\r
,,0,2020-01-01T00:00:00Z,2021-01-01T00:00:00Z,2020-02-01T00:00:00.5Z,1e+300,v,m,\"a,\"\"b\"\r
,,1,2020-01-01T00:00:00Z,2021-01-01T00:00:00Z,1969-12-31T23:59:59Z,NaN,v,m,c\r
\r
#datatype,string,long,dateTime:RFC3339,string,string,string,string\r
#group,false,false,false,false,true,true,true\r
#default,_result,,,,,,\r
,result,table,_time,_value,_field,_measurement,table\r
,,2,2020-02-01T00:00:00Z,,s,m,\r
,,2,2020-02-01T00:00:01Z,\"x\r
\r
y\",s,m,t\r
\r
#datatype,string,long,dateTime:RFC3339,unsignedLong,string,string\r
,result,table,_time,_value,_field,_measurement\r
,,3,2020-02-01T00:00:00Z,18446744073709551615,u,m\r
,,3,2020-02-01T00:00:00Z,1,u\r
\r
\r
";

#[test]
fn annotated_csv_is_read_as_its_long_form_means_it() {
    assert_eq!(
        all_shown(Format::Flux, FLUX),
        [
            "m,host=a,\"b v=-0.0 1580515200123456789",
            "m,host=a,\"b v=1e300 1580515200500000000",
            "7:433 bad-value",
            "m s=\"\" 1580515200000000000",
            "m,table=t s=\"x\\n\\ny\" 1580515201000000000",
            "m u=18446744073709551615u 1580515200000000000",
            "21:947 columns",
        ]
    );
    assert!(FLUX[433..].starts_with(b",,1,") && FLUX[947..].starts_with(b",,3,"));
}

#[test]
fn a_stream_that_is_not_whole_is_told() {
    let last = |file: &[u8]| all_shown(Format::Flux, file).pop().unwrap();
    let end = FLUX.len();
    assert!(last(&FLUX[..end - 4]).contains("does not end with an empty line"), "{}", last(&FLUX[..end - 4]));
    assert!(last(&FLUX[..end - 6]).contains("cut off within a row"), "{}", last(&FLUX[..end - 6]));
    assert_eq!(all_shown(Format::Flux, b"\r\n"), Vec::<String>::new(), "an empty answer");
    let error =
        b"#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,it went wrong,897\r\n\r\n";
    let both = [FLUX, error].concat();
    let all = all_shown(Format::Flux, &both);
    assert_eq!((all.len(), all[7].contains("it went wrong (reference 897)")), (8, true), "{all:?}");
    for (table, says) in [
        (&b",result,table,_time,_value,_field,_measurement\r\n"[..], "no #datatype"),
        (b"#datatype,string,long,double\r\n,result,table,temp\r\n", "no column _measurement"),
        (
            b"#datatype,string,long,double,string,string,dateTime:RFC3339,long\r\n,result,table,_value,_field,_measurement,_time,n\r\n",
            "column n is a long",
        ),
    ] {
        assert!(last(table).contains(says), "{}", last(table));
    }
}

#[test]
fn where_a_file_is_cut_changes_nothing() {
    for (format, file) in [(Format::Lines, EXPORT), (Format::Flux, FLUX)] {
        let whole = read(format, file);
        for first in 0..=file.len() {
            assert_eq!(read_in(format, Options::default(), file, [first].into_iter()), whole, "{format:?} at {first}");
        }
        for size in 1..9 {
            let cuts = (0..file.len()).step_by(size);
            assert_eq!(read_in(format, Options::default(), file, cuts), whole, "{format:?} by {size}");
        }
    }
}

/// Editors put one before a text; it is no part of the first name, and places count it.
#[test]
fn a_byte_order_mark_is_passed_over_however_the_file_is_cut() {
    for (format, plain) in [(Format::Lines, EXPORT), (Format::Flux, FLUX)] {
        let file = [b"\xef\xbb\xbf", plain].concat();
        let mut expected = read(format, plain);
        for item in &mut expected {
            item.at.byte += 3;
            item.end += 3;
            if let Found::Fault(fault) = &mut item.found {
                fault.at.byte += 3;
            }
        }
        for cut in 0..6 {
            assert_eq!(read_in(format, Options::default(), &file, [cut].into_iter()), expected, "{format:?} at {cut}");
        }
    }
    for (file, marked) in [(&b"\xef\xbb\xbf"[..], true), (b"\xef\xbb", false), (b"", false)] {
        let mut reader = Reader::new(Format::Lines, Options::default());
        reader.feed(file);
        reader.end();
        let items = reader.by_ref().count();
        assert_eq!((reader.is_marked(), items), (marked, usize::from(file.len() == 2)), "{}", file.escape_ascii());
    }
}

#[test]
fn a_file_goes_on_where_it_was_left() {
    for (format, file) in [(Format::Lines, EXPORT), (Format::Flux, FLUX)] {
        let whole = read(format, file);
        for done in &whole {
            let options = Options { from: done.end, ..Options::default() };
            let rest: Vec<_> = read_in(format, options, file, std::iter::empty())
                .into_iter()
                .filter(|item| item.end > done.end)
                .collect();
            let behind: Vec<_> = whole.iter().filter(|item| item.end > done.end).cloned().collect();
            assert_eq!(rest, behind);
        }
    }
}

#[test]
fn data_among_the_statements_is_told() {
    let file = b"# DDL\nCREATE DATABASE d\n# c\n\nm v=1 1\n# CONTEXT-DATABASE:d\nm v=2 2\n";
    assert_eq!(all_shown(Format::Lines, file), ["5:29 no-statement", "d|: m v=2.0 2"]);
}

#[test]
fn behind_a_quote_that_is_never_closed_it_goes_on_in_the_next_line() {
    let file = b"m s=\"a 1\nm v=1 2\nm v=2 3\n";
    assert_eq!(all_shown(Format::Lines, file), ["1:0 open-quote", "m v=1.0 2", "m v=2.0 3"]);
}

#[test]
fn of_a_line_that_is_too_long_nothing_is_taken_for_a_line() {
    let mut file = vec![b'x'; LONGEST];
    file.extend_from_slice(b"tail v=1 1\nm v=1 2\n");
    let cuts = || (0..file.len()).step_by(3 << 20);
    let items = read_in(Format::Lines, Options::default(), &file, cuts());
    assert_eq!(items.iter().map(shown).collect::<Vec<_>>(), ["1:0 too-long", "m v=1.0 2"]);
    assert_eq!(items[1].at.line, 2);
}

#[test]
fn times_have_their_unit_and_untimed_lines_the_one_they_are_given() {
    let options = Options { precision: Precision::Second, untimed_ns: Some(9), from: 0 };
    let items = read_in(Format::Lines, options, b"m v=1 2\r\nm v=1 2\nm v=2\n", std::iter::empty());
    let all: Vec<_> = items.iter().map(shown).collect();
    assert_eq!(all[1..], ["m v=1.0 2000000000", "m v=2.0 9"]);
    assert!(all[0].starts_with("1:"), "{all:?}");
}

#[test]
fn no_bytes_panic() {
    let alphabet = b"m,= \\\"\n\r#1i-_te,\0";
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..3_000 {
        let file: Vec<u8> = (0..random.usize(..80)).map(|_| alphabet[random.usize(..alphabet.len())]).collect();
        for format in [Format::Lines, Format::Flux] {
            let whole = read(format, &file);
            let cuts: Vec<usize> = (0..file.len()).step_by(1 + random.usize(..7)).collect();
            assert_eq!(read_in(format, Options::default(), &file, cuts.into_iter()), whole, "{}", file.escape_ascii());
        }
    }
}
