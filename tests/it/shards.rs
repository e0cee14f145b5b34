//! Reading shards of a Kinesis stream, as an emulator gives it.
