//! Manifests: what is rendered, what is refused, and what a change would do. No server is needed.

#[cfg(test)]
#[path = "render/bench.rs"]
mod bench;
#[cfg(test)]
#[path = "render/changes.rs"]
mod changes;
#[cfg(test)]
#[path = "render/cluster.rs"]
mod cluster;
#[cfg(test)]
#[path = "render/guard.rs"]
mod guard;
#[cfg(test)]
#[path = "render/hostile.rs"]
mod hostile;
#[cfg(test)]
#[path = "render/mutations.rs"]
mod mutations;
#[cfg(test)]
#[path = "render/shapes.rs"]
mod shapes;
#[cfg(test)]
#[path = "render/validators.rs"]
mod validators;
#[cfg(test)]
#[path = "render/workspace.rs"]
mod workspace;

#[cfg(test)]
use shapes::{cnpg, every_shape, external, rendered, root, sealed, values};
