//! Forward: to one endpoint, or to the next if nothing was sent to the first.

use http::uri::{PathAndQuery, Scheme, Uri};
use http::{Method, Request, Response};
use weighbridge_wire::openai::ApiError;

use super::Pipeline;
use super::admit::Call;
use super::record::Record;
use super::route::route;
use crate::directory::Endpoint;
use crate::forward::{ForwardError, Pieces, UpstreamBody, chain};

/// Endpoints tried for one request: past three that can't be connected to, the fault is not theirs.
const MAX_ATTEMPTS: usize = 3;
const RETRY_AFTER_SECONDS: u32 = 2;

impl Pipeline {
    /// The head of the upstream's answer. The place at the endpoint is kept in `record` until the end.
    pub(super) async fn forward(
        &self,
        call: &Call,
        record: &mut Record,
    ) -> Result<Response<UpstreamBody>, ApiError> {
        let mut tried = Vec::new();
        let mut last = None;
        while tried.len() < MAX_ATTEMPTS {
            let Some(lease) = route(&self.directory, &call.target.canonical, &tried)? else { break };
            if !tried.is_empty() {
                self.metrics.connect_retries.get_or_create(&call.target.labels).inc();
            }
            let endpoint = lease.endpoint();
            tried.push(endpoint.address);
            let request = request(call, endpoint)?;
            let (name, address) = (endpoint.name.clone(), endpoint.address);
            record.at(lease);
            match self.upstream.send(request).await {
                Ok(response) => return Ok(response),
                Err(error) => {
                    tracing::warn!(endpoint = %name, %address, error = %chain(&error), "an endpoint did not answer");
                    if !error.nothing_sent() {
                        return Err(refusal(&call.target.canonical, &error));
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.map_or_else(
            || ApiError::internal("no endpoint was tried"),
            |error| refusal(&call.target.canonical, &error),
        ))
    }
}

fn request(call: &Call, endpoint: &Endpoint) -> Result<Request<Pieces>, ApiError> {
    let uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(endpoint.authority.clone())
        .path_and_query(PathAndQuery::from_static(call.operation.path()))
        .build()
        .map_err(|_| ApiError::internal("an endpoint's address is no URL"))?;
    let mut request = Request::new(call.body.clone());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = call.headers.clone();
    Ok(request)
}

/// Our words for it; the cause is in the log.
fn refusal(model: &str, error: &ForwardError) -> ApiError {
    match error {
        ForwardError::Connect(_) => ApiError::overloaded(
            "endpoint_unreachable",
            &format!("No replica of `{model}` can be reached now."),
            RETRY_AFTER_SECONDS,
        ),
        ForwardError::Broken(_) => ApiError::upstream(
            "upstream_broken",
            &format!("The connection to `{model}` broke before an answer began."),
        ),
        ForwardError::FirstByte(time) => ApiError::upstream_timeout(&format!(
            "`{model}` did not begin to answer within {} s.",
            time.as_secs()
        )),
    }
}
