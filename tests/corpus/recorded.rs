//! The recorded inputs of the line-protocol corpus, and what each parser made of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

/// The rows of a file of `tests/corpus`.
pub(crate) fn cases(file: &str) -> Vec<Json> {
    let path = format!("{}/tests/corpus/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A text of the record, which need not be UTF-8.
pub(crate) fn bytes(json: &Json) -> Vec<u8> {
    match json {
        Json::String(text) => text.clone().into_bytes(),
        other => STANDARD.decode(other["b64"].as_str().unwrap()).unwrap(),
    }
}

/// The text that a case is about.
pub(crate) fn input(case: &Json) -> Vec<u8> {
    let Some(runs) = case["input_rle_latin1"].as_array() else { return bytes(&case["input"]) };
    let repeat = |run: &Json| {
        let unit: Vec<u8> = run[0].as_str().unwrap().chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        unit.repeat(usize::try_from(run[1].as_u64().unwrap()).unwrap())
    };
    runs.iter().flat_map(repeat).collect()
}

/// What this parser made of a case, if it was recorded.
pub(crate) fn result_of<'c>(case: &'c Json, parser: &str) -> Option<&'c Json> {
    let by = |result: &&Json| result["by"].as_array().unwrap().iter().any(|by| by == parser);
    case["results"].as_array().unwrap().iter().find(by)
}
