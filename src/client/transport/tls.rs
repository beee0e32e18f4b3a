//! TLS settings of all three protocols, made in one place.
