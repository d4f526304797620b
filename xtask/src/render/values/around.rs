//! What stands around the server: pooling, backups, monitoring, jobs.

use std::collections::BTreeMap;

use super::explain::values;
use super::scalar::{Address, Bytes, Cidr, Cores, Days, DnsName, Identifier, Schedule, Seconds};
use super::server::OtherImage;

values! {
    /// PgBouncer in front of the server; a cutover pauses it and flips what it dials.
    pub struct Pooler {
        /// The image of PgBouncer, 1.25.2 or later.
        image: OtherImage;
        /// A Secret whose key `userlist.txt` holds PgBouncer's and the administrator's password.
        secret: DnsName;
        /// The role that may PAUSE and RESUME.
        administrator: Identifier = Identifier::fixed("xtask_admin");
        /// The role that looks passwords up in the server.
        lookup: Identifier = Identifier::fixed("pgbouncer");
        /// Where the server is that PgBouncer dials at first; a cutover changes it.
        serving: Vec<Address>;
        /// Port of that server.
        serving_port: u16 = 5432;
        /// Server connections per user and database.
        pool_size: u32 = 20;
        /// Most clients at once.
        max_clients: u32 = 1000;
        /// Longest time that a client waits while the pool is paused.
        query_wait: Seconds = Seconds(120);
        /// Memory of one pod.
        memory: Bytes = Bytes::mebibytes(128);
        /// Processor time of one pod.
        cpu: Cores = Cores::milli(250);
    }

    /// Logical dumps with checksum, retention and a restore that proves them.
    pub struct Backup {
        /// When the dump runs.
        schedule: Schedule;
        /// When the newest dump is restored into a scratch server.
        verify_schedule: Schedule;
        /// How long a dump is kept.
        keep: Days = Days(14);
        /// Dumps that are kept however old they are.
        keep_at_least: u32 = 3;
        /// Size of the claim that holds the dumps.
        size: Bytes;
        /// StorageClass of that claim.
        class: DnsName = DnsName::fixed("local-path");
        /// Longest time for one dump.
        deadline: Seconds = Seconds(3600);
        /// Memory of a dump, and of the scratch server that proves it.
        memory: Bytes = Bytes::mebibytes(512);
        /// Processor time of a dump.
        cpu: Cores = Cores::milli(500);
        /// Object storage that each dump is copied to.
        s3: Option<ObjectStorage> = None;
    }

    /// A bucket that speaks S3.
    pub struct ObjectStorage {
        /// The image of rclone.
        image: OtherImage;
        /// Address of the service.
        endpoint: String;
        /// Region, where the service has them.
        region: String = "default".into();
        /// The bucket, with a prefix if wanted.
        bucket: String;
        /// A Secret whose key `credentials` is an AWS credentials file.
        secret: DnsName;
        /// Addresses of the service, for the network policy.
        addresses: Vec<Cidr>;
        /// Port of the service.
        port: u16 = 443;
    }

    /// Figures and alerts.
    pub struct Monitoring {
        /// The image of the exporter.
        image: OtherImage;
        /// The role that the exporter logs in as.
        role: Identifier = Identifier::fixed("monitor");
        /// Namespace of Prometheus, which may connect to the exporter.
        namespace: DnsName;
        /// Whether the cluster knows PodMonitor and PrometheusRule.
        operator: bool = true;
        /// Labels that Prometheus selects monitors and rules by.
        labels: BTreeMap<String, String> = BTreeMap::new();
        /// Replication lag that raises an alert.
        lag: Seconds = Seconds(30);
        /// WAL kept for a slot that raises an alert.
        slot_wal: Bytes = Bytes::mebibytes(2048);
        /// Share of the disk in use that raises an alert, in percent.
        disk_percent: u32 = 80;
        /// 95th percentile of a search that raises an alert, in milliseconds.
        search_milliseconds: u32 = 200;
        /// Age of the newest backup that raises an alert.
        backup_age: Seconds = Seconds(93_600);
    }

    /// Migrations as a Sync hook, after the server is healthy.
    pub struct Migrate {
        /// An image that holds this tool and the migrations.
        image: OtherImage;
        /// What the image runs.
        command: Vec<String>;
        /// Longest time for all migrations.
        deadline: Seconds = Seconds(1800);
    }
}
