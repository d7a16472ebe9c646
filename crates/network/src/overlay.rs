//! The way to other nodes' pods.

use crate::NetworkConfig;

/// The overlay's interface.
pub(crate) fn interface(config: &NetworkConfig) -> String {
    format!("{}-vx", config.interface_prefix)
}
