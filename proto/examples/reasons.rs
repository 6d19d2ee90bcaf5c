//! Prints the page `docs/reasons.md`; `make docs` keeps it.

fn main() {
    print!("{}", engram_proto::reason_catalog::page());
}
