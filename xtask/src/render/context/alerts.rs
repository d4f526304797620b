//! The alerts: what wakes a person, and when.

use serde_json::{Value, json};

use crate::render::values::around::Monitoring;
use crate::render::values::choice::{StorageKind, Workload};
use crate::render::values::{Environment, Values};

/// The alerts of one environment; none without monitoring.
pub fn facts(environment: &Environment) -> Value {
    let values = &environment.values;
    let Some(monitoring) = &values.monitoring else { return json!({"alerts": []}) };
    let mut all = of_server(values, monitoring);
    if values.backup.is_some() {
        all.extend(of_backups(values, monitoring));
    }
    json!({"alerts": all})
}

fn alert(name: &str, expression: String, during: &str, severity: &str, summary: &str) -> Value {
    json!({
        "name": name, "expression": expression, "during": during,
        "severity": severity, "summary": summary,
    })
}

/// The claim of the data, as the cluster names it.
fn claim(values: &Values) -> String {
    let claim = &values.storage.claim;
    match (values.workload, values.storage.kind) {
        (Workload::StatefulSet, StorageKind::Template) => {
            format!("{claim}-{}-0", values.names.workload)
        }
        _ => claim.to_string(),
    }
}

fn of_server(values: &Values, monitoring: &Monitoring) -> Vec<Value> {
    let here = format!("namespace=\"{}\"", values.namespace.name);
    let volume = format!("{{{here},persistentvolumeclaim=\"{}\"}}", claim(values));
    let used = format!("kubelet_volume_stats_used_bytes{volume}");
    let share = f64::from(monitoring.disk_percent) / 100.0;
    let search = f64::from(monitoring.search_milliseconds) / 1000.0;
    let slot_wal = monitoring.slot_wal.in_mebibytes() << 20;
    let slots = format!("max by (slot_name) (pg_replication_slots_pg_wal_lsn_diff{{{here}}})");
    let searches = format!("sum by (le) (rate(rag_query_latency_seconds_bucket{{{here}}}[5m]))");
    vec![
        alert(
            "ParadedbDown",
            format!("pg_up{{{here}}} == 0"),
            "2m",
            "critical",
            "The exporter cannot reach the database.",
        ),
        alert(
            "ParadedbReplicationLag",
            format!("max(pg_replication_lag_seconds{{{here}}}) > {}", monitoring.lag.0),
            "5m",
            "warning",
            "Replication is behind: a way back may be at risk.",
        ),
        alert(
            "ParadedbSlotKeepsWal",
            format!("{slots} > {slot_wal}"),
            "5m",
            "critical",
            "A replication slot keeps WAL: the disk may fill.",
        ),
        alert(
            "ParadedbDiskFull",
            format!("{used} / kubelet_volume_stats_capacity_bytes{volume} > {share}"),
            "5m",
            "critical",
            "The volume of the database is nearly full.",
        ),
        alert(
            "ParadedbSearchSlow",
            format!("histogram_quantile(0.95, {searches}) > {search}"),
            "10m",
            "warning",
            "The 95th percentile of searches is over its limit.",
        ),
    ]
}

fn of_backups(values: &Values, monitoring: &Monitoring) -> Vec<Value> {
    let here = format!("namespace=\"{}\"", values.namespace.name);
    let workload = &values.names.workload;
    let last = format!(
        "max(kube_cronjob_status_last_successful_time{{{here},cronjob=\"{workload}-backup\"}})"
    );
    let jobs = format!("{{{here},job_name=~\"{workload}-(backup|verify)-.*\"}}");
    vec![
        alert(
            "ParadedbBackupOld",
            format!("time() - {last} > {}", monitoring.backup_age.0),
            "10m",
            "critical",
            "The newest backup is too old.",
        ),
        alert(
            "ParadedbBackupUnproved",
            format!("kube_job_status_failed{jobs} > 0"),
            "1m",
            "critical",
            "A backup, or the restore that proves one, failed.",
        ),
    ]
}
