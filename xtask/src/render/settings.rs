//! `postgresql.conf`, computed from the memory limit and the cores by the formulas of ParadeDB's
//! own image. The image applies them once, at its first start; here a changed limit reaches the
//! server.

use super::values::Values;
use super::values::choice::Engine;

/// Largest share of memory that ParadeDB gives to shared buffers, in mebibytes.
const MOST_SHARED_BUFFERS: u64 = 16 * 1024;
/// Largest memory of one index build, in mebibytes.
const MOST_MAINTENANCE: u64 = 2 * 1024;
/// Least memory of one sort, in mebibytes.
const LEAST_WORK_MEM: u64 = 15;

/// What the formulas give for one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// A quarter of the memory, in mebibytes.
    pub shared_buffers: u64,
    /// Three quarters of the memory, in mebibytes.
    pub effective_cache_size: u64,
    /// A sixteenth of the memory, in mebibytes.
    pub maintenance_work_mem: u64,
    /// What is left for each connection, in mebibytes.
    pub work_mem: u64,
    /// Five for each core.
    pub max_parallel_workers: u64,
    /// Half the cores, at least one.
    pub per_gather: u64,
    /// Half the cores, from two to eight.
    pub maintenance_workers: u64,
}

/// Applies ParadeDB's formulas.
pub fn tuning(memory: u64, cores: f64, max_connections: u32) -> Tuning {
    let cores = cores.max(1.0);
    let half = whole(cores / 2.0);
    let shared_buffers = (memory / 4).min(MOST_SHARED_BUFFERS);
    let each = (memory - shared_buffers) / (u64::from(max_connections.max(1)) * 3);
    Tuning {
        shared_buffers,
        effective_cache_size: memory * 3 / 4,
        maintenance_work_mem: (memory / 16).min(MOST_MAINTENANCE),
        work_mem: each.max(LEAST_WORK_MEM),
        max_parallel_workers: whole(cores * 5.0),
        per_gather: half.max(1),
        maintenance_workers: half.clamp(2, 8),
    }
}

/// The whole part of a small positive number.
fn whole(number: f64) -> u64 {
    number as u64
}

/// Every setting, in the order of the file.
pub fn settings(values: &Values) -> Vec<(String, String)> {
    let memory = values.resources.memory.in_mebibytes();
    let max_connections = values.postgresql.max_connections;
    let tuned = tuning(memory, values.resources.cpu.as_number(), max_connections);
    let work_mem = values.postgresql.work_mem.map_or(tuned.work_mem, |set| set.in_mebibytes());
    let slots = values.cutover.as_ref().map_or(0, |cutover| u64::from(cutover.slots));
    let mebibytes = |count: u64| format!("{count}MB");
    let mut all = Vec::new();
    let mut set = |name: &str, value: String| all.push((name.to_string(), value));

    set("listen_addresses", "*".into());
    set("max_connections", max_connections.to_string());
    set("unix_socket_directories", "/var/run/postgresql".into());
    set("shared_preload_libraries", preload(values).join(","));
    set("shared_buffers", mebibytes(tuned.shared_buffers));
    set("effective_cache_size", mebibytes(tuned.effective_cache_size));
    set("maintenance_work_mem", mebibytes(tuned.maintenance_work_mem));
    set("work_mem", mebibytes(work_mem));
    set("dynamic_shared_memory_type", "posix".into());
    set("max_parallel_workers", tuned.max_parallel_workers.to_string());
    set("max_worker_processes", (tuned.max_parallel_workers + 8 + slots).to_string());
    set("max_parallel_workers_per_gather", tuned.per_gather.to_string());
    set("max_parallel_maintenance_workers", tuned.maintenance_workers.to_string());
    set("password_encryption", "scram-sha-256".into());
    set("log_checkpoints", "on".into());
    set("log_lock_waits", "on".into());
    set("log_min_duration_statement", "1s".into());
    set("log_line_prefix", "%m [%p] %q%u@%d ".into());
    set("timezone", "UTC".into());
    set("log_timezone", "UTC".into());
    all.extend(replication(values, slots));
    all.extend(of_libraries(values));
    if values.tls.is_some() {
        all.push(("ssl".into(), "on".into()));
        all.push(("ssl_cert_file".into(), "/etc/postgresql/tls/tls.crt".into()));
        all.push(("ssl_key_file".into(), "/etc/postgresql/tls/tls.key".into()));
    }
    for (name, value) in &values.postgresql.settings {
        all.retain(|(known, _)| known != name);
        all.push((name.clone(), value.clone()));
    }
    all
}

/// The libraries that the engine has.
pub fn preload(values: &Values) -> Vec<&str> {
    let known = |library: &&str| values.engine == Engine::Paradedb || *library != "pg_search";
    values.postgresql.preload.iter().map(|library| library.as_str()).filter(known).collect()
}

/// What logical replication needs in both directions, so that a cutover can also come back.
fn replication(values: &Values, slots: u64) -> Vec<(String, String)> {
    if values.cutover.is_none() {
        return vec![("wal_level".into(), "replica".into())];
    }
    let kept = values.storage.size.in_mebibytes() / 4;
    let mut all = vec![
        ("wal_level", "logical".to_string()),
        ("max_replication_slots", slots.to_string()),
        ("max_wal_senders", slots.to_string()),
        ("max_logical_replication_workers", slots.to_string()),
        ("max_sync_workers_per_subscription", "2".to_string()),
        ("max_slot_wal_keep_size", format!("{kept}MB")),
    ];
    if values.image.postgres_major >= 18 {
        all.push(("max_active_replication_origins", slots.to_string()));
    }
    all.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

/// Settings that only exist where their library is loaded.
fn of_libraries(values: &Values) -> Vec<(String, String)> {
    let all = [
        ("pg_cron", "cron.database_name", "postgres"),
        ("pg_stat_statements", "pg_stat_statements.track", "top"),
    ];
    let loaded = preload(values);
    all.iter()
        .filter(|(library, ..)| loaded.contains(library))
        .map(|(_, name, value)| ((*name).to_string(), (*value).to_string()))
        .collect()
}

/// One line of `postgresql.conf`; no value can end the line or the quotes.
pub fn line(name: &str, value: &str) -> String {
    let quoted = value
        .replace('\\', "\\\\")
        .replace('\'', "''")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t");
    format!("{name} = '{quoted}'\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formulas_are_those_of_the_image() {
        let small = tuning(1024, 1.0, 100);
        assert_eq!((small.shared_buffers, small.work_mem), (256, 15));
        assert_eq!((small.maintenance_work_mem, small.effective_cache_size), (64, 768));
        assert_eq!((small.max_parallel_workers, small.per_gather), (5, 1));
        let large = tuning(256 * 1024, 32.0, 100);
        assert_eq!((large.shared_buffers, large.maintenance_work_mem), (16 * 1024, 2048));
        assert_eq!((large.work_mem, large.maintenance_workers), (819, 8));
    }

    #[test]
    fn a_setting_cannot_end_its_line() {
        assert_eq!(line("a", "it's\n\\x"), "a = 'it''s\\n\\\\x'\n");
    }
}
