//! How fast packs go to a location and come back: `rate LOCATION [-o NAME=VALUE]… [PACKS [THREADS]]`.
//!
//! Writes packs of 16 MiB that no compression could shrink, reads them back, compares and removes them. The place
//! must not hold a repository: it is made when it is missing and left empty. Without arguments a place in memory is
//! measured, which says how fast the harness is.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use backends::{Location, Options};
use repo_core::Context;
use repo_core::backend::BackendError;
use repo_core::id::{FileId, FileKind, Id, PackId};

const PACK: usize = 16 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (mut plain, mut options) = (Vec::new(), Vec::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "-o" => options.extend(words.next()),
            _ => plain.push(word),
        }
    }
    let location: Location = plain.first().map_or("memory:", String::as_str).parse()?;
    let packs: u32 = plain.get(1).map_or(Ok(8), |text| text.parse())?;
    let context = Context::new();
    let storage = backends::open(&context, &location, &Options::parse(options)?)?;
    let threads: usize = plain.get(2).map_or(Ok(storage.properties().connections), |text| text.parse())?;
    storage.create()?;
    if !storage.list(FileKind::Config)?.is_empty() {
        return Err("there is a repository".into());
    }
    let mut content = vec![0; PACK];
    context.random.fill(&mut content);
    let measure = |name: &str, work: &(dyn Fn(FileId) -> Result<(), BackendError> + Sync)| {
        let start = context.clock.elapsed();
        let done = shared_out(packs, threads, work);
        let seconds = context.clock.elapsed().saturating_sub(start).as_secs_f64();
        let mebibytes = f64::from(packs) * 16.0;
        println!("{name}: {mebibytes} MiB in {seconds:.2} s, {:.0} MiB/s", mebibytes / seconds);
        done
    };
    measure("put", &|file| storage.write(file, &content))?;
    measure("get", &|file| {
        let mut buffer = Vec::new();
        storage.read(file, 0..PACK as u64, &mut buffer)?;
        assert!(buffer == content, "what was written is read back");
        Ok(())
    })?;
    (0..packs).try_for_each(|number| storage.remove(file(number)))?;
    Ok(())
}

/// Does the work for each pack, on so many threads.
fn shared_out(
    packs: u32,
    threads: usize,
    work: &(dyn Fn(FileId) -> Result<(), BackendError> + Sync),
) -> Result<(), BackendError> {
    let next = AtomicU32::new(0);
    let worker = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= packs {
            return Ok(());
        }
        work(file(number))?;
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| worker.join().expect("no worker panics");
        workers.into_iter().try_for_each(join)
    })
}

fn file(number: u32) -> FileId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    PackId(Id::new(id)).into()
}
