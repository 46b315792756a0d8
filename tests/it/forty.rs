//! The table of the forty checks at the head of these tests is true.

use std::path::Path;

#[test]
fn each_check_is_where_the_table_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let rows = include_str!("../it.rs").lines().filter_map(|line| line.strip_prefix("//! | ")).skip(2);
    let mut expected = 1..=40;
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [number, places, missing, ..] = cells[..] else { panic!("{row}") };
        let number: u32 = number.parse().unwrap_or_else(|e| panic!("{row}: {e}"));
        assert_eq!(Some(number), expected.next(), "{row}");
        assert!(!places.is_empty() || !missing.is_empty(), "{row}");
        for place in places.split('`').skip(1).step_by(2) {
            let text = std::fs::read_to_string(folder.join(place)).unwrap_or_else(|e| panic!("{place}: {e}"));
            let name = format!("check_{number:02}_");
            assert!(text.contains(&name), "{name} is not in {place}");
        }
    }
    assert_eq!(expected.next(), None);
}
