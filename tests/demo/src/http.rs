//! What programs say over HTTP.

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

/// One answer.
const WAIT: Duration = Duration::from_secs(3);
/// Larger than any page of metrics.
const BODY_BYTES: usize = 4 << 20;

/// Asks programs; cheap to clone.
#[derive(Clone, Debug)]
pub struct Http(Client<HttpConnector, Empty<Bytes>>);

impl Default for Http {
    fn default() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

impl Http {
    /// The body of a 200.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn get(&self, url: &str) -> Result<Bytes> {
        let exchange = async {
            let response = self.0.get(url.parse()?).await?;
            let status = response.status();
            if !status.is_success() {
                bail!("{url} answered {status}");
            }
            let body = Limited::new(response.into_body(), BODY_BYTES).collect().await;
            match body {
                Ok(body) => Ok(body.to_bytes()),
                Err(err) => bail!("{url}: {err}"),
            }
        };
        match timeout(WAIT, exchange).await {
            Ok(answer) => answer,
            Err(_) => bail!("{url}: no answer within {WAIT:?}"),
        }
    }
}
