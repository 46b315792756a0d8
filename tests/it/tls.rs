//! TLS toward clients and toward databases, with certificates of authorities that the tests make up.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use twinline::db::tls::provider;
use twinline::sandbox::{Options, Sandbox};

use crate::proxy::{PATIENCE, Setup, Twinline, eventually};

/// An authority, whose certificate is a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

/// A certificate and its key, as files.
#[derive(Clone)]
struct Papers {
    cert: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    fn papers(&self, folder: &Path, name: &str, expired: bool) -> Papers {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let papers = Papers { cert: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) };
        std::fs::write(&papers.cert, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(&papers.key, key.serialize_pem()).unwrap();
        papers
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.file).unwrap()).unwrap();
        Arc::new(roots)
    }
}

impl Papers {
    fn read(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificates = CertificateDer::pem_file_iter(&self.cert).unwrap().map(Result::unwrap).collect();
        (certificates, PrivateKeyDer::from_pem_file(&self.key).unwrap())
    }
}

type Secured = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// A client that trusts one authority and shows papers, or none.
fn connect(twinline: &Twinline, trusted: &Authority, papers: Option<&Papers>) -> Secured {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted.roots());
    let settings = match papers.map(Papers::read) {
        None => builder.with_no_client_auth(),
        Some((certificates, key)) => builder.with_client_auth_cert(certificates, key).unwrap(),
    };
    let stream = TcpStream::connect(&twinline.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    BufReader::new(StreamOwned::new(ClientConnection::new(Arc::new(settings), name).unwrap(), stream))
}

/// The status of one write.
fn write(client: &mut Secured, line: &str) -> std::io::Result<u16> {
    let length = line.len();
    write!(client.get_mut(), "POST /write?db=d HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{line}")?;
    client.get_mut().flush()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if client.read_until(b'\n', &mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().parse().unwrap())
}

/// Twinline with TLS toward its clients.
fn secured(papers: &Papers, client_ca: Option<&Authority>) -> (Sandbox, Sandbox, Twinline) {
    let [source, destination] = [(), ()].map(|()| Sandbox::spawn_thread(Options::default()).unwrap());
    source.create_database("d");
    destination.create_database("d");
    let mut setup = Setup::new(format!("url = \"{}\"", source.url()), format!("url = \"{}\"", destination.url()));
    let ca = client_ca.map_or(String::new(), |ca| format!(", client_ca = {:?}", ca.file));
    setup.listen = format!("tls = {{ cert = {:?}, key = {:?}{ca} }}", papers.cert, papers.key);
    let twinline = setup.start();
    (source, destination, twinline)
}

#[test]
fn clients_speak_tls_with_whom_they_trust() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (ours, other) = (Authority::new(folder, "ours"), Authority::new(folder, "other"));
    let (_source, _destination, twinline) = secured(&ours.papers(folder, "server", false), None);
    let mut client = connect(&twinline, &ours, None);
    for at in 0..3 {
        assert_eq!(write(&mut client, &format!("m v=1 {at}")).unwrap(), 204);
    }
    let refused = write(&mut connect(&twinline, &other, None), "m v=1 9").unwrap_err();
    assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
    // Who speaks in the clear hears nothing but the alarm of TLS.
    let mut plain = TcpStream::connect(&twinline.addr).unwrap();
    plain.write_all(b"POST /write?db=d HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\nm v=1 8").unwrap();
    let mut heard = Vec::new();
    let _ = plain.read_to_end(&mut heard);
    assert!(!heard.starts_with(b"HTTP"), "{}", heard.escape_ascii());
    twinline.delivered(3);
}

#[test]
fn clients_without_the_right_certificate_are_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (ours, other) = (Authority::new(folder, "ours"), Authority::new(folder, "other"));
    let (_source, _destination, twinline) = secured(&ours.papers(folder, "server", false), Some(&ours));
    let good = ours.papers(folder, "client", false);
    for (why, papers) in [
        ("none", None),
        ("expired", Some(ours.papers(folder, "late", true))),
        ("of another authority", Some(other.papers(folder, "stranger", false))),
    ] {
        let refused = write(&mut connect(&twinline, &ours, papers.as_ref()), "m v=1 9");
        assert!(refused.is_err(), "{why}: {refused:?}");
    }
    assert_eq!(write(&mut connect(&twinline, &ours, Some(&good)), "m v=1 1").unwrap(), 204);
    twinline.delivered(1);
}

