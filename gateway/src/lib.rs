//! The one door in front of every model, and the provider proxy role.
