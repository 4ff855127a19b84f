//! Formats findings as CSV (RFC 4180), with the field names as the first row.

use serde_json::Value;

use crate::collect::health::finding::Finding;

const COLUMNS: [&str; 18] = [
    "finding",
    "agentId",
    "userId",
    "username",
    "name",
    "osHostname",
    "lastConnected",
    "days",
    "issue",
    "version",
    "observer",
    "detector",
    "matterId",
    "caseNumber",
    "records",
    "since",
    "why",
    "do",
];

/// Without the line end.
pub fn header() -> String {
    COLUMNS.join(",")
}

pub fn row(finding: &Finding) -> String {
    let fields = serde_json::to_value(finding).unwrap_or_default();
    let cells = COLUMNS.map(|column| match &fields[column] {
        Value::Null => String::new(),
        Value::String(text) => cell(text),
        other => other.to_string(),
    });
    cells.join(",")
}

/// Spreadsheets treat a cell that begins with one of these as a formula. An apostrophe before it makes it text.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if text.contains(['"', ',', '\r', '\n']) {
        return format!("\"{guard}{}\"", text.replace('"', "\"\""));
    }
    format!("{guard}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::health::finding::FindingKind;

    #[test]
    fn a_cell_is_quoted_where_it_must_be_and_never_a_formula() {
        for (text, written) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("=1+1", "'=1+1"),
            ("+49", "'+49"),
            ("-1", "'-1"),
            ("@sum", "'@sum"),
            ("\tx", "'\tx"),
            ("=HYPERLINK(\"a\",\"b\")", "\"'=HYPERLINK(\"\"a\"\",\"\"b\"\")\""),
            ("a=b", "a=b"),
        ] {
            assert_eq!(cell(text), written);
        }
    }

    #[test]
    fn every_field_has_its_column() {
        let some = || Some("x".to_owned());
        let finding = Finding {
            agent_id: some(),
            user_id: some(),
            username: some(),
            name: some(),
            os_hostname: some(),
            last_connected: some(),
            days: Some(42),
            issue: some(),
            version: some(),
            observer: some(),
            detector: some(),
            matter_id: some(),
            case_number: Some(7),
            records: Some(3),
            since: some(),
            ..Finding::new(FindingKind::StaleAgent, "x".into(), "x".into())
        };

        let row = row(&finding);
        assert_eq!(row, "stale_agent,x,x,x,x,x,x,42,x,x,x,x,x,7,3,x,x,x");

        let fields = serde_json::to_value(&finding).expect("JSON");
        assert_eq!(fields.as_object().map(serde_json::Map::len), Some(COLUMNS.len()));
        assert_eq!(header().split(',').count(), row.split(',').count());
    }

    #[test]
    fn what_a_finding_lacks_is_an_empty_cell() {
        assert_eq!(
            row(&Finding::new(FindingKind::SilentObserver, "a, b".into(), "c".into())),
            "silent_observer,,,,,,,,,,,,,,,,\"a, b\",c"
        );
    }
}
