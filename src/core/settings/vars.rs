//! Looks environment variables up, and remembers those that are set.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::str::FromStr;

use super::checks::bad;
use super::error::SettingsError;
use crate::core::digest::sha256;

pub struct Vars<F> {
    var: F,
    /// The variables that were looked up and are set.
    set: RefCell<BTreeMap<String, String>>,
}

impl<F: Fn(&str) -> Option<String>> Vars<F> {
    pub fn new(var: F) -> Self {
        Self { var, set: RefCell::default() }
    }

    /// Returns a variable's value, or none if it is not set or empty.
    pub fn get(&self, name: &str) -> Option<String> {
        self.raw(name).filter(|held| !held.is_empty())
    }

    /// Returns a variable's value. An empty one is `Some("")`.
    pub fn raw(&self, name: &str) -> Option<String> {
        let held = (self.var)(name)?.trim().to_owned();
        self.set.borrow_mut().insert(name.to_owned(), held.clone());
        Some(held)
    }

    /// Like `get`, for a variable that is not part of the hash.
    pub fn look_up(&self, name: &str) -> Option<String> {
        (self.var)(name).map(|held| held.trim().to_owned()).filter(|held| !held.is_empty())
    }

    /// The SHA-256, in hex, of the variables that are set. An empty one counts as absent, except for the two to which
    /// an empty value means something.
    pub fn hash(&self) -> String {
        let mut set = self.set.borrow().clone();
        set.retain(|name, held| !held.is_empty() || ["RECONCILE_MINUTES", "VOLATILE_FIELDS"].contains(&name.as_str()));
        sha256(serde_json::to_vec(&set).unwrap_or_default())
    }

    pub fn or(&self, name: &str, default: &str) -> String {
        self.get(name).unwrap_or_else(|| default.to_owned())
    }

    pub fn required(&self, name: &'static str, takes: &'static str) -> Result<String, SettingsError> {
        self.get(name).ok_or(SettingsError::Missing { name, takes })
    }

    pub fn number<N>(&self, name: &'static str, default: N, least: N, most: N) -> Result<N, SettingsError>
    where
        N: FromStr + PartialOrd + std::fmt::Display + Copy,
    {
        let Some(held) = self.get(name) else { return Ok(default) };
        match held.parse() {
            Ok(number) if least <= number && number <= most => Ok(number),
            _ => Err(bad(name, &held, format!("it takes a whole number from {least} to {most}"))),
        }
    }
}
