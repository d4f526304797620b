//! Reasons why workloads of a cluster could not be stopped, or not be given back what they had.

use super::Refusal;
use crate::kube::workloads::Workloads;

/// What would stop the workloads of a cluster from being stopped, or given back what they had.
pub async fn find(workloads: &Workloads) -> Vec<Refusal> {
    let context = workloads.cluster.context();
    let lacking = match workloads.lacks().await {
        Ok(lacking) => lacking,
        Err(error) => {
            let fix = format!("kubectl --context {context} cluster-info");
            return vec![Refusal::new("cluster-silent", format!("{error:#}"), fix)];
        }
    };
    let mut all: Vec<Refusal> = lacking
        .iter()
        .map(|right| {
            let fix = format!("a Role for it: kubectl --context {context} auth can-i {right}");
            Refusal::new("cluster-rights", format!("in the cluster the tool may not {right}"), fix)
        })
        .collect();
    if let Err(error) = workloads.former().await {
        let fix = "name the workloads as the cluster has them";
        all.push(Refusal::new("workload-missing", format!("{error:#}"), fix));
    }
    all
}
