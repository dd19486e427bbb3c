//! Retry: where another attempt may do better, before anything went to the caller. Pure.

use weighbridge_wire::canonical::FailureClass;

use crate::directory::World;

/// Where to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Every attempt would come to the same.
    Nowhere,
    /// At another replica.
    Elsewhere,
    /// At another replica, or, once all were tried, at any: none can have seen the request.
    Anywhere,
    /// At the same endpoint, once.
    Here,
}

/// Where to try again after a failure of `class`. A provider has one endpoint, its proxy, which has tried its keys: what
/// broke there may go well a second time, and what the account is refused may not. An engine's refusals are its own
/// state, and another replica may have room.
pub(super) fn after(class: FailureClass, world: World) -> Again {
    match (class, world) {
        (FailureClass::Upstream | FailureClass::TruncatedStream, World::Closed) => Again::Here,
        (FailureClass::Upstream | FailureClass::TruncatedStream | FailureClass::Internal, World::Open)
        | (FailureClass::RateLimited | FailureClass::Overloaded, World::Open) => Again::Elsewhere,
        (FailureClass::RateLimited | FailureClass::Overloaded | FailureClass::Internal, World::Closed) => {
            Again::Nowhere
        }
        // The time is spent, or the request is at fault.
        (
            FailureClass::Timeout
            | FailureClass::BadRequest
            | FailureClass::ContextTooLong
            | FailureClass::TooLarge
            | FailureClass::Credential
            | FailureClass::Forbidden
            | FailureClass::NotFound
            | FailureClass::QuotaExhausted
            | FailureClass::ContentBlocked
            | FailureClass::ResidencyUnsatisfiable,
            World::Open | World::Closed,
        ) => Again::Nowhere,
    }
}

/// The same of a failure under a status of success. A proxy that passed it on took its key for a good one, and knows better
/// by now: where the key's limit is reached, it has others, or says how long to wait.
pub(super) fn after_promise(class: FailureClass, world: World) -> Again {
    match (class, world) {
        (FailureClass::RateLimited | FailureClass::QuotaExhausted, World::Closed) => Again::Here,
        (class, world) => after(class, world),
    }
}
