//! The responder's settings, in addition to those that it shares with the collector.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use crate::core::settings::{Settings, SettingsError};
use crate::respond::action::{NAMES, NEEDS_APPROVAL};

/// The longest time between a request and its approval.
pub const APPROVAL_LASTS: TimeDelta = TimeDelta::hours(24);
/// Tolerance for the difference of two machines' clocks and for a request sent just before the deadline, as in the
/// collector's lease.
pub const GRACE: TimeDelta = TimeDelta::seconds(5);

#[derive(Clone, Debug)]
pub struct RespondSettings {
    pub shared: Settings,
    pub allowed: BTreeSet<String>,
    pub needs_approval: BTreeSet<String>,
    pub max_targets: usize,
    pub daily_limit: u64,
    pub dry_run: bool,
    /// The prefix of claims, locks and results.
    pub requests_prefix: String,
    /// The prefix of the lists that `leavers.sync` may read.
    pub leavers_prefix: String,
    /// The alias through which approvals are valid. The people who may invoke it can be others than those who may
    /// invoke the function itself.
    pub approvals_alias: String,
}

impl RespondSettings {
    /// `var` looks up a variable. The default request budget is small, because the collector needs the rest.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let get = |name: &str| var(name).map(|held| held.trim().to_owned()).filter(|held| !held.is_empty());
        let shared = Settings::from_vars(|name| match name {
            "REQUESTS_PER_MINUTE" => get(name).or_else(|| Some("20".into())),
            name => var(name),
        })?;

        let or = |name: &str, default: &str| get(name).unwrap_or_else(|| default.to_owned());
        let requests_prefix = or("REQUESTS_PREFIX", "incydr-responder/requests/");
        let leavers_prefix = or("LEAVERS_PREFIX", "leavers/");
        for (name, bucket, held) in [
            ("REQUESTS_PREFIX", &shared.state_bucket, &requests_prefix),
            ("LEAVERS_PREFIX", &shared.bucket, &leavers_prefix),
        ] {
            shared.check_apart(bucket, held).map_err(|why| bad(name, held, why))?;
        }
        if requests_prefix.starts_with(&leavers_prefix) || leavers_prefix.starts_with(&requests_prefix) {
            return Err(bad("LEAVERS_PREFIX", &leavers_prefix, "it must lie apart from REQUESTS_PREFIX"));
        }

        // "none" means an empty set. If the variable is unset, the default applies.
        let needs_approval = names("NEEDS_APPROVAL", &or("NEEDS_APPROVAL", NEEDS_APPROVAL))?;
        Ok(Self {
            allowed: names("ALLOWED_ACTIONS", &or("ALLOWED_ACTIONS", "none"))?,
            needs_approval,
            max_targets: usize::try_from(number("MAX_TARGETS", get("MAX_TARGETS"), 25, 100)?).unwrap_or(100),
            daily_limit: number("DAILY_LIMIT", get("DAILY_LIMIT"), 100, 10_000)?,
            dry_run: flag("DRY_RUN", get("DRY_RUN").as_deref())?,
            requests_prefix,
            leavers_prefix,
            approvals_alias: or("APPROVALS_ALIAS", "approved"),
            shared,
        })
    }
}

fn bad(name: &'static str, held: &str, why: impl Into<String>) -> SettingsError {
    SettingsError::Bad { name, held: held.to_owned(), why: why.into() }
}

fn names(name: &'static str, held: &str) -> Result<BTreeSet<String>, SettingsError> {
    if held == "none" {
        return Ok(BTreeSet::new());
    }
    let names = held.split(',').map(str::trim);
    names
        .map(|action| {
            let why = || {
                format!(
                    "{action:?} is not an action; it takes \"none\", or names, separated by commas, out of: {}",
                    NAMES.join(", ")
                )
            };
            NAMES.contains(&action).then(|| action.to_owned()).ok_or_else(|| bad(name, held, why()))
        })
        .collect()
}

fn number(name: &'static str, held: Option<String>, default: u64, most: u64) -> Result<u64, SettingsError> {
    let Some(held) = held else { return Ok(default) };
    match held.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(bad(name, &held, format!("it takes a whole number from 1 to {most}"))),
    }
}

fn flag(name: &'static str, held: Option<&str>) -> Result<bool, SettingsError> {
    match held {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(bad(name, other, "it takes \"true\" or \"false\"")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn read(changes: &[(&str, &str)]) -> Result<RespondSettings, SettingsError> {
        let mut vars = HashMap::from([
            ("INCYDR_BASE_URL", "https://api.us.code42.com"),
            ("INCYDR_SECRET_ID", "incydr/responder"),
            ("S3_BUCKET", "records"),
        ]);
        vars.extend(changes.iter().copied());
        RespondSettings::from_vars(|name| vars.get(name).map(|&held| held.to_owned()))
    }

    #[test]
    fn nothing_is_allowed_until_it_is_named_and_what_is_dangerous_needs_approval() {
        let settings = read(&[]).expect("good settings");
        assert!(settings.allowed.is_empty() && !settings.dry_run);
        assert!(settings.needs_approval.contains("user.deactivate"));
        assert!(!settings.needs_approval.contains("session.add_note"));
        assert_eq!((settings.max_targets, settings.shared.requests_per_minute), (25, 20));
        assert!(read(&[("NEEDS_APPROVAL", "none")]).expect("good").needs_approval.is_empty());
    }

    #[test]
    fn a_bad_one_is_named_with_what_it_held() {
        for (name, held) in [
            ("ALLOWED_ACTIONS", "session.note"),
            ("ALLOWED_ACTIONS", "*"),
            ("NEEDS_APPROVAL", "case.close,,"),
            ("MAX_TARGETS", "101"),
            ("DAILY_LIMIT", "0"),
            ("DRY_RUN", "yes"),
            ("REQUESTS_PREFIX", "code42/requests/"),
            ("REQUESTS_PREFIX", "incydr-collector/"),
            ("REQUESTS_PREFIX", "requests"),
            ("LEAVERS_PREFIX", "incydr-responder/"),
            ("REQUESTS_PER_MINUTE", "0"),
        ] {
            let error = read(&[(name, held)]).expect_err(held).to_string();
            assert!(error.starts_with(&format!("{name} is {held:?}, but ")), "{error}");
        }
    }

    #[test]
    fn the_requests_lie_apart_from_the_collector_s_state_in_a_bucket_of_its_own_too() {
        let apart = |held| read(&[("STATE_BUCKET", "state"), ("REQUESTS_PREFIX", held)]);
        apart("incydr-collector/manifests/").expect_err("the collector's manifests lie there");
        apart("requests/").expect("apart");
        // The lists of leavers lie in the bucket of the records.
        read(&[("STATE_BUCKET", "state"), ("LEAVERS_PREFIX", "incydr-collector/")]).expect("another bucket");
    }
}
