//! Sends one request over HTTP, within its limits, and says what came of it.
//!
//! The client tries nothing again and follows nothing: what a failure means is decided in [`crate::exchange`]. The one
//! judgement made here is whether the request can have arrived.

use std::error::Error;
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::redirect;

use crate::exchange::{Answer, Connector, Limits, Loss, Method, Outbound};

/// Shorter than the time after which servers close a quiet connection (Node: 5 s): a request that goes out while the
/// other side closes has an unknown outcome, and that is dearer than a new connection.
const IDLE_CONNECTION: Duration = Duration::from_secs(4);

/// A client for one vendor's door.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: reqwest::Client,
    base: String,
    limits: Limits,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// The address of the configuration.
    #[error("{url:?} is no usable address")]
    Address {
        /// As configured, with what the connector adds.
        url: String,
    },
    /// TLS, mostly: this machine's list of authorities.
    #[error("cannot make an HTTP client; are the ca-certificates of this machine installed?")]
    Client(#[source] reqwest::Error),
}

impl HttpClient {
    /// For the door of a connector.
    ///
    /// # Errors
    /// When its address is none, or this machine has no certificates to check the other side by.
    pub fn new(connector: &dyn Connector) -> Result<Self, HttpClientError> {
        let base = connector.base_url().to_owned();
        let usable = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.host().is_some();
        let Some(url) = reqwest::Url::parse(&base).ok().filter(usable) else {
            return Err(HttpClientError::Address { url: base });
        };
        // Whoever comes first installs it; a second time is refused and leaves the first, which is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let limits = connector.limits();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(limits.connect_wait)
            .timeout(limits.answer_wait)
            .pool_idle_timeout(IDLE_CONNECTION)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("stockwire-gateway/", env!("CARGO_PKG_VERSION")));
        if url.scheme() == "http" {
            // A machine without certificates can still speak to its neighbour.
            builder = builder.tls_certs_only(std::iter::empty());
        }
        Ok(Self { client: builder.build().map_err(HttpClientError::Client)?, base, limits })
    }

    /// Sends, and waits for all of the answer.
    ///
    /// # Errors
    /// [`Loss`]: there is no answer, and whether the request can have arrived.
    pub async fn send(&self, outbound: &Outbound) -> Result<Answer, Loss> {
        let began = Instant::now();
        let result = self.try_send(outbound).await;
        let (name, path, ms) =
            (outbound.request.name, &outbound.request.path, began.elapsed().as_millis() as u64);
        match &result {
            Ok(answer) => {
                tracing::debug!(name, path, ms, status = answer.status, bytes = answer.body.len(), "answered")
            }
            Err(loss) => tracing::debug!(name, path, ms, ?loss, "not answered"),
        }
        result
    }

    async fn try_send(&self, outbound: &Outbound) -> Result<Answer, Loss> {
        let request = self.client.execute(self.request(outbound)?);
        let mut response = request.await.map_err(loss)?;
        let status = response.status().as_u16();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(loss)? {
            if body.len() + chunk.len() > self.limits.answer_bytes_max {
                let message = format!("the answer is larger than {} bytes", self.limits.answer_bytes_max);
                return Err(Loss::NoAnswer { message });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body })
    }

    fn request(&self, outbound: &Outbound) -> Result<reqwest::Request, Loss> {
        let unsendable = |message: String| Loss::Unsendable { message };
        let Outbound { request, credentials } = outbound;
        let address = format!("{}{}", self.base, request.path);
        let mut url =
            reqwest::Url::parse(&address).map_err(|fault| unsendable(format!("{address}: {fault}")))?;
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
        };
        let mut sent = reqwest::Request::new(method, url);
        let plain = request.headers.iter().map(|(name, value)| (*name, value.as_str(), false));
        let secret = credentials.iter().map(|(name, value)| (*name, value.reveal(), true));
        for (name, value, sensitive) in plain.chain(secret) {
            let fault = || unsendable(format!("the header {name} can not be sent"));
            let mut value = HeaderValue::from_str(value).map_err(|_| fault())?;
            value.set_sensitive(sensitive);
            sent.headers_mut().insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?, value);
        }
        sent.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        sent.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(body) = &request.body {
            let bytes = serde_json::to_vec(body).map_err(|fault| unsendable(fault.to_string()))?;
            if bytes.len() > self.limits.request_bytes_max {
                let message =
                    format!("{} bytes are more than {}", bytes.len(), self.limits.request_bytes_max);
                return Err(unsendable(message));
            }
            *sent.body_mut() = Some(bytes.into());
        }
        Ok(sent)
    }
}

/// Whether the request can have arrived. When in doubt, it can.
fn loss(fault: reqwest::Error) -> Loss {
    let never_left = fault.is_connect();
    let no_request = fault.is_builder();
    // The address stands in the configuration; with its query it would fill the log.
    let fault = fault.without_url();
    let mut message = fault.to_string();
    let mut cause = fault.source();
    while let Some(deeper) = cause {
        message = format!("{message}: {deeper}");
        cause = deeper.source();
    }
    match (never_left, no_request) {
        (true, _) => Loss::NotSent { message },
        (false, true) => Loss::Unsendable { message },
        (false, false) => Loss::NoAnswer { message },
    }
}