#[test]
fn a_hangup_reads_certificates_again_and_ends_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (old, new) = (Authority::new(folder, "old"), Authority::new(folder, "new"));
    let papers = old.papers(folder, "server", false);
    let (_source, _destination, twinline) = secured(&papers, None);
    let mut before = connect(&twinline, &old, None);
    assert_eq!(write(&mut before, "m v=1 1").unwrap(), 204);
    // Files that do not fit together change nothing.
    let next = new.papers(folder, "next", false);
    std::fs::copy(&next.cert, &papers.cert).unwrap();
    twinline.signal(Signal::HUP);
    eventually("it says what is wrong", || {
        twinline.said().contains("does not fit the key").then_some(()).ok_or_else(String::new)
    });
    assert_eq!(write(&mut connect(&twinline, &old, None), "m v=1 2").unwrap(), 204);
    std::fs::copy(&next.key, &papers.key).unwrap();
    twinline.signal(Signal::HUP);
    eventually("the new ones are shown", || {
        write(&mut connect(&twinline, &new, None), "m v=1 3").map_err(|error| error.to_string())
    });
    assert!(write(&mut connect(&twinline, &old, None), "m v=1 4").is_err());
    assert_eq!(write(&mut before, "m v=1 5").unwrap(), 204, "what was under way goes on");
    twinline.delivered(4);
}

/// A database behind TLS that takes everything of whom it trusts.
fn database(papers: &Papers, trusted: Option<&Authority>) -> String {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let (certificates, key) = papers.read();
    let builder = match trusted {
        None => builder.with_no_client_auth(),
        Some(trusted) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(trusted.roots(), provider()).build().unwrap(),
        ),
    };
    let settings = Arc::new(builder.with_single_cert(certificates, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    // Ends with the test program.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let settings = Arc::clone(&settings);
            std::thread::spawn(move || {
                let tls = ServerConnection::new(settings).unwrap();
                let mut stream = BufReader::new(StreamOwned::new(tls, stream));
                while answer(&mut stream).is_some() {}
            });
        }
    });
    url
}

fn answer(stream: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>) -> Option<()> {
    let (mut line, mut length) = (String::from("first"), 0);
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    stream.read_exact(&mut vec![0; length]).ok()?;
    let tls = stream.get_mut();
    tls.write_all(b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.13.2\r\n\r\n").ok()?;
    tls.flush().ok()
}

#[test]
fn databases_are_spoken_to_by_tls_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (ours, other) = (Authority::new(folder, "ours"), Authority::new(folder, "other"));
    let (good, late) = (ours.papers(folder, "server", false), ours.papers(folder, "late", true));
    let own = ours.papers(folder, "twinline", false);
    let trust = |ca: &Authority| format!("ca = {:?}", ca.file);
    let with = format!("{}, cert = {:?}, key = {:?}", trust(&ours), own.cert, own.key);
    let open = database(&good, None);
    let [asking, to] = [(), ()].map(|()| database(&good, Some(&ours)));
    let expired = database(&late, None);
    for (what, url, tls, expected) in [
        ("trusted", &open, trust(&ours), 204),
        ("of another authority", &open, trust(&other), 503),
        ("of another name", &open, format!("{}, server_name = \"elsewhere\"", trust(&ours)), 503),
        ("expired", &expired, trust(&ours), 503),
        ("asks for a certificate", &asking, with.clone(), 204),
        ("asks in vain", &asking, trust(&ours), 503),
    ] {
        let to = format!("url = \"{to}\"\nkind = \"influxdb1\"\ntls = {{ {with} }}");
        let setup = Setup::new(format!("url = \"{url}\"\nkind = \"influxdb1\"\ntls = {{ {tls} }}"), to);
        let twinline = setup.start();
        let answer = twinline.call("POST /write?db=d&rp=r", &[], "m v=1 1");
        assert_eq!(answer.status, expected, "{what}: {}", answer.text());
        if expected == 204 {
            twinline.delivered(1);
        }
    }
}

/// `deadletter replay` reads the source with what the configuration says of its TLS.
#[test]
fn a_replay_reads_a_source_behind_tls_as_the_configuration_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ours = Authority::new(folder, "ours");
    let papers = ours.papers(folder, "server", false);
    // What speaks TLS before the source is another of us.
    let (source, _, front) = secured(&papers, None);
    let destination = Sandbox::spawn_thread(Options::default()).unwrap();
    destination.create_database("d");
    for (round, name) in ["", ", server_name = \"localhost\""].iter().enumerate() {
        let measurement = format!("m{round}");
        crate::deadletter::post(&destination, "d", &format!("{measurement} v=\"text\" 1"));
        let tls = format!("tls = {{ ca = {:?}{name} }}", ours.file);
        let from = format!("url = \"https://{}\"\nkind = \"influxdb1\"\n{tls}", front.addr);
        let twinline = Setup::new(from, format!("url = \"{}\"\nkind = \"influxdb1\"", destination.url())).start();
        assert_eq!(twinline.call("POST /write?db=d", &[], format!("{measurement} v=1.5 2")).status, 204);
        let status = twinline.settled(1);
        assert_eq!(status["lines"]["dead_lettered"], 1, "{status:#}");
        let drop = format!("POST /query?db=d&q=DROP%20MEASUREMENT%20{measurement}");
        assert_eq!(crate::http::call(&destination.addr().to_string(), &drop, &[], b"").unwrap().status, 200);
        let done = twinline.command(&["deadletter", "replay", "--execute"]);
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.code(), Some(0), "{name}: {out}{err}");
        assert_eq!(destination.cells("d", "").len(), round + 1, "{out}");
    }
    assert_eq!(source.cells("d", "").len(), 2);
}
