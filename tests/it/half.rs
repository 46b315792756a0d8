//! A source that takes a part of a large body only: whatever it says of that part, the client hears that the write failed, the
//! source cannot take the part for the whole, and nothing is delivered.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::spawn;
use std::time::Duration;

use twinline::sandbox::{Options, Sandbox};

use crate::proxy::Setup;

const SUCCESS: &[u8] = b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.8.10\r\n\r\n";
/// How a body in chunks ends.
const END: &[u8] = b"\r\n0\r\n\r\n";
/// So much of a write is read before the source shows its fault.
const TAKEN_BYTES: usize = 1 << 20;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
enum Fault {
    /// It says that all is well, and reads on.
    Early,
    /// It reads nothing more until the client has heard its answer, then what there is, and says that all is well should the
    /// body end.
    Deaf(Arc<Mutex<mpsc::Receiver<()>>>),
}

/// Passes everything on to a source but writes: those meet the fault. Sends what came of each.
fn gate(source: String, fault: Fault) -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let (writes, received) = mpsc::channel();
    spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (source, fault, writes) = (source.clone(), fault.clone(), writes.clone());
            spawn(move || through(client, &source, &fault, &writes));
        }
    });
    (addr, received)
}

fn through(mut client: TcpStream, source: &str, fault: &Fault, writes: &mpsc::Sender<Vec<u8>>) {
    let mut far = TcpStream::connect(source).unwrap();
    let (mut back, mut answers) = (far.try_clone().unwrap(), client.try_clone().unwrap());
    spawn(move || {
        let _ = std::io::copy(&mut back, &mut answers);
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        if buffer.starts_with(b"POST /write") {
            let _ = writes.send(swallow(&mut client, buffer[..read].to_vec(), fault));
            break;
        }
        if far.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = far.shutdown(Shutdown::Both);
}

/// Reads a write to its end; all that came of it.
fn swallow(client: &mut TcpStream, mut came: Vec<u8>, fault: &Fault) -> Vec<u8> {
    let mut buffer = vec![0; 64 << 10];
    let mut shown = false;
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        came.extend_from_slice(&buffer[..read]);
        if came.len() > TAKEN_BYTES && !std::mem::replace(&mut shown, true) {
            match fault {
                Fault::Early => client.write_all(SUCCESS).unwrap(),
                Fault::Deaf(until) => until.lock().unwrap().recv_timeout(PATIENCE).unwrap(),
            }
        }
        if came.ends_with(END) {
            let _ = client.write_all(SUCCESS);
            break;
        }
    }
    came
}

/// 32 MB of lines without a time: they go to the source in chunks.
fn untimed() -> String {
    (0..32_000).map(|at| format!("m,t={at} s=\"{}\"\n", "x".repeat(980))).collect()
}

/// Writes through a source with this fault; `answered` hears of the answer.
fn half(fault: Fault, answered: Option<mpsc::Sender<()>>) {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    source.create_database("d");
    destination.create_database("d");
    let (addr, writes) = gate(source.addr().to_string(), fault);
    let section = |url: &str, more: &str| format!("url = \"{url}\"\nkind = \"influxdb1\"\n{more}");
    let source = section(&format!("http://{addr}"), "request_timeout = \"3s\"");
    let twinline = Setup::new(source, section(&destination.url(), "")).start();
    let answer = twinline.call("POST /write?db=d", &[], untimed());
    assert_eq!(answer.status, 503, "{}", answer.text());
    if let Some(answered) = answered {
        answered.send(()).unwrap();
    }
    let came = writes.recv_timeout(PATIENCE).unwrap();
    assert!(!came.ends_with(END), "the source got {} bytes for a whole", came.len());
    let status = twinline.until("it is settled", |status| {
        status["lines"]["unanswered"] == 0 && status["lines"]["doubt"].as_u64() > Some(0)
    });
    eprintln!("the source got {} bytes, {}", came.len(), answer.text());
    assert_eq!(status["lines"]["delivered"], 0, "{status:#}");
    assert_eq!(destination.cells("d", "").len(), 0);
}

#[test]
fn a_success_before_the_end_of_a_large_body_is_a_503_and_doubt() {
    half(Fault::Early, None);
}

#[test]
fn a_source_that_stops_reading_a_large_body_is_a_503_and_doubt_and_gets_no_end() {
    let (answered, until) = mpsc::channel();
    half(Fault::Deaf(Arc::new(Mutex::new(until))), Some(answered));
}
