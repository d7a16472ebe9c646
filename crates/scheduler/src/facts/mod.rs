//! What the scheduler holds of nodes and pods: read once per change, never per node and pod.

mod affinity;
mod node;
mod pod;
mod resources;
mod tolerations;

pub use affinity::{NodeAffinity, NodeTerm, PodTerm, Weighted};
pub use node::{Labels, NodeFacts, Taint};
pub use pod::{ClaimUse, HostPort, Inclusion, PodFacts, SpreadConstraint};
pub use resources::Resources;
pub use tolerations::{Effect, Toleration, tolerated, untolerated};
