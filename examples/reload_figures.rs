//! How fast a start reads its file: fills a folder with keys from as many threads as there are
//! shards, drops it as a kill would, and times recovery.
//! `cargo run --release --example reload_figures FOLDER [millions of keys] [shards]`

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use coremap::hash::{Hasher, cluster_slot, shard_of_slot};
use coremap::region::{Access, FileOptions, Found, Region, RegionOptions};
use coremap::shard::{Attributes, Mode, Progress, Shard, recover};

const MAXMEMORY_BYTES: u64 = 4 << 30;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let number = |text: Option<String>, default: u64| text.map_or(Ok(default), |text| text.parse());
    let key_count = number(arguments.next(), 20)? * 1_000_000;
    let shard_count = usize::try_from(number(arguments.next(), 2)?)?;
    let hasher = Hasher::new([1, 2, 3, 4]);
    let folder = Path::new(&folder);

    let (region, found) = open(folder, shard_count)?;
    let (mut shards, _) = load(&region, &found, &hasher)?;
    let start = now();
    thread::scope(|scope| {
        for shard in &mut shards {
            scope.spawn(move || fill(shard, key_count));
        }
    });
    region.sync()?;
    let fill_s = start.elapsed().as_secs_f64();
    println!(
        "filled in {fill_s:.1} s, {:.2} M keys/s",
        rate(key_count, fill_s)
    );
    drop((shards, region));

    let start = now();
    let (region, found) = open(folder, shard_count)?;
    let open_s = start.elapsed().as_secs_f64();
    let start = now();
    let (shards, report) = load(&region, &found, &hasher)?;
    let load_s = start.elapsed().as_secs_f64();
    let found_count: u64 = shards.iter().map(Shard::len).sum();
    println!(
        "opened in {open_s:.2} s; {found_count} keys of {} in {load_s:.2} s, {:.2} M keys/s",
        report.record_count,
        rate(found_count, load_s)
    );
    Ok(())
}

fn open(folder: &Path, shard_count: usize) -> Result<(Arc<Region>, Found), Box<dyn Error>> {
    let options = RegionOptions {
        maxmemory_bytes: MAXMEMORY_BYTES,
        shard_count,
    };
    let (region, found) = Region::open(folder, FileOptions::new(options, Access::Serve))?;
    Ok((Arc::new(region), found))
}

fn load(
    region: &Arc<Region>,
    found: &Found,
    hasher: &Hasher,
) -> Result<(Vec<Shard>, coremap::shard::Report), Box<dyn Error>> {
    let progress = Progress::default();
    Ok(recover(region, found, hasher, &progress, Mode::Refuse)?)
}

fn fill(shard: &mut Shard, key_count: u64) {
    let shard_count = u16::try_from(shard.region().shard_count()).expect("few");
    for number in 0..key_count {
        let key = format!("key:{number:012}");
        if shard_of_slot(cluster_slot(key.as_bytes()), shard_count) == shard.id() {
            let key = shard.key(key.as_bytes());
            let stored = shard.store(key, b"eightlen", Attributes::default(), 1);
            stored.expect("4 GiB are enough");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / 1e6 / seconds
}

#[expect(clippy::disallowed_methods, reason = "this measures real time")]
fn now() -> Instant {
    Instant::now()
}
