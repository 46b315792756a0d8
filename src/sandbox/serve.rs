//! Listening, and closing the door when the faults say so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Shared;
use super::fault::Faults;
use super::http;

/// Connections held at once; a further one is closed at once.
const CONNECTIONS_MAX: usize = 1024;

/// Serves until it is dropped; dropping it cuts every connection.
pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener, addr: SocketAddr) {
    let mut listener = Some(listener);
    loop {
        if let Some(open) = listener.take() {
            serve(&shared, open).await;
        }
        // `serve` came back, so everything is closed now.
        wait_for_reopening(&shared).await;
        match TcpListener::bind(addr).await {
            Ok(open) => listener = Some(open),
            // The port may be in use for a moment by somebody else: try again.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Accepts connections until the faults say to refuse them.
async fn serve(shared: &Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    let mut faults = shared.faults.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                shared.counters.connections.fetch_add(1, Ordering::Relaxed);
                match accepted {
                    Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                        connections.spawn(connection(shared.clone(), stream));
                    }
                    Ok(_) => {}
                    // Out of file handles: give others time to close some.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = refusal(&mut faults) => return,
        }
    }
}

async fn refusal(faults: &mut watch::Receiver<Faults>) {
    // The sender lives as long as the sandbox.
    let _ = faults.wait_for(|faults| faults.refuse).await;
}

async fn wait_for_reopening(shared: &Shared) {
    let mut faults = shared.faults.subscribe();
    loop {
        let Faults { refuse, refuse_ms, .. } = faults.borrow_and_update().clone();
        if !refuse {
            return;
        }
        if refuse_ms == 0 {
            // The sender lives as long as `shared`.
            let _ = faults.changed().await;
            continue;
        }
        tokio::select! {
            _ = faults.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(refuse_ms)) => {
                shared.faults.send_modify(|faults| (faults.refuse, faults.refuse_ms) = (false, 0));
                return;
            }
        }
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    let service = service_fn(move |request| http::handle(shared.clone(), request));
    let connection = hyper::server::conn::http1::Builder::new()
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    // The client went away, or a fault cut the connection: nobody is left to be told.
    let _ = connection.await;
}
