//! Databases of other pools, with all that is odd in them: dangling references, old versions, hosts without metrics.

use innkeeper::provider::{Freshness, Provider};

use crate::pool;

/// Every database in the directory that `INNKEEPER_POOL_DATABASES` names is loaded and read. Pitfalls 23, 24, 35.
#[tokio::test]
async fn pools_of_others_are_read() {
    let Some(directory) = std::env::var_os("INNKEEPER_POOL_DATABASES") else {
        eprintln!("skipped: set INNKEEPER_POOL_DATABASES to a directory of pool databases");
        return;
    };
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let Some(pool) = pool::sim(&["--load", file.to_str().unwrap()]).await else { return };
        let provider = pool.connect().await;
        let inventory = provider.inventory().await.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(!inventory.hosts.is_empty() && !inventory.images.is_empty(), "{}", file.display());
        for host in &inventory.hosts {
            assert!(host.guests.is_empty());
            assert!(host.schedulable != host.reason.is_some(), "{host:?}");
            if host.schedulable {
                assert!(host.memory_overhead < host.memory_total && host.cpus > 0, "{}: {host:?}", file.display());
            }
        }
        assert!(provider.list(Freshness::Live).await.unwrap().is_empty());
        eprintln!(
            "{}: {} hosts, {} templates, {}",
            file.display(),
            inventory.hosts.len(),
            inventory.images.len(),
            inventory.version
        );
        provider.close().await;
    }
}
