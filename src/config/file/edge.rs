//! Where clients and operators connect.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::databases::pem_file;
use crate::config::address::{Address, SOCKET_PATH_MAX};
use crate::config::checked::{Listen, ListenTls, Role};
use crate::config::document::Section;
use crate::config::network::Network;
use crate::config::url::BaseUrl;

/// Its owner and its group may open a socket of clients.
const SOCKET_MODE: u32 = 0o660;

const EXAMPLE: &str = "listen = \"127.0.0.1:8086\", or a [[listen]] table with address and role";

fn is_admin(listen: &Listen) -> bool {
    listen.role == Role::Admin
}

/// All listeners. A plain string is the shortest form: one proxy with defaults.
pub(super) fn listeners(root: &Section<'_>) -> Vec<Listen> {
    let mut all = Vec::new();
    if let Some(DeValue::String(_)) = root.peek("listen") {
        if let Some(text) = root.string("listen", "127.0.0.1:8086") {
            all.extend(address(root, "listen", &text.value).map(|address| with_defaults(address, Role::Proxy)));
        }
        return all;
    }
    let none = match root.peek("listen") {
        None => true,
        Some(DeValue::Array(items)) => items.is_empty(),
        Some(_) => false,
    };
    if none {
        root.fault("listen", "is missing: nothing would accept the clients", EXAMPLE.to_owned());
    }
    let tables = root.sections("listen");
    let written = tables.len();
    for section in tables {
        let listen = one(&section);
        if let Some(listen) = listen {
            if all.iter().any(|other: &Listen| other.address.meets(&listen.address)) {
                section.fault("address", format!("{} is listened on already", listen.address), None);
            }
            all.push(listen);
        }
        section.finish();
    }
    if written > 0 && all.len() == written && all.iter().all(is_admin) {
        root.fault("listen", "no listener has the role \"proxy\"", EXAMPLE.to_owned());
    }
    all
}

fn with_defaults(address: Address, role: Role) -> Listen {
    let many = role == Role::Proxy && address.tcp().is_some();
    let max_connections = if many { 4096 } else { 64 };
    let idle_timeout = Duration::from_secs(330);
    Listen {
        address,
        role,
        max_connections,
        idle_timeout,
        insecure: false,
        path_prefix: String::new(),
        tls: None,
        proxied: None,
    }
}

fn one(section: &Section<'_>) -> Option<Listen> {
    let role = section.choice("role", Role::Proxy, &[("proxy", Role::Proxy), ("admin", Role::Admin)]);
    let text = section.filled("address", "127.0.0.1:8086");
    if !section.has("address") {
        section.fault("address", "is missing", "address = \"127.0.0.1:8086\"".to_owned());
    }
    let address = text.and_then(|text| address(section, "address", &text.value));
    let address = with_mode(section, address);
    let mut defaults =
        with_defaults(address.clone().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)).into()), role);
    if section.has("tls") && defaults.address.tcp().is_some() {
        // One takes half as much memory again.
        defaults.max_connections = 2048;
    }
    let most = Duration::from_secs(86_400);
    let listen = Listen {
        max_connections: section.count("max_connections", defaults.max_connections as u64, 1..=65_536) as usize,
        idle_timeout: section.span("idle_timeout", defaults.idle_timeout, Duration::from_secs(1)..=most),
        insecure: section.flag("insecure", false),
        path_prefix: path_prefix(section, role),
        tls: tls(section, role),
        proxied: proxied(section, role, address.as_ref()),
        ..defaults
    };
    let is_open = listen.address.tcp().is_some_and(|address| !address.ip().is_loopback());
    if is_admin(&listen) && is_open && !listen.insecure {
        section.fault(
            "address",
            format!("{} can be reached from outside and the admin side asks nobody who he is", listen.address),
            "address = \"127.0.0.1:9086\", or insecure = true when the network itself keeps others away".to_owned(),
        );
    }
    if is_admin(&listen) && listen.address.unix().is_some() {
        section.fault("address", "is a socket for clients: that of operators is [listen_unix]", None);
    }
    if listen.insecure && !is_admin(&listen) {
        section.warn("insecure", "has no effect on a proxy listener");
    }
    address.map(|_| listen)
}

fn tls(section: &Section<'_>, role: Role) -> Option<ListenTls> {
    if !section.has("tls") {
        return None;
    }
    let table = section.section("tls");
    let (cert, key, client_ca) = (pem_file(&table, "cert"), pem_file(&table, "key"), pem_file(&table, "client_ca"));
    for name in ["cert", "key"] {
        if !table.has(name) {
            table.fault(name, "is missing", format!("{name} = \"/etc/twinline/{name}.pem\""));
        }
    }
    table.finish();
    if role == Role::Admin {
        section.fault("tls", "is for clients: the admin side speaks HTTP in the clear, on this machine", None);
    }
    Some(ListenTls { cert: cert?, key: key?, client_ca })
}

/// Who is believed when he says for whom he comes.
fn proxied(section: &Section<'_>, role: Role, address: Option<&Address>) -> Option<Vec<Network>> {
    const EXAMPLE: &str = "trusted = [\"10.0.0.0/8\"]";
    let (is_on, written) = (section.flag("proxy_protocol", false), section.strings("trusted", EXAMPLE));
    let mut trusted = Vec::new();
    for text in written.iter().flatten() {
        match text.parse() {
            Ok(network) => trusted.push(network),
            Err(what) => section.fault("trusted", format!("\"{text}\" {what}"), EXAMPLE.to_owned()),
        }
    }
    if !is_on {
        if section.has("trusted") {
            section.warn("trusted", "has no effect without proxy_protocol = true");
        }
        return None;
    }
    if role == Role::Admin {
        section.fault("proxy_protocol", "is for clients: nobody stands in front of the admin side", None);
    }
    if trusted.is_empty() && address.and_then(Address::tcp).is_some_and(|address| !address.ip().is_loopback()) {
        section.warn("proxy_protocol", "without `trusted` whoever reaches this address may claim to be anybody");
    }
    Some(trusted)
}

