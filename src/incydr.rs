//! The API: its client, and the facts about each stream.
//!
//! * [`client`]: what asks, and asks again; [`listing`]: a list, page by page; [`page`]: a page as it arrives
//! * [`connection`]: one try, within the [`budget`]; [`exchange`]: the way to the API and back; [`ca_bundle`]: whom its TLS trusts; [`lanes`]: how many windows are read at once
//! * [`saved_search`]: which file events are wanted
//! * [`sign_in`]: the secret, and the [`token`] that it is exchanged for
//! * [`facts`]: one file a stream: where its records are, how it is paged and timed

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
pub mod saved_search;
pub mod sign_in;
pub mod token;
