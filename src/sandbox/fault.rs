//! Faults that a test, or somebody at a demonstration, switches on while the sandbox runs.

use serde::{Deserialize, Serialize};

/// What is wrong at the moment. The default is: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Every write and query waits this long before it is looked at, milliseconds.
    pub latency_ms: u64,
    /// The listener is closed and every connection reset. Over HTTP this can be switched on, but only
    /// [`Faults::refuse_ms`] or the library can switch it off.
    pub refuse: bool,
    /// With `refuse`: open again after so long, milliseconds; 0: stay closed.
    pub refuse_ms: u64,
    /// What happens to writes.
    pub writes: Option<WriteFault>,
}

/// A fault of writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteFault {
    /// What happens.
    pub action: WriteAction,
    /// For the next so many writes; absent: until it is cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What happens to a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WriteAction {
    /// It is answered so, and not applied unless that is said.
    Answer {
        /// HTTP status.
        status: u16,
        /// The body as it is sent.
        #[serde(default)]
        body: String,
        /// Further headers, by name.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// Whether it is applied first.
        #[serde(default)]
        applied: bool,
    },
    /// It is received, perhaps applied, and then the connection is closed without an answer.
    Drop {
        /// Whether it is applied first.
        applied: bool,
    },
    /// It is received, perhaps applied, and never answered: the connection stays open until the faults change.
    Hang {
        /// Whether it is applied first.
        applied: bool,
    },
}

impl Faults {
    /// The fault of one write; counts down.
    pub(super) fn take_write(&mut self) -> Option<WriteAction> {
        let fault = self.writes.as_mut()?;
        let action = fault.action.clone();
        if let Some(next) = &mut fault.next {
            if *next == 0 {
                self.writes = None;
                return None;
            }
            *next -= 1;
            if *next == 0 {
                self.writes = None;
            }
        }
        Some(action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_fault_ends() {
        let action = WriteAction::Drop { applied: true };
        let mut faults =
            Faults { writes: Some(WriteFault { action: action.clone(), next: Some(2) }), ..Faults::default() };
        assert_eq!(
            [faults.take_write(), faults.take_write(), faults.take_write()],
            [Some(action.clone()), Some(action), None]
        );
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn faults_are_written_as_json() {
        let text = r#"{"latency_ms":5,"writes":{"action":{"answer":{"status":503,"body":"busy"}},"next":3}}"#;
        let faults: Faults = serde_json::from_str(text).unwrap();
        let action = WriteAction::Answer { status: 503, body: "busy".to_owned(), headers: Vec::new(), applied: false };
        assert_eq!(faults.writes, Some(WriteFault { action, next: Some(3) }));
        assert!(serde_json::from_str::<Faults>(r#"{"latency":5}"#).is_err());
    }
}
