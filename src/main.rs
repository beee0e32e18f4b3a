//! The `flowbench` command: one call into `cli/`.

fn main() {}
