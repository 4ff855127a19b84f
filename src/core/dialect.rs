//! The two sets of endpoints that the API may have.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// The endpoints that the vendor's SDK calls.
    #[default]
    Sdk,
    /// The endpoints that the Google `SecOps` guide prints.
    Guide,
}
