//! Numbers of the kernel's interface (linux/netfilter/nf_tables.h, linux/netfilter.h).

pub const SUBSYSTEM: u16 = 10 << 8;
pub const BATCH_BEGIN: u16 = 16;
pub const BATCH_END: u16 = 17;

pub const NEW_TABLE: u16 = SUBSYSTEM;
pub const GET_TABLE: u16 = SUBSYSTEM | 1;
pub const DELETE_TABLE: u16 = SUBSYSTEM | 2;
pub const NEW_CHAIN: u16 = SUBSYSTEM | 3;
pub const GET_CHAIN: u16 = SUBSYSTEM | 4;
pub const DELETE_CHAIN: u16 = SUBSYSTEM | 5;
pub const NEW_RULE: u16 = SUBSYSTEM | 6;
pub const DELETE_RULE: u16 = SUBSYSTEM | 8;
pub const NEW_SET: u16 = SUBSYSTEM | 9;
pub const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
pub const GET_ELEMENT: u16 = SUBSYSTEM | 13;
pub const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;

pub const FAMILY_V4: u32 = 2;
pub const VERDICT_REGISTER: u32 = 0;
pub const FIRST_REGISTER: u32 = 8;
pub const VERDICT_DATA: u32 = 0xffff_ff00;
pub const NAT_FULLY_RANDOM: u32 = 1 << 4;

pub const META_MARK: u32 = 3;
pub const META_IN_NAME: u32 = 6;
pub const META_OUT_NAME: u32 = 7;
pub const META_PROTOCOL: u32 = 16;
pub const CT_STATE: u32 = 0;
pub const CT_STATUS: u32 = 2;
/// `ct state invalid`.
pub const STATE_INVALID: u32 = 1;
/// `ct state new`.
pub const STATE_NEW: u32 = 8;
/// `ct status dnat`.
pub const STATUS_DNAT: u32 = 1 << 5;
pub const ROUTE_LOCAL: u32 = 2;

/// Hooks of IPv4 (linux/netfilter.h).
pub const PREROUTING: u32 = 0;
pub const INPUT: u32 = 1;
pub const FORWARD: u32 = 2;
pub const OUTPUT: u32 = 3;
pub const POSTROUTING: u32 = 4;
