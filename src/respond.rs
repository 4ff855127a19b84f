//! From a finding to an action in Incydr, with a trail. The responder's alone: no file of the collector knows of it.
//!
//! * [`event`]: what an invocation asks for, whoever sent it; [`handler`]: an event in, an answer out
//! * [`request`], [`action`], [`fields`]: what is asked for, read and checked
//! * [`act`]: claim, intent, read, send, read back, result: the story; of it [`approval`] is who may, and [`sending`] what is
//!   sent and read back
//! * [`resolve`]: names become ids, and an action a [`goal`]; [`leavers`]: a list from an HR system
//! * [`goal`]: what is to be so, and which writes are left to make it so; [`state`]: what is so
//! * [`reads`]: the actions that only read
//! * [`store`]: claims, locks, results and the trail in S3
//! * [`api`]: one exchange with the API; [`answer`], [`told`], [`error`]: what is told; [`settings`]

pub mod act;
pub mod action;
pub mod answer;
pub mod api;
pub mod approval;
pub mod error;
pub mod event;
pub mod fields;
pub mod goal;
pub mod handler;
pub mod leavers;
pub mod reads;
pub mod request;
pub mod resolve;
pub mod sending;
pub mod settings;
pub mod state;
pub mod store;
pub mod told;