/// Without a slash at its end.
fn path_prefix(section: &Section<'_>, role: Role) -> String {
    const KEY: &str = "path_prefix";
    let Some(text) = section.filled(KEY, "/influx") else { return String::new() };
    let path = text.value.trim_end_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    if !path.starts_with('/') || path.contains("//") || !path.bytes().all(plain) {
        let what = format!(
            "\"{path}\" is no path that begins with / and consists of letters, digits, and - . _ ~ between them"
        );
        section.fault(KEY, what, "path_prefix = \"/influx\"".to_owned());
    }
    if role == Role::Admin {
        section.warn(KEY, "has no effect on an admin listener");
    }
    path.to_owned()
}

fn address(section: &Section<'_>, key: &'static str, text: &str) -> Option<Address> {
    if let Ok(address) = text.parse() {
        return Some(Address::Tcp(address));
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(section, key, path);
    }
    let (what, port) = match text.rsplit_once(':') {
        Some(("" | "*", port)) => ("has no address; 0.0.0.0 is every address of this machine", port),
        Some((_, port)) if port.parse::<u16>().is_ok() => ("is a name, not an IP address", port),
        _ => ("is not an IP address and a port", "8086"),
    };
    let port = port.parse::<u16>().unwrap_or(8086);
    section.fault(
        key,
        format!("\"{text}\" {what}"),
        format!("{key} = \"127.0.0.1:{port}\" for this machine alone, \"0.0.0.0:{port}\" for everybody"),
    );
    None
}

fn unix(section: &Section<'_>, key: &'static str, path: &str) -> Option<Address> {
    let what = if !path.starts_with('/') {
        format!("\"{path}\" is no path that begins with /")
    } else if path.len() > SOCKET_PATH_MAX {
        format!("\"{path}\" is longer than the {SOCKET_PATH_MAX} bytes that a socket may have")
    } else if path.ends_with('/') || path.contains('\0') {
        format!("\"{path}\" names no file")
    } else {
        return Some(Address::Unix(path.into(), SOCKET_MODE));
    };
    section.fault(key, what, format!("{key} = \"unix:/run/twinline/influx.sock\""));
    None
}

/// A socket with the rights that are written beside it.
fn with_mode(section: &Section<'_>, address: Option<Address>) -> Option<Address> {
    const KEY: &str = "mode";
    let Some(text) = section.filled(KEY, "0660") else { return address };
    let mode = u32::from_str_radix(&text.value, 8).ok().filter(|mode| *mode <= 0o777);
    if mode.is_none() {
        let what = format!("\"{}\" is no set of rights: three octal digits, as for chmod", text.value);
        section.fault(KEY, what, "mode = \"0660\"".to_owned());
    }
    match address? {
        Address::Unix(path, default) => Some(Address::Unix(path, mode.unwrap_or(default))),
        address => {
            section.warn(KEY, "has no effect on an address with a port");
            Some(address)
        }
    }
}

/// Refuses a socket of clients where that of operators is.
pub(super) fn no_shared_socket(root: &Section<'_>, listen: &[Listen], operators: &Path) {
    if listen.iter().any(|listen| listen.address.unix() == Some(operators)) {
        let what = format!("unix:{} is the socket of operators", operators.display());
        root.fault("listen", what, "another path, or another listen_unix.path".to_owned());
    }
}

/// Refuses what would certainly talk to itself: databases that are one and the same, and a listener that is one of them.
pub(super) fn no_loop(root: &Section<'_>, listen: &[Listen], source: &BaseUrl, destination: &BaseUrl) {
    if source.authority().eq_ignore_ascii_case(&destination.authority())
        && source.path_prefix == destination.path_prefix
    {
        part(root, "destination", destination).fault(
            "url",
            "is the source itself: every write would come back as its own copy",
            "the address of the new database".to_owned(),
        );
    }
    for (name, url) in [("source", source), ("destination", destination)] {
        if listen.iter().filter_map(|listen| listen.address.tcp()).any(|listen| reaches(url, listen)) {
            part(root, name, url).fault(
                "url",
                format!("is an address on which twinline itself listens: it would forward to itself for ever ({url})"),
                "the address of the database".to_owned(),
            );
        }
    }
}

/// The table with the address of a database: the only one of this name, else the one that has it.
fn part<'a>(root: &Section<'a>, name: &'static str, url: &BaseUrl) -> Section<'a> {
    if !matches!(root.peek(name), Some(DeValue::Array(_))) {
        return root.section(name);
    }
    let mut tables = root.sections(name);
    let has_it = |table: &Section<'_>| match table.peek("url") {
        Some(DeValue::String(text)) => BaseUrl::parse(text).is_ok_and(|own| own == *url),
        _ => false,
    };
    let at = tables.iter().position(has_it).unwrap_or(0);
    tables.swap_remove(at)
}

fn reaches(url: &BaseUrl, listen: SocketAddr) -> bool {
    if url.port != listen.port() {
        return false;
    }
    match url.host.parse::<IpAddr>() {
        Ok(ip) => ip == listen.ip() || (ip.is_loopback() && listen.ip().is_unspecified()),
        Err(_) => url.is_loopback() && (listen.ip().is_unspecified() || listen.ip().is_loopback()),
    }
}
