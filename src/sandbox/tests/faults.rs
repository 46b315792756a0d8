//! Faults, as a writer sees them.

use super::super::{Faults, WriteAction, WriteFault};
use super::*;

fn on_writes(action: WriteAction, next: Option<u64>) -> Faults {
    Faults { writes: Some(WriteFault { action, next }), ..Faults::default() }
}

#[test]
fn a_scripted_answer_comes_as_often_as_asked() {
    let sandbox = sandbox();
    let text =
        r#"{"writes":{"action":{"answer":{"status":503,"body":"busy","headers":[["Retry-After","7"]]}},"next":2}}"#;
    assert_eq!(send(sandbox.addr(), "POST /sandbox/faults", "", text.as_bytes()).unwrap().status, 200);
    for _ in 0..2 {
        let answer = write(&sandbox, "db=d", b"m v=1 1").unwrap();
        assert_eq!((answer.status, answer.text()), (503, "busy"));
        assert!(answer.head.to_ascii_lowercase().contains("retry-after: 7"), "{}", answer.head);
    }
    assert_eq!(sandbox.cells("d", "").len(), 0, "not applied");
    assert_eq!(write(&sandbox, "db=d", b"m v=1 1").unwrap().status, 204);
    assert_eq!(sandbox.stats().writes_faulted, 2);
    let stats = send(sandbox.addr(), "GET /sandbox/stats", "", b"").unwrap();
    let stats: serde_json::Value = serde_json::from_slice(&stats.body).unwrap();
    assert_eq!((&stats["writes"], &stats["lines_received"]), (&3.into(), &1.into()));
    assert_eq!(send(sandbox.addr(), "POST /sandbox/faults", "", b"{\"nonsense\":1}").unwrap().status, 400);
}

#[test]
fn a_dropped_write_has_no_answer_and_is_applied_or_not() {
    let sandbox = sandbox();
    sandbox.set_faults(on_writes(WriteAction::Drop { applied: false }, Some(1)));
    assert!(write(&sandbox, "db=d", b"m v=1 1").is_none());
    assert_eq!(sandbox.cells("d", "").len(), 0);
    sandbox.set_faults(on_writes(WriteAction::Drop { applied: true }, Some(1)));
    assert!(write(&sandbox, "db=d", b"m v=1 1").is_none());
    assert_eq!(sandbox.cells("d", "").len(), 1);
    assert_eq!(write(&sandbox, "db=d", b"m v=1 2").unwrap().status, 204);
}

#[test]
fn a_hanging_write_ends_without_an_answer_when_the_fault_is_cleared() {
    let sandbox = sandbox();
    sandbox.set_faults(on_writes(WriteAction::Hang { applied: true }, None));
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| write(&sandbox, "db=d", b"m v=1 1"));
        while sandbox.cells("d", "").is_empty() {
            std::thread::yield_now();
        }
        assert!(!hanging.is_finished());
        assert_eq!(send(sandbox.addr(), "GET /ping", "", b"").unwrap().status, 204, "others are served");
        send(sandbox.addr(), "DELETE /sandbox/faults", "", b"").unwrap();
        assert!(hanging.join().unwrap().is_none());
    });
    assert_eq!(sandbox.faults(), Faults::default());
}

#[test]
fn a_refusing_sandbox_cuts_connections_and_comes_back_with_its_data() {
    let sandbox = sandbox();
    write(&sandbox, "db=d", b"m v=1 1").unwrap();
    let mut idle = TcpStream::connect(sandbox.addr()).unwrap();
    idle.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 204");
    sandbox.set_faults(Faults { refuse: true, ..Faults::default() });
    let mut rest = Vec::new();
    // Closed or reset: either way it ends.
    let _ = idle.read_to_end(&mut rest);
    while TcpStream::connect(sandbox.addr()).is_ok() {
        std::thread::yield_now();
    }
    sandbox.set_faults(Faults::default());
    while TcpStream::connect(sandbox.addr()).is_err() {
        std::thread::yield_now();
    }
    assert_eq!(write(&sandbox, "db=d", b"m v=1 2").unwrap().status, 204);
    assert_eq!(sandbox.cells("d", "").len(), 2);
}

#[test]
fn a_refusal_for_a_while_ends_by_itself() {
    let sandbox = sandbox();
    let faults = br#"{"refuse":true,"refuse_ms":1}"#;
    // The listener may close before the answer is out.
    let _ = send(sandbox.addr(), "POST /sandbox/faults", "", faults);
    while sandbox.faults().refuse {
        std::thread::yield_now();
    }
    while TcpStream::connect(sandbox.addr()).is_err() {
        std::thread::yield_now();
    }
    assert_eq!(write(&sandbox, "db=d", b"m v=1 1").unwrap().status, 204);
}

#[test]
fn sandboxes_do_not_share_anything() {
    let (one, two) = (sandbox(), sandbox());
    one.set_faults(on_writes(WriteAction::Drop { applied: false }, None));
    assert!(write(&one, "db=d", b"m v=1 1").is_none());
    assert_eq!(write(&two, "db=d", b"m v=1 1").unwrap().status, 204);
    assert_eq!((one.cells("d", "").len(), two.cells("d", "").len()), (0, 1));
    let addr = one.addr();
    one.stop();
    assert!(TcpStream::connect(addr).is_err(), "stopped is stopped");
}

#[tokio::test]
async fn it_runs_inside_a_runtime_too() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let addr = sandbox.addr();
    let ping = tokio::task::spawn_blocking(move || send(addr, "GET /ping", "", b"")).await.unwrap();
    assert_eq!(ping.unwrap().status, 204);
    let taken = Sandbox::start(Options { port: addr.port(), ..Options::default() }).await;
    assert_eq!(taken.unwrap_err().kind(), crate::base::Kind::Connect);
}
