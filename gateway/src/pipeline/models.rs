//! Lists of models, and one of them, for the clients of every dialect: what the caller may call.

use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use weighbridge_wire::canonical::Failure;
use weighbridge_wire::models::{self, Asked, Listed, Page};

use super::Pipeline;
use crate::access::Caller;
use crate::directory::Target;
use crate::server::{Body, json_response};

/// What `path` asks for, if it is one of a models list.
pub(super) fn asked<'a>(path: &'a str, headers: &HeaderMap) -> Option<Asked<'a>> {
    models::asked(path, |name| headers.contains_key(name))
}

impl Pipeline {
    /// The list, or the one model that is asked for.
    pub(super) async fn models(
        &self,
        asked: &Asked<'_>,
        query: Option<&str>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let mut aside = self.aside("models");
        let body = match self.authenticate(request).await {
            Ok((caller, _)) => {
                aside.caller(&caller);
                self.listing(asked, query, &caller)
            }
            Err(failure) => Err(failure),
        };
        match body {
            Ok(body) => aside.answer(json_response(StatusCode::OK, body)),
            Err(failure) => aside.refuse(asked.dialect, &failure),
        }
    }

    /// Every model that `caller` may call, by its canonical name, ready or not; or the one.
    fn listing(
        &self,
        Asked { dialect, model }: &Asked<'_>,
        query: Option<&str>,
        caller: &Caller,
    ) -> Result<Vec<u8>, Failure> {
        let snapshot = self.directory.snapshot();
        let Some(name) = model else {
            let page = Page::from_query(*dialect, query)?;
            let allowed = snapshot.targets().filter(|target| caller.may_call(&target.canonical));
            let listed: Vec<Listed<'_>> = allowed.map(|target| listed(target)).collect();
            return models::list(*dialect, &page, &listed);
        };
        self.permit(caller, name)?;
        let found = snapshot.resolve(name, caller.namespace());
        let target = found.ok_or_else(|| snapshot.not_found(name, caller.namespace()))?;
        Ok(models::one(*dialect, &listed(target)))
    }
}

fn listed(target: &Target) -> Listed<'_> {
    let owner = target.provider.as_deref().unwrap_or("weighbridge");
    Listed { name: &target.canonical, created: target.created, owner }
}
