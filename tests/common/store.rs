//! The shards of one region in a file, without a server around them.
//!
//! A process that is killed leaves the file as its stores have made it. So dropping a [`Store`] and
//! opening its folder again is a kill, and rounds run where the test says so.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use coremap::hash::{Hasher, cluster_slot, shard_of_slot};
use coremap::region::{Access, FileOptions, Region, RegionOptions};
use coremap::shard::{
    Attributes, Mode, OutOfMemory, Progress, RecoverError, Report, Shard, recover,
};

/// What a file's shards hold: values by key.
pub(crate) type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// A region with its shards.
pub(crate) struct Store {
    pub(crate) shards: Vec<Shard>,
    pub(crate) region: Arc<Region>,
    pub(crate) report: Report,
}

/// How a file is opened.
#[derive(Clone, Copy)]
pub(crate) struct Opening {
    pub(crate) maxmemory_bytes: u64,
    pub(crate) shard_count: usize,
    pub(crate) access: Access,
    pub(crate) mode: Mode,
    pub(crate) on_sync: Option<fn(bool)>,
}

impl Opening {
    /// To be served, if it is not damaged.
    pub(crate) const fn new(maxmemory_bytes: u64, shard_count: usize) -> Self {
        Self {
            maxmemory_bytes,
            shard_count,
            access: Access::Serve,
            mode: Mode::Refuse,
            on_sync: None,
        }
    }

    /// With somebody who is told of every sync of the file, before it and when it is done.
    pub(crate) const fn witnessed_by(self, on_sync: fn(bool)) -> Self {
        Self {
            on_sync: Some(on_sync),
            ..self
        }
    }

    /// Whatever is wrong with its records.
    pub(crate) const fn salvaging(self) -> Self {
        Self {
            access: Access::Salvage,
            mode: Mode::Salvage,
            ..self
        }
    }

    /// To be looked at only.
    pub(crate) const fn inspecting(self) -> Self {
        Self {
            access: Access::Inspect,
            mode: Mode::Inspect,
            ..self
        }
    }

    pub(crate) fn region(
        self,
        folder: &Path,
    ) -> Result<(Arc<Region>, coremap::region::Found), coremap::error::Error> {
        let region = RegionOptions {
            maxmemory_bytes: self.maxmemory_bytes,
            shard_count: self.shard_count,
        };
        let options = FileOptions {
            capacity_bytes: Some(self.maxmemory_bytes),
            secret: Some(7),
            on_sync: self.on_sync,
            ..FileOptions::new(region, self.access)
        };
        let (region, found) = Region::open(folder, options)?;
        Ok((Arc::new(region), found))
    }

    pub(crate) fn open(self, folder: &Path) -> Result<Store, RecoverError> {
        let (region, found) = self.region(folder).expect("a file that opens");
        let hasher = Hasher::new([1, 2, 3, 4]);
        let progress = Progress::default();
        let (shards, report) = recover(&region, &found, &hasher, &progress, self.mode)?;
        Ok(Store {
            shards,
            region,
            report,
        })
    }
}

impl Store {
    /// Where a key belongs.
    pub(crate) fn shard_of(&self, key: &[u8]) -> usize {
        let count = u16::try_from(self.shards.len()).expect("few shards");
        usize::from(shard_of_slot(cluster_slot(key), count))
    }

    pub(crate) fn shard(&mut self, key: &[u8]) -> &mut Shard {
        let shard = self.shard_of(key);
        &mut self.shards[shard]
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), OutOfMemory> {
        let shard = self.shard(key);
        let key = shard.key(key);
        shard.store(key, value, Attributes::default(), 0).map(drop)
    }

    pub(crate) fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let shard = self.shard(key);
        let found = shard.find(shard.key(key), 0);
        found.map(|value| value.bytes.to_vec())
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Result<bool, OutOfMemory> {
        let shard = self.shard(key);
        shard.remove(shard.key(key), 0)
    }

    /// Everything one shard holds.
    pub(crate) fn content_of(&mut self, shard: usize) -> Content {
        let shard = &mut self.shards[shard];
        let mut content = Content::new();
        let mut cursor = 0;
        loop {
            cursor = shard.scan(cursor, 1000, 0, &mut |key, value| {
                content.insert(key.to_vec(), value.bytes.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(shard.len(), content.len() as u64, "no key is there twice");
        content
    }

    /// Everything there is.
    pub(crate) fn content(&mut self) -> Content {
        let shards = 0..self.shards.len();
        shards.flat_map(|shard| self.content_of(shard)).collect()
    }
}
