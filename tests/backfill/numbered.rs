//! The table of the numbered tests at the head of these tests is true.

use std::path::Path;

#[test]
fn each_numbered_test_is_where_the_table_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let rows = include_str!("../backfill.rs").lines().filter_map(|line| line.strip_prefix("//! | ")).skip(2);
    let mut expected = 1..=17;
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [number, places, missing, ..] = cells[..] else { panic!("{row}") };
        let number: u32 = number.parse().unwrap_or_else(|e| panic!("{row}: {e}"));
        assert_eq!(Some(number), expected.next(), "{row}");
        assert!(!places.is_empty() || !missing.is_empty(), "{row}");
        for place in places.split(';').filter(|place| !place.is_empty()) {
            let (file, names) = place.trim().split_once(':').unwrap_or_else(|| panic!("{row}"));
            let file = file.trim_matches('`');
            let text = std::fs::read_to_string(folder.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
            assert!(names.contains(|c: char| !c.is_whitespace()), "a test is named: {row}");
            for name in names.split(',').map(str::trim) {
                let is_test =
                    |at: usize| text[..at].trim_end().lines().next_back().is_some_and(|line| line.contains("test]"));
                let found = ["fn ", "async fn "]
                    .iter()
                    .any(|kind| text.match_indices(&format!("{kind}{name}")).any(|(at, _)| is_test(at)));
                assert!(found, "no test {name}… is in {file}");
            }
        }
    }
    assert_eq!(expected.next(), None);
}
