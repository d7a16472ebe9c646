//! netlink, nf_tables, network namespaces.
