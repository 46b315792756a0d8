//! Sockets that were opened before the program: whoever connects while it is away waits, and is served by the next one.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use twinline::sandbox::{Options, Sandbox};

use crate::database::{Kind, shared};
use crate::http::Connection;
use crate::load::number;

/// Ends its process with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program as systemd does: the socket is descriptor 3.
fn start(configuration: &std::path::Path, listener: &TcpListener) -> Ended {
    let script = "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" -c \"$1\" run";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_twinline")]).arg(configuration);
    let socket = std::os::fd::OwnedFd::from(listener.try_clone().unwrap());
    Ended(command.stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Writes its configuration; the clients' listener has this address.
fn configured(folder: &std::path::Path, address: &str) -> (Sandbox, std::path::PathBuf) {
    let source = Sandbox::spawn_thread(Options::default()).unwrap();
    source.create_database("d");
    let file = folder.join("twinline.toml");
    let text = format!(
        "data_dir = {:?}\n[[listen]]\naddress = \"{address}\"\n[source]\nurl = \"{}\"\n\
         [destination]\nurl = \"http://127.0.0.1:9\"\nkind = \"influxdb1\"\n[queue]\nmax_size = \"2GiB\"\n",
        folder.join("data"),
        source.url()
    );
    std::fs::write(&file, text).unwrap();
    (source, file)
}

#[test]
fn connections_wait_in_a_passed_socket_while_the_program_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (source, file) = configured(folder.path(), &address);
    for round in 0..3 {
        // Nobody is there yet, or any more.
        let mut client = Connection::open(&address).unwrap();
        let mut running = start(&file, &listener);
        let answer = client.call("POST /write?db=d", &[], format!("m v=1 {round}").as_bytes()).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
        kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
        running.0.wait().unwrap();
    }
    assert_eq!(source.cells("d", "autogen").len(), 3);
}

#[test]
fn a_passed_socket_that_no_listener_has_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_source, file) = configured(folder.path(), "127.0.0.1:0");
    let mut running = start(&file, &listener);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut running.0.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("on which no [[listen]] is"), "{said}");
}

/// Check 14: a client keeps one connection for all that it has to say.
#[test]
fn check_14_ten_thousand_requests_go_over_one_connection() {
    let (source, destination) = (Sandbox::spawn_thread(Options::default()), Sandbox::spawn_thread(Options::default()));
    let (source, destination) = (source.unwrap(), destination.unwrap());
    source.create_database("d");
    destination.create_database("d");
    let setup =
        crate::proxy::Setup::new(format!("url = \"{}\"", source.url()), format!("url = \"{}\"", destination.url()));
    let twinline = setup.start();
    let mut client = twinline.connect();
    // In bundles of fifty, as a client does that pipelines; each answer is read in its turn.
    for bundle in 0..200 {
        let of = |at: u32| match at % 5 {
            1.. => format!("GET /ping?{bundle} HTTP/1.1\r\nHost: x\r\n\r\n"),
            0 => {
                let line = format!("m v=1 {}", bundle * 50 + at);
                format!("POST /write?db=d HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{line}", line.len())
            }
        };
        let requests: String = (0..50).map(of).collect();
        client.send(requests.as_bytes()).unwrap();
        for _ in 0..50 {
            let answer = client.answer(false).unwrap();
            assert_eq!((answer.status, answer.header("connection")), (204, None));
        }
    }
    twinline.delivered(2_000);
}

/// Check 14: it says nothing for longer than the source itself keeps a connection to us, and goes on as if nothing had been.
#[test]
fn check_14_a_connection_that_idles_goes_on_without_an_error() {
    // Four minutes of the facts; seconds in CI.
    let idle = std::time::Duration::from_secs(number("TWINLINE_IDLE_S", 3));
    let destination = shared(Kind::One, 1);
    let rigs = [Kind::One, Kind::Two].map(|kind| {
        let (source, name) = (shared(kind, 0), format!("idle_{kind:?}").to_lowercase());
        source.create(&name);
        destination.create(&name);
        let twinline = crate::proxy::Setup::new(source.section(), destination.section()).start();
        (source, name, twinline)
    });
    let mut clients = rigs.each_ref().map(|(_, _, twinline)| twinline.connect());
    let mut write = |value: i64| {
        for (client, (source, name, _)) in clients.iter_mut().zip(&rigs) {
            let body = format!("m v={value} {value}");
            let answer = client.call(&format!("POST /write?db={name}"), &[&source.authorization()], body.as_bytes());
            let answer = answer.unwrap_or_else(|error| panic!("{name}: after {idle:?}: {error}"));
            assert_eq!((answer.status, answer.header("connection")), (204, None), "{name}: {}", answer.text());
        }
    };
    write(1);
    std::thread::sleep(idle);
    write(2);
    for (_, name, twinline) in &rigs {
        twinline.delivered(2);
        assert_eq!(destination.cells(name).len(), 2, "{name}");
    }
}
