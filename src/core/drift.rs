//! The rule by which rows that can't be read show that the API has changed.

/// Up to this many unreadable rows are never taken for a change of the API: each is set aside.
pub const FEW: u64 = 3;

/// Whether more than a fifth of the rows can't be read and, together with the unreadable rows `beside` them, more than
/// three.
pub fn is_drifted(unreadable: u64, rows: u64, beside: u64) -> bool {
    5 * unreadable > rows && unreadable + beside > FEW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_fifth_and_more_than_three() {
        assert!(is_drifted(4, 19, 0) && is_drifted(1, 4, 3) && is_drifted(4, 0, 0));
        assert!(!is_drifted(4, 20, 0) && !is_drifted(3, 3, 0) && !is_drifted(0, 0, 9));
    }
}
