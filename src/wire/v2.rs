//! Documents as v2 writes them.
