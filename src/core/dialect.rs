//! Which endpoints the API has.

/// Which endpoints the API has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Those that the vendor's SDK calls.
    Sdk,
    /// Those that the Google `SecOps` guide prints.
    Guide,
}
