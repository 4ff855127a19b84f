//! By which endpoint the audit log is read.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditSource {
    /// The search, page by page.
    Search,
    /// The search for large result sets, which answers all at once.
    Export,
}
