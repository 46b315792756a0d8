//! One request to the destination, and what is known of it afterwards.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};

use crate::base::{Error, Kind, Result, Side};
use crate::db::answer::{self, Verdict};
use crate::db::client;
use crate::db::product::Product;
use crate::db::server::Server;

/// A destination's words that we read at most.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What is known of a request.
#[derive(Debug)]
pub enum Posted {
    /// It was answered.
    Answered(Verdict),
    /// Not one byte of it left.
    NotSent(Error),
    /// It left, and has no answer: it may take effect.
    Unanswered(Error),
}

/// Sends lines to a path of the destination.
///
/// # Errors
/// The request cannot be made.
pub async fn post(server: &Server, product: Product, path: &str, body: Bytes) -> Result<Posted> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, server.host().clone())
        .header(USER_AGENT, concat!("twinline/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(CONTENT_LENGTH, body.len());
    if let Some(authorization) = server.authorization() {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    let body = Full::new(body).map_err(|e| match e {}).boxed_unsync();
    let odd = |e| Error::new(Kind::Input, Side::Destination, "a request that cannot be made").because(e);
    let request = request.body(body).map_err(odd)?;
    let asking = async {
        let response = match server.client().send(request).await {
            Ok(response) => response,
            Err(client::Failure::NotSent(error)) => return Posted::NotSent(error),
            Err(client::Failure::Unknown(error)) => return Posted::Unanswered(error),
        };
        let (head, body) = response.into_parts();
        let said = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map(http_body_util::Collected::to_bytes);
        Posted::Answered(answer::of(product, head.status, &head.headers, &said.unwrap_or_default()))
    };
    let late = || Error::new(Kind::Timeout, Side::Destination, "the destination does not answer in time").retryable();
    Ok(tokio::time::timeout(server.answer_timeout(), asking).await.unwrap_or_else(|_| Posted::Unanswered(late())))
}
