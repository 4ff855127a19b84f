//! The API: its client, and the facts about each stream.
//!
//! * [`client`]: sends a request, with retries; [`listing`]: reads a list page by page; [`page`]: reads one page while
//!   it arrives
//! * [`connection`]: one attempt, within the [`budget`]; [`exchange`]: HTTP, or a simulation; [`ca_bundle`]: additional
//!   certificate authorities; [`lanes`]: how many windows are read at once
//! * [`sign_in`]: reads the secret and exchanges it for a [`token`]
//! * [`facts`]: one file per stream, with its endpoints, paging and fields

pub mod budget;
pub mod ca_bundle;
pub mod client;
pub mod connection;
pub mod error;
pub mod exchange;
pub mod facts;
pub mod http;
pub mod lanes;
pub mod listing;
pub mod page;
pub mod request;
pub mod sign_in;
pub mod token;
