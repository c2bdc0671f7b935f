//! Real servers for tests, each on a free port of the loopback address with a temporary folder of its own.
//!
//! In: which server. Out: a running one that answers, and [`Place`]s: everything a program, ours or restic, needs
//! to reach a repository there. A server ends when its value is dropped, also when a test panics. Where the
//! programs come from says [`process::find`]; `cargo xtask setup` installs them.

pub mod process; // find a program, start it, wait until it answers, end it
pub mod place; // how a repository on a server is reached
pub mod plain_http; // one request, without any library
pub mod sshd; // a real sshd for one user
pub mod rclone; // rclone as REST, S3 and WebDAV server, and as a child
pub mod moto; // S3 as restic needs it
pub mod authority; // certificates for servers and clients
pub mod small_disk; // a server whose space runs out
pub mod tunnel; // a proxy that leads to one server, whatever it is asked for
pub mod azurite; // Azure's blobs

pub use authority::Authority;
pub use azurite::Azurite;
pub use moto::Moto;
pub use place::Place;
pub use rclone::Rclone;
pub use small_disk::SmallDisk;
pub use sshd::Sshd;
pub use tunnel::Tunnel;
