//! Servers that die and come back at the same address, that stay away, and that have no space for a while.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::proxy::{Direction, End, Line, Proxy, Trouble};
use tests::servers::process::wait_until;
use tests::servers::{Place, Rclone, SmallDisk, Sshd};
use tests::trouble::{brisk, hurried};

use super::{Bench, chain};

/// A server that can be killed and started again.
trait Server: Send + Sync {
    fn address(&self) -> SocketAddr;
    fn storage(&self) -> PathBuf;
    fn place_through(&self, address: SocketAddr, name: &str) -> Place;
    fn kill(&mut self);
    fn restart(&mut self);
}

macro_rules! is_a_server {
    ($server:ty) => {
        impl Server for $server {
            fn address(&self) -> SocketAddr {
                self.address()
            }
            fn storage(&self) -> PathBuf {
                self.storage()
            }
            fn place_through(&self, address: SocketAddr, name: &str) -> Place {
                self.place_through(address, name)
            }
            fn kill(&mut self) {
                self.kill();
            }
            fn restart(&mut self) {
                self.restart();
            }
        }
    };
}
is_a_server!(Sshd);
is_a_server!(Rclone);

/// The server's process is killed as soon as the lock of a run is there, which is before its first pack, and another
/// one is started at the same address. The line is slow, so that the run is in the middle of its work then.
fn dies_and_comes_back(server: impl Server + std::panic::RefUnwindSafe + 'static) {
    let (address, storage) = (server.address(), server.storage());
    let server: &'static Mutex<dyn Server + std::panic::RefUnwindSafe> =
        Box::leak(Box::new(Mutex::new(server)));
    let bench =
        Bench::new(address, storage, |address, name| server.lock().unwrap().place_through(address, name));
    let slow = Line { one_way: Duration::from_millis(2), bytes_per_second: Some(200_000) };
    let proxy = Proxy::quiet(bench.address, slow);
    let (locks, came_back) = (bench.place("back").join("locks"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_until("the run has its lock", Duration::from_mins(1), || {
                std::fs::read_dir(&locks).is_ok_and(|mut entries| entries.next().is_some())
            });
            let mut server = server.lock().unwrap();
            server.kill();
            server.restart();
            came_back.store(true, Ordering::SeqCst);
        });
        let place = bench.way(proxy.address(), "back");
        let result = bench.try_live(&brisk(), "back", &place, 3101, true);
        result.unwrap_or_else(|error| panic!("{}", chain(&*error)));
        assert!(came_back.load(Ordering::SeqCst), "the run was over before its server died");
    });
    bench.recover("back", 3101);
    server.lock().unwrap().kill();
}

#[test]
fn sftp_server_that_dies_and_comes_back() {
    dies_and_comes_back(Sshd::start());
}

#[test]
fn s3_server_that_dies_and_comes_back() {
    dies_and_comes_back(Rclone::serve_s3());
}

#[test]
fn rest_server_that_dies_and_comes_back() {
    dies_and_comes_back(Rclone::serve_restic());
}

#[test]
fn webdav_server_that_dies_and_comes_back() {
    dies_and_comes_back(Rclone::serve_webdav());
}

/// A server that is away for good: a clear error once the quarter of an hour is over that is promised for each call,
/// and another one for the lock that is to be removed.
fn stays_away(bench: &Bench) {
    let proxy = Proxy::start(bench.address, Line::default(), |number| {
        let cut = Trouble::Cut { direction: Direction::Up, after: 60_000, end: End::Reset };
        Some(if number == 0 { cut } else { Trouble::Refuse })
    });
    let context = hurried();
    let (name, seed) = ("away", 3001);
    bench.place(name);
    let before = context.clock.elapsed();
    let error = bench.try_live(&context, name, &bench.way(proxy.address(), name), seed, true).unwrap_err();
    let (spent, told) = (context.clock.elapsed().saturating_sub(before), chain(&*error));
    assert!(told.len() > 20 && spent < Duration::from_mins(35), "{spent:?}: {told}");
    bench.recover(name, seed);
}

#[test]
fn servers_that_stay_away_end_a_run_with_an_error_in_the_promised_time() {
    stays_away(&Bench::sftp(Sshd::start()));
    stays_away(&Bench::rclone(Rclone::serve_s3()));
    stays_away(&Bench::rest());
    stays_away(&Bench::rclone(Rclone::serve_webdav()));
}

/// The server's disk has no room for a pack; later it has. The run ends with `words`, which are the server's.
fn is_full(bench: &Bench, disk: &SmallDisk, words: &str) {
    let (name, seed) = ("full", 3201);
    bench.place(name);
    disk.leave(60_000);
    let place = bench.way(bench.address, name);
    let error = bench.try_live(&hurried(), name, &place, seed, false).unwrap_err();
    let told = chain(&*error);
    // A process that may make no large file is killed for trying, or has no better word than that it failed.
    assert!(told.contains(words) || !disk.is_real(), "{told}");
    disk.leave(64 << 20);
    bench.recover(name, seed);
}

#[test]
fn sftp_server_that_is_full_and_gets_space_again() {
    let server = Sshd::start();
    let disk = SmallDisk::under(&server.storage(), server.process());
    is_full(&Bench::sftp(server), &disk, "no space left");
}

#[test]
fn rest_server_that_is_full_and_gets_space_again() {
    let server = Rclone::serve_restic();
    let disk = SmallDisk::under(&server.storage(), server.process());
    is_full(&Bench::rclone(server), &disk, "500 Internal Server Error");
}

#[test]
fn webdav_server_that_is_full_and_gets_space_again() {
    let server = Rclone::serve_webdav();
    let disk = SmallDisk::under(&server.storage(), server.process());
    is_full(&Bench::rclone(server), &disk, "Method Not Allowed");
}
