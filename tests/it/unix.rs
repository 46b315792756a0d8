//! Clients that come through a socket in the file system.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::process::Signal;
use twinline::sandbox::{Options, Sandbox};

use crate::proxy::{PATIENCE, Place, Setup};

/// The whole answer to one request, after which the connection ends.
fn call(socket: &Path, line: &str, body: &str) -> String {
    let mut client = UnixStream::connect(socket).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(client, "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

/// With a second listener of clients at this path.
fn placed(socket: &Path, more: &str) -> (Sandbox, Sandbox, Place) {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    source.create_database("d");
    destination.create_database("d");
    let setup = Setup::new(format!("url = \"{}\"", source.url()), format!("url = \"{}\"", destination.url()));
    let listen = format!("[[listen]]\naddress = \"unix:{}\"\n{more}\n", socket.display());
    (source, destination, setup.more(&listen).place())
}

#[test]
fn a_socket_in_the_file_system_serves_clients_with_the_rights_that_are_configured() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("clients.sock");
    let (_source, _destination, place) = placed(&socket, "mode = \"0622\"");
    let mut twinline = place.start();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o622);
    assert!(call(&socket, "POST /write?db=d", "m v=1 1\nm v=2 2").starts_with("HTTP/1.1 204 "));
    assert!(call(&socket, "GET /query?db=d&q=SELECT+v+FROM+m", "").contains("\"values\""));
    twinline.delivered(2);
    let shown = twinline.status()["facts"]["proxy"].to_string();
    assert!(shown.contains(&format!("unix:{}", socket.display())), "{shown}");

    // What a killed process left behind is no obstacle.
    twinline.stop(Signal::KILL);
    assert!(socket.exists());
    twinline.start_again();
    assert!(call(&socket, "POST /write?db=d", "m v=3 3").starts_with("HTTP/1.1 204 "));
    twinline.delivered(3);
}

#[test]
fn a_socket_at_which_somebody_answers_is_left_to_him() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("clients.sock");
    let _other = UnixListener::bind(&socket).unwrap();
    let (_source, _destination, place) = placed(&socket, "");
    let (code, said) = place.start_that_fails();
    assert!(code != Some(0) && said.contains("another process listens on the socket"), "{code:?}: {said}");
    assert!(said.contains("listen.address"), "{said}");
    UnixStream::connect(&socket).unwrap();
}
