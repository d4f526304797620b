//! Manifests: what is rendered, what is refused, and what a change would do. No server is needed.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod crds;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod tool;
#[cfg(test)]
mod validators;
#[cfg(test)]
mod workspace;

#[cfg(test)]
use shapes::{cnpg, every_shape, external, rendered, root, sealed, values};
