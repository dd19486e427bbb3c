//! The controller of `serving.weighbridge.dev`: dereference, validate, plan, apply, update status.
