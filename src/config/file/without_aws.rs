//! Settings that mean something with `backend: aws` only.

use super::{Written, WrittenBackend};
use crate::rule::pointer::Pointer;

/// What is wrong, with its place, what it is, and what to write instead.
pub fn faults(written: &Written) -> Vec<(Pointer, &'static str, &'static str)> {
    if matches!(written.backend, WrittenBackend::Aws) {
        return Vec::new();
    }
    let s3 = written.dead_letters.s3.iter().map(|_| {
        let pointer = Pointer::root().child("dead_letters").child("s3");
        (pointer, "the embedded store keeps dead letters itself", "write `backend: aws`")
    });
    let spool = written.spool.iter().map(|_| {
        let message = "with the embedded store there is nothing to spool: it is the far end, and it is here";
        (Pointer::root().child("spool"), message, "leave `spool` out, or write `backend: aws`")
    });
    s3.chain(spool).collect()
}
