//! The room `tls`.
