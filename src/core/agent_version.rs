//! Compares versions of agents.

use std::cmp::Ordering;
use std::fmt;

/// Numbers separated by dots. The rest of the text, as in `2.0.0-rc.1`, is ignored.
#[derive(Clone, Debug)]
pub struct AgentVersion {
    text: String,
    /// Without trailing zeros: 1.9 equals 1.9.0.
    numbers: Vec<u64>,
}

impl AgentVersion {
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
        let dotted = text[..end].strip_suffix('.').filter(|_| end < text.len()).unwrap_or(&text[..end]);
        let mut numbers = dotted.split('.').map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>()?;
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        Some(Self { text: text.to_owned(), numbers })
    }
}

impl PartialEq for AgentVersion {
    fn eq(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }
}

impl Eq for AgentVersion {}

impl PartialOrd for AgentVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for AgentVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers)
    }
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> AgentVersion {
        AgentVersion::parse(text).expect(text)
    }

    #[test]
    fn numbers_are_compared_and_not_their_digits() {
        for (older, newer) in
            [("1.9", "1.10.2"), ("9", "10"), ("1.10", "1.10.1"), ("2.0.0-rc.1", "2.0.1"), ("0", "0.1")]
        {
            assert!(version(older) < version(newer), "{older} {newer}");
        }
        for (one, same) in [("1.9", "1.9.0"), ("2.0.0-rc.1", "2"), ("11.3.0 (build 5)", "11.3"), ("01.2", " 1.2")] {
            assert_eq!(version(one), version(same), "{one} {same}");
        }
    }

    #[test]
    fn what_has_no_numbers_is_no_version() {
        for text in ["", "latest", ".", "1..2", ".1", "1.", "v1", "99999999999999999999999"] {
            assert!(AgentVersion::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn it_is_told_as_it_was_read() {
        assert_eq!(version("2.0.0-rc.1").to_string(), "2.0.0-rc.1");
    }
}
