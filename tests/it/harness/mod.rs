//! What every test needs: processes that end with the test, a small HTTP client, the gate, and its far ends.

mod bucket;
mod collector;
mod door;
mod emulator;
mod gate;
mod http;
mod kinesis;
mod process;
mod prometheus;
mod remote;
mod tools;

pub use collector::Collector;
pub use door::Door;
pub use emulator::{Emulator, QueueMessage};
pub use gate::{Gate, GateOptions, binary, parcels_rules};
pub use http::{Http, get};
pub use kinesis::{AwsError, Kinesis, Put};
pub use process::{copy_tree, free_port, run, temporary, wait_until};
pub use prometheus::Prometheus;
pub use remote::GitRemote;
pub use tools::{Tool, node_modules, repository, tool};

/// One good event of the `parcels` rules; `id` makes its bytes unique.
pub fn good_parcel(id: &str) -> String {
    // Spaces and key order that no serialiser would write: byte for byte means these too.
    format!(r#"{{ "type":"parcel.sent",  "id": "{id}", "data":{{"weight": 1.50, "recipient":"Ada"}} }}"#)
}

/// One that breaks `weight_is_positive`, and only that.
pub fn bad_parcel(id: &str) -> String {
    format!(r#"{{"type":"parcel.sent","id":"{id}","data":{{"recipient":"Ada","weight":-1}}}}"#)
}
