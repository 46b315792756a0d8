//! `twinline lint` as a new user and a script see it.

use std::io::Write;
use std::process::Stdio;

use super::{Command, stderr, stdout, twinline};

/// A line written by hand, with what people get wrong first: commas and spaces.
#[test]
fn mistakes_with_commas_and_spaces_are_pointed_at() {
    let dir = tempfile::tempdir().unwrap();
    let text = "# by hand\n\
                weather,location=us-midwest temperature=82 1700000000000000000\n\
                weather location=us-midwest temperature=82 1700000000000000000\n\
                weather,location=us-midwest,temperature=82\n\
                weather, location=us-midwest temperature=82\n\
                weather,location=us midwest temperature=82\n\
                weather,location=us-midwest temperature=82, humidity=71\n\
                weather,location=us-midwest temperature=82 humidity=71\n\
                \n";
    std::fs::write(dir.path().join("sensors.lp"), text).unwrap();
    let said = twinline(dir.path(), &["lint", "sensors.lp"]);
    assert_eq!(said.status.code(), Some(3), "{}", stderr(&said));
    let text = stdout(&said);
    for part in [
        "sensors.lp:3:18: invalid boolean\n    \
             3 | weather location=us-midwest temperature=82 1700000000000000000\n      \
               |                  ^\n    \
             mend: a tag follows the measurement with a comma",
        "sensors.lp:4:43: missing fields\n    \
             4 | weather,location=us-midwest,temperature=82\n      \
               |                                           ^\n    \
             mend: a space and at least one field must follow",
        "sensors.lp:5:9: missing tag key\n    \
             5 | weather, location=us-midwest temperature=82\n      \
               |         ^\n    \
             mend: no space after the comma",
        "sensors.lp:6:28: invalid field format\n",
        "a space inside a name or a tag needs a backslash",
        "sensors.lp:7:44: invalid field format\n",
        "mend: after the comma another field must follow, without a space",
        "sensors.lp:8:44: bad timestamp\n",
        "mend: fields are separated by commas, without spaces",
        "sensors.lp: 9 lines for InfluxDB 1.x: 1 accepted, 6 refused, 2 skipped\n\
         InfluxDB 1.x answers 400 and stores the other lines of the request\n",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    assert_eq!(stderr(&said), "Next: mend the lines above, then twinline lint --dialect influx1 sensors.lp\n");
}

/// A file from Windows: one fault in each line, of which the first twenty are shown, and a text that is stored otherwise than meant.
#[test]
fn windows_line_ends_are_named_for_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let text = "\u{feff}m,t=a s=\"on\"\r\n".to_owned() + &"m,t=a v=1 1700000000000000000\r\n".repeat(30);
    std::fs::write(dir.path().join("w.lp"), text).unwrap();
    let said = twinline(dir.path(), &["lint", "w.lp", "-q"]);
    let text = stdout(&said);
    assert_eq!((said.status.code(), stderr(&said)), (Some(3), String::new()), "{text}");
    for part in [
        "w.lp:1:1: warning: the file begins with a byte order mark, which becomes part of the measurement's name\n    \
             1 | <U+FEFF>m,t=a s=\"on\"␍\n      \
               | ^\n",
        "w.lp:1:14: warning: the carriage return belongs to the text",
        "w.lp:2:30: bad timestamp\n    \
             2 | m,t=a v=1 1700000000000000000␍\n      \
               |                              ^\n    \
             mend: the line ends in CR LF, as Windows writes it: end lines with LF alone, for instance by tr -d '\\r' < FILE\n",
        "w.lp: 10 more of bad-timestamp (--all shows them)\n\
         w.lp: 31 lines for InfluxDB 1.x: 1 accepted, 30 refused, 0 skipped; 2 warnings\n",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    let all = stdout(&twinline(dir.path(), &["lint", "w.lp", "--all"]));
    assert!(all.contains("w.lp:31:30: bad timestamp") && !all.contains("more of"), "{all}");
}

/// What is typed again has the options of before, else the verdict would be another one.
#[test]
fn the_next_step_keeps_the_options_and_quotes_the_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("it's mine.lp"), "m v=x 1\n").unwrap();
    let next = |more: &[&str]| stderr(&twinline(dir.path(), &[&["lint", "it's mine.lp"], more].concat()));
    assert_eq!(
        next(&["--dialect", "influx2", "--precision", "s", "--destination-dialect", "questdb"]),
        "Next: mend the lines above, then \
         twinline lint --dialect influx2 --destination-dialect questdb --precision s 'it'\\''s mine.lp'\n"
    );
    std::fs::write(dir.path().join("it's mine.lp"), "m v=1 1\n").unwrap();
    assert_eq!(
        next(&["--precision", "ms"]),
        "Next: twinline lint --dialect influx1 --destination-dialect influx2 --precision ms 'it'\\''s mine.lp'\n"
    );
}

/// Whatever is wrong with the lines of such a file, the file is to be mended first.
#[test]
fn a_file_that_is_no_plain_text_is_named_for_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for (bytes, said) in [
        (&b"\xef\xbb\xbf# note\nm v=1\n"[..], "begins with a byte order mark"),
        (b"\xef\xbb\xbfm v=x\n", "begins with a byte order mark"),
        (b"\xff\xfem\0 \0v\0=\x001\0\n\0", "is UTF-16"),
        (b"\x1f\x8b\x08\0\0\n= ,", "is compressed by gzip"),
    ] {
        std::fs::write(dir.path().join("x.lp"), bytes).unwrap();
        for dialect in ["influx1", "influx3", "victoriametrics", "questdb"] {
            let text = stdout(&twinline(dir.path(), &["lint", "x.lp", "--dialect", dialect]));
            assert!(text.starts_with("x.lp:1:1: warning: the file ") && text.contains(said), "{dialect}: {text}");
            assert_eq!(text.matches("warning: the file").count(), 1, "{text}");
        }
    }
}

