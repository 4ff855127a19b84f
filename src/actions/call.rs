//! The arguments that every action takes.

use crate::actions::clients::Clients;
use crate::core::settings::Settings;
use crate::core::time::Millis;

/// One invocation of the function.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub settings: &'a Settings,
    pub clients: &'a Clients,
    pub run_id: &'a str,
    /// Lambda ends the process at this instant.
    pub deadline: Millis,
}
