//! The data port over real sockets, with scripted ports behind it.

mod captures;
mod cbor;
mod client;
mod http;
mod kinesis;
mod limits;
mod world;
