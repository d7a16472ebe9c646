//! The packet rules of Services: `timonier_traffic::rules` in the kernel.
//!
//! ```text
//! prerouting, output (nat) ─► services ─► services map  vip . proto . port  ─► vip-all3-in …
//!                                    └──► nodeports map       proto . port  ─► node-all3-ext …
//! vip-all3-in: dnat to endpoints map  vip . proto . port . random 0..3
//! postrouting (nat): marked packets and hairpins get the node's address
//! input, forward, output (filter): blocked map ─► reject, drop
//! prerouting (filter, before nat): sources of load balancer addresses
//! ```
//!
//! Number and size of the chains do not depend on the number of Services.

pub(crate) mod encode;
pub(crate) mod schema;

use std::collections::BTreeMap;

use timonier_traffic::rules::{Changes, Element};

use crate::error::Context;
use crate::netlink::Socket;
use crate::nft::{self, Batch, ElementBytes};
use crate::{NetworkConfig, Result};

/// The table of a cluster's Service rules on a node.
pub struct ServiceTable {
    config: NetworkConfig,
    table: String,
    socket: Socket,
}

/// The name of the table for Services.
pub(crate) fn table_name(config: &NetworkConfig) -> String {
    format!("{}-services", config.table)
}

impl ServiceTable {
    /// Opens a connection to the kernel; changes nothing yet. Needs root.
    pub fn open(config: &NetworkConfig) -> Result<ServiceTable> {
        let socket = Socket::netfilter().what(|| "netlink socket for nf_tables".into())?;
        Ok(ServiceTable { config: config.clone(), table: table_name(config), socket })
    }

    /// Replaces whatever the table holds by these rules, in one transaction. What clients are
    /// stuck to is kept, and so are connections.
    pub fn load(&mut self, everything: &Changes) -> Result<()> {
        let Err(error) = self.try_load(everything) else { return Ok(()) };
        // A table of another version may not fit. Then it goes, with what clients are stuck to.
        tracing::warn!(table = %self.table, %error, "packet rules of before do not fit; starting anew");
        let mut batch = Batch::new(&self.table);
        batch.add_table();
        batch.delete_table();
        batch.commit(&mut self.socket)?;
        self.try_load(everything)
    }

    fn try_load(&mut self, everything: &Changes) -> Result<()> {
        let old = nft::chains(&mut self.socket, &self.table)
            .what(|| format!("list the chains of {}", self.table))?;
        let mut batch = Batch::new(&self.table);
        batch.add_table();
        if !old.is_empty() {
            old.iter().for_each(|chain| batch.flush_chain(chain));
            let kept = schema::SETS.iter().filter(|s| s.dynamic == 0);
            // A set that an older table does not have fails here, and the caller starts anew.
            kept.for_each(|set| batch.flush_set(set.name));
            let fixed = schema::chain_names();
            // Chains that lead to others go first; names sort that way only by this rule.
            let (split, plain): (Vec<&String>, Vec<&String>) = old
                .iter()
                .filter(|c| !fixed.contains(&c.as_str()))
                .partition(|c| c.contains("-split"));
            split.into_iter().chain(plain).for_each(|chain| batch.delete_chain(chain));
        }
        schema::fill(&mut batch, &self.config);
        self.write(&mut batch, everything);
        batch.commit(&mut self.socket)
    }

    /// Carries changes out in one transaction.
    pub fn apply(&mut self, changes: &Changes) -> Result<()> {
        let table = self.table.clone();
        let mut batch = Batch::new(&table);
        self.write(&mut batch, changes);
        batch.commit(&mut self.socket)
    }

    /// Whether the table is there with its chains. Other programs may remove it: `nft flush
    /// ruleset` is how firewalls of many hosts begin.
    pub fn is_there(&mut self) -> Result<bool> {
        let chains = nft::chains(&mut self.socket, &self.table)
            .what(|| format!("list the chains of {}", self.table))?;
        Ok(schema::chain_names().iter().all(|name| chains.iter().any(|c| c == name)))
    }

    /// Reads the elements of all sets back, by set.
    pub fn dump(&mut self) -> Result<BTreeMap<&'static str, Vec<ElementBytes>>> {
        let mut all = BTreeMap::new();
        for set in schema::SETS {
            let elements = nft::elements(&mut self.socket, &self.table, set.name)
                .what(|| format!("list set {} of {}", set.name, self.table))?;
            all.insert(set.name, elements);
        }
        Ok(all)
    }

    /// The bytes that elements have in [`ServiceTable::dump`], by set.
    pub fn encode(elements: &[Element]) -> BTreeMap<&'static str, Vec<ElementBytes>> {
        let mut sets: BTreeMap<&'static str, Vec<ElementBytes>> = BTreeMap::new();
        for element in elements {
            let (set, bytes) = encode::element(element);
            sets.entry(set).or_default().push(bytes);
        }
        sets
    }

    fn write(&self, batch: &mut Batch<'_>, changes: &Changes) {
        for chain in &changes.add_chains {
            let name = chain.name();
            batch.add_chain(&name, None);
            for rule in schema::chain_rules(chain, &self.config) {
                batch.add_rule(&name, &rule);
            }
        }
        for (set, elements) in Self::encode(&changes.remove) {
            batch.delete_elements(set, &elements);
        }
        for (set, elements) in Self::encode(&changes.add) {
            batch.add_elements(set, &elements);
        }
        for chain in &changes.remove_chains {
            let name = chain.name();
            batch.flush_chain(&name);
            batch.delete_chain(&name);
        }
    }
}
