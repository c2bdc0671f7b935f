//! What the tests share: fixtures, the real restic, our own program, literal file trees.
//!
//! Nothing here is mocked. A missing program or file ends a test with what to do about it; nothing is skipped.

#![forbid(unsafe_code)]
#![allow(clippy::missing_panics_doc, reason = "a helper of tests fails by panicking, with a sentence")]
#![allow(clippy::disallowed_methods, reason = "tests look at the environment to find programs")]

pub mod fixtures; // repositories that restic wrote, and what they must hold
pub mod program; // start a program on a repository, take what it says
pub mod restic; // the real restic
pub mod larder; // our program, as built
pub mod meddle; // a storage in which something happens at a chosen call
pub mod turns; // several programs at work on one storage, in an order that a seed decides
pub mod packs; // packs written until the end comes
pub mod repo; // repositories in memory, looked at from outside
pub mod rest_server; // a strict REST server, and all the manners of others
pub mod tree; // file trees as literals, and what lies on disk as comparable data
pub mod servers; // real servers on loopback, and how to reach repositories there
pub mod mounted; // a program that shows a repository, while the test looks
pub mod proxy; // a bad line between client and server
pub mod http_proxy; // a server that misbehaves
pub mod trouble; // random trouble that a seed repeats, and a clock that hurries
