//! Interactive streams: exec, attach and port-forward over SPDY or WebSocket.

mod forward;
mod negotiate;
mod over_spdy;
mod over_websocket;
mod remote;

pub use forward::{Target, over_channels as forward_over_channels, over_spdy as forward_over_spdy};
pub use negotiate::{Upgrade, negotiate, response};
pub use over_spdy::remote as remote_over_spdy;
pub use over_websocket::remote as remote_over_websocket;
pub use remote::{Remote, Wanted, run};
