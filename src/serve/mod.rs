//! The HTTP service: the only module that knows HTTP, JSON and users.
