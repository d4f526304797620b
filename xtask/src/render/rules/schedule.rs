//! Rules about jobs: they run, they end, and a backup is proved.

use super::{Report, Rule, Set};
use crate::render::object::items;
use crate::render::values::scalar::is_schedule;

pub(super) const RULES: [Rule; 4] = [
    Rule::new("cron-schedule", "a job that never runs, or at another hour", cron),
    Rule::new("job-limits", "a job that runs for ever", limits),
    Rule::new("backup-proved", "a backup that nobody ever restored", proved),
    Rule::new("alert-rules", "a disaster that nobody is told of", alerts),
];

fn cron(set: &Set, report: &mut Report) {
    for object in set.of("CronJob") {
        let schedule = object.text("spec.schedule");
        if !is_schedule(schedule) {
            let problem = format!("`{schedule}` is no schedule of five fields");
            report.add(object, "spec.schedule", problem, "write minute hour day month weekday");
        }
        if object.text("spec.timeZone") != "Etc/UTC" {
            let problem = "the hour depends on where the controller runs";
            report.add(object, "spec.timeZone", problem, "set Etc/UTC");
        }
    }
}

fn limits(set: &Set, report: &mut Report) {
    for object in set.objects {
        let path = match object.key.kind.as_str() {
            "Job" => "spec",
            "CronJob" => "spec.jobTemplate.spec",
            _ => continue,
        };
        for field in ["backoffLimit", "activeDeadlineSeconds"] {
            let path = format!("{path}.{field}");
            if object.at(&path).as_u64().is_none() {
                report.add(object, &path, "the job may run for ever", "set a limit");
            }
        }
    }
}

fn proved(set: &Set, report: &mut Report) {
    if set.values.backup.is_none() {
        return;
    }
    let name = |suffix: &str| format!("{}-{suffix}", set.values.names.workload);
    for suffix in ["backup", "verify"] {
        let runs = set
            .of("CronJob")
            .any(|job| job.key.name == name(suffix) && job.at("spec.suspend") != true);
        if !runs && let Some(object) = set.of("NetworkPolicy").next() {
            let problem = format!("the CronJob {} is missing or suspended", name(suffix));
            report.add(object, "", problem, "render templates/apps/paradedb/backup.yaml.j2");
        }
    }
    for script in set.of("ConfigMap").filter(|map| map.key.name == name("backup")) {
        for (key, wanted) in [
            ("dump.sh", ["--format=custom", "sha256sum", "pg_restore --list"]),
            ("verify.sh", ["sha256sum --check", "initdb", "pg_restore --exit-on-error"]),
        ] {
            let text = script.at("data")[key].as_str().unwrap_or_default();
            for step in wanted.iter().filter(|step| !text.contains(**step)) {
                let problem = format!("the step `{step}` is missing");
                report.add(script, &format!("data.{key}"), problem, "restore it");
            }
        }
    }
}

fn alerts(set: &Set, report: &mut Report) {
    let Some(monitoring) = set.values.monitoring.as_ref().filter(|one| one.operator) else {
        return;
    };
    let mut wanted = vec![
        ("pg_replication_lag_seconds", format!("> {}", monitoring.lag.0)),
        ("pg_replication_slots_pg_wal_lsn_diff", "> ".into()),
        ("kubelet_volume_stats_used_bytes", "> ".into()),
        ("rag_query_latency_seconds_bucket", "0.95".into()),
    ];
    if set.values.backup.is_some() {
        wanted.push(("kube_cronjob_status_last_successful_time", "> ".into()));
    }
    for object in set.of("PrometheusRule") {
        let groups = items(object.at("spec.groups")).iter();
        let rules: Vec<&str> = groups
            .flat_map(|group| items(&group["rules"]))
            .filter_map(|rule| rule["expr"].as_str())
            .collect();
        for (metric, limit) in &wanted {
            if !rules.iter().any(|rule| rule.contains(metric) && rule.contains(limit)) {
                let problem = format!("no alert watches {metric}");
                report.add(object, "spec.groups", problem, "restore it");
            }
        }
    }
}
