//! A setting that is missing or bad.

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    #[error("{name} is not set; it takes {takes}")]
    Missing { name: &'static str, takes: &'static str },
    #[error("{name} is {held:?}, but {why}")]
    Bad { name: &'static str, held: String, why: String },
}
