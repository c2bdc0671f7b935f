//! Larder's tests that need more than one room, in one program.

#![forbid(unsafe_code)]
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod tidy; // imports point up the page
mod api; // the public API, as a list
mod tame; // engine and storage do not print, exit, or read the environment
mod golden_records; // records, byte for byte as restic wrote them
mod golden_trees; // nodes and trees, byte for byte as restic wrote them
mod golden; // repositories that restic wrote, opened, read and restored
mod restore; // files come back, whatever stands in the way
mod model; // random lives of a repository against plain copies
mod cost; // requests that operations make
mod requests; // what whole runs cost on a real server
mod source_truth; // what a backup could not save, and what it reads again
mod fuzz_replay; // what the fuzzers try, on seeds and mutations of them
mod commit; // whatever a backup relies on may be removed at any moment
mod crash; // restic looks at what a stopped backup leaves
mod sweep; // every operation meets every fault at every call
mod prune; // what no snapshot needs goes, and nothing else
mod versions; // one file through all snapshots, and back beside itself
mod search; // the search index: the same answers
mod status; // what changed since a snapshot
mod usage; // what would be free if snapshots went
mod copy; // snapshots of one repository into another
mod together; // backups and prunes at the same time, stopped, killed, with wrong clocks
mod repair; // what is left of a damaged repository is mended
mod rewrite; // new snapshots from old ones, as restic makes them
mod recover; // trees that nobody refers to get a snapshot
mod migrate; // version 1 becomes version 2; options and features
mod rolling_check; // checks that go on where the last one ended
mod damage_found; // what a check finds
mod forget; // which snapshots go: random policies against restic, stops at every point
mod forget_size; // snapshots stay until all of it needs so many bytes
mod manual; // the examples of the manual, run as they stand
mod seams; // sources that know more than a folder does
mod several; // one backup into several repositories, read once
mod sinks; // one file onto a device, into an image, through a pipe
mod query; // answers about snapshots, as restic gives them
mod view; // a repository as folders: few reads, right bytes, errors instead of guesses
mod mount; // the same through the kernel, beside restic's mount
mod serve; // the same over HTTP
mod cli; // what people and scripts meet: text, JSON, exit codes
mod kill; // the process is killed in the middle of a backup
mod cache; // one cache for two programs, and what the program says of its caches
mod cold; // packs that must be thawed, and a hot half before them
mod parity; // flags, exit codes, JSON and words are restic's
mod wrappers; // restic's wrappers, unchanged, with larder in its place
mod compat; // the real restic and larder on the same repositories
mod damage; // damaged repositories: the right verdict, never wrong content
mod bombs; // small things that become huge: an error, in bounded memory and time
mod rclone; // repositories through rclone, as a child and as a server
mod rest; // repositories on REST servers
mod sftp; // repositories behind a real sshd
mod s3; // repositories in buckets
mod tls; // certificates, as the program believes them
mod webdav; // repositories on a WebDAV server
mod clouds; // repositories in clouds of other makers, on their emulators
mod network; // what whole runs over a network hold to
mod embed; // the engine as a part of somebody's program
mod cycle; // a repository's whole life on every kind of location, on real servers
mod faults; // bad lines, misbehaving servers, servers that die or are full: nothing is lost
