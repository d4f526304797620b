//! The settings of a rehearsal server: a small machine, a whole migration.

use std::path::Path;

/// Below this much shared memory in `/dev/shm`, parallel queries use files instead.
const SMALL_SHARED_MEMORY: u64 = 256 * 1024 * 1024;

/// One setting and its value.
pub type Setting = (String, String);

/// What every rehearsal server starts with, before the settings that the caller adds.
///
/// Writes reach the disk as in production, because crashes are rehearsed.
pub fn defaults(major: i32, preloaded: Option<&str>) -> Vec<Setting> {
    let mut all: Vec<(&str, &str)> = vec![
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("max_connections", "200"),
        // A run may hold several batches, each with a slot, a sender, a worker and an origin; the
        // tests hold dozens of runs on one pair.
        ("wal_level", "logical"),
        ("max_replication_slots", "100"),
        ("max_wal_senders", "100"),
        ("max_logical_replication_workers", "100"),
        ("max_worker_processes", "120"),
        // A follower that stays away must not fill the disk.
        ("max_slot_wal_keep_size", "8GB"),
        ("max_prepared_transactions", "10"),
        // A lost peer is noticed soon, and followed again soon, but not on a busy machine's hiccup.
        ("wal_sender_timeout", "30s"),
        ("wal_receiver_timeout", "30s"),
        ("wal_retrieve_retry_interval", "500ms"),
        ("shared_buffers", "256MB"),
        ("maintenance_work_mem", "256MB"),
        ("max_wal_size", "4GB"),
        ("log_line_prefix", "%m [%p] %q%u@%d %a "),
    ];
    if major >= 18 {
        all.push(("max_active_replication_origins", "100"));
    }
    if shared_memory_is_small(Path::new("/dev/shm")) {
        all.push(("dynamic_shared_memory_type", "mmap"));
    }
    if let Some(library) = preloaded {
        all.push(("shared_preload_libraries", library));
    }
    all.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// The text of a configuration file; of a name that comes twice, the server takes the last.
pub fn file<'a>(settings: impl IntoIterator<Item = &'a Setting>) -> String {
    let line = |(name, value): &Setting| {
        format!("{name} = '{}'\n", value.replace('\\', "\\\\").replace('\'', "''"))
    };
    settings.into_iter().map(line).collect()
}

fn shared_memory_is_small(place: &Path) -> bool {
    rustix::fs::statvfs(place).map_or(true, |it| it.f_blocks * it.f_frsize < SMALL_SHARED_MEMORY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_servers_count_origins() {
        let has = |major| defaults(major, None).iter().any(|(name, _)| name.contains("origins"));
        assert!(has(18) && !has(17));
    }

    #[test]
    fn values_are_quoted() {
        let setting = ("a.b".to_string(), r"it's \ x".to_string());
        assert_eq!(file([&setting]), "a.b = 'it''s \\\\ x'\n");
    }

    #[test]
    fn a_place_that_is_missing_counts_as_small() {
        assert!(shared_memory_is_small(Path::new("/does/not/exist")));
    }
}
