//! The API: its client, and the facts about each stream.
//!
//! * [`listing`]: reads a list page by page; [`page`]: reads one page while it arrives; [`list_row`]: a row of it
//! * [`client`]: sends a request, with retries; [`connection`]: makes one attempt; [`exchange`]: carries it to the API
//!   and back
//! * [`budget`]: limits requests per minute; [`lanes`]: limits windows that are read at once; [`api_clock`]: the API's
//!   clock, by its answers
//! * [`request`]: a request and its caller; [`http`]: the HTTP client and an answer; [`error`]: a request's errors;
//!   [`ca_bundle`]: the operator's certificate authorities
//! * [`sign_in`]: exchanges the secret for a [`token`]; [`saved_search`]: reads a saved query for file events
//! * [`facts`]: one file for each stream: endpoints, paging, fields

pub mod api_clock;
pub mod budget;
pub mod ca_bundle;
pub mod client;
pub mod connection;
pub mod error;
pub mod exchange;
pub mod facts;
pub mod http;
pub mod lanes;
pub mod list_row;
pub mod listing;
pub mod page;
pub mod request;
pub mod saved_search;
pub mod sign_in;
pub mod token;
