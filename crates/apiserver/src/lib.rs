//! HTTP, TLS, authentication, the request path, watch streaming.
