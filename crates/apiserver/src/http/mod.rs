//! Bytes in, bytes out: bodies, forms of answers, the connection.

pub mod body;
pub mod connection;
pub mod negotiate;
pub mod respond;
