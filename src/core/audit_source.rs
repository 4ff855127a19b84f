//! `AUDIT_SOURCE`: the endpoint that reads the audit log.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditSource {
    /// The search, page by page.
    Search,
    /// The search for large result sets, which answers all at once.
    Export,
}