/// Values that other formats have, and a unit that is not the one of the request.
#[test]
fn wrong_quotes_numbers_and_units_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let text = "cpu,host=a usage=10u 1700000000\n\
                cpu,host=b state='idle' 1700000000\n\
                cpu,host=c state=“idle” 1700000000\n\
                cpu,host=d usage=1.5 1700000000\n\
                cpu,host=e note=\"a 5\" disk\" 1700000000\n\
                cpu,host=f usage=1.5 1700000000\n";
    std::fs::write(dir.path().join("v.lp"), text).unwrap();
    let said = twinline(dir.path(), &["lint", "v.lp"]);
    let text = stdout(&said);
    for part in [
        "v.lp:1:20: invalid number\n",
        "mend: InfluxDB 1.x has no unsigned integers: write an integer, with i instead of u\n",
        "v.lp:2:18: invalid boolean\n",
        "mend: a text stands in double quotes: name=\"text\"\n",
        "v.lp:3:18: invalid boolean\n",
        "mend: a text stands in straight double quotes",
        "v.lp:4:22: warning: 1700000000 is 1970-01-01T00:00:01.7Z in nanoseconds, and would be 2023-11-14T22:13:20Z in seconds\n",
        "mend: --precision s, and precision=s where it is sent\n",
        "v.lp:5:23: bad timestamp; the line begins in line 5 and goes on to 6\n",
        "mend: a quote inside a text needs a backslash before it",
        "v.lp: 5 lines for InfluxDB 1.x: 1 accepted, 4 refused, 0 skipped; 1 warning\n",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    let newer = twinline(dir.path(), &["lint", "v.lp", "--dialect", "influx2", "--precision", "s"]);
    let text = stdout(&newer);
    assert!(text.contains("v.lp: 5 lines for InfluxDB 2.x: 2 accepted, 3 refused, 0 skipped\n"), "{text}");
    assert!(text.contains("InfluxDB 2.x answers 400 and stores nothing of the request"), "{text}");
    let other = twinline(dir.path(), &["lint", "v.lp", "--destination-dialect", "influx2", "--precision", "s"]);
    let text = stdout(&other);
    assert!(text.contains("v.lp:1:1: influx2 differs: accepted there\n"), "{text}");
    assert!(text.contains("; 1 read otherwise by InfluxDB 2.x\n"), "{text}");
}

#[test]
fn objects_go_to_stdout_and_figures_to_stderr() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.lp"), "m v=1i 7\n").unwrap();
    let said = twinline(dir.path(), &["lint", "-o", "jsonl", "--stats", "x.lp"]);
    assert_eq!(said.status.code(), Some(0));
    assert_eq!(
        stdout(&said),
        "{\"line\":1,\"offset\":0,\"verdict\":\"ok\",\"measurement\":\"m\",\"tags\":[],\
         \"fields\":[[\"v\",{\"type\":\"integer\",\"value\":1}]],\"timestamp\":7,\"error\":null,\"differs\":[]}\n"
    );
    let text = stderr(&said);
    assert!(text.starts_with("1 lines, 9 bytes, ") && text.trim_end().ends_with(" GB/s"), "{text}");
    let said = twinline(dir.path(), &["lint", "--stats", "x.lp", "-q"]);
    assert!(stdout(&said).ends_with(" GB/s\n") && stderr(&said).is_empty(), "{}", stdout(&said));
}

#[test]
fn wrong_usage_and_files_that_cannot_be_read_have_their_codes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.lp"), "m v=1\n").unwrap();
    let code = |arguments: &[&str]| {
        let said = twinline(dir.path(), arguments);
        (said.status.code(), stderr(&said))
    };
    for arguments in [
        &["lint"][..],
        &["lint", "x.lp", "--dialect", "mysql"],
        &["lint", "x.lp", "-o", "json"],
        &["lint", "x.lp", "--dialect", "influx2", "--precision", "m"],
        &["version", "-o", "jsonl"],
    ] {
        assert_eq!(code(arguments).0, Some(2), "{arguments:?}");
    }
    let (missing, text) = code(&["lint", "none.lp"]);
    assert_eq!(missing, Some(1));
    assert!(text.starts_with("twinline: cannot read none.lp: ") && text.contains("Next: "), "{text}");
    assert_eq!(code(&["lint", "."]).0, Some(1), "a directory");
    assert_eq!(code(&["lint", "x.lp", "--precision", "m"]).0, Some(0));
}

#[test]
fn stdin_is_read_and_a_reader_that_goes_away_ends_it() {
    let program = env!("CARGO_BIN_EXE_twinline");
    let start = |arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env_remove("TWINLINE_OUTPUT").stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut child = start(&["lint", "-"]);
    child.stdin.take().unwrap().write_all(b"m v=x\n").unwrap();
    let said = child.wait_with_output().unwrap();
    assert_eq!(said.status.code(), Some(3));
    assert!(stdout(&said).starts_with("<stdin>:1:5: invalid boolean\n"), "{}", stdout(&said));

    let mut child = start(&["lint", "-o", "jsonl", "-"]);
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    // Far more than any buffer; it may break off.
    for _ in 0..64 {
        if input.write_all(&b"m v=1\n".repeat(10_000)).is_err() {
            break;
        }
    }
    drop(input);
    let said = child.wait_with_output().unwrap();
    assert_eq!((said.status.code(), stderr(&said)), (Some(0), String::new()));
}
