//! Documents as v1 writes them.
