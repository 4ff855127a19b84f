//! Parses an HR system's list of leavers, CSV or JSON. Each row has an address and the last day. A row without a day
//! means that the leave was withdrawn.

use chrono::NaiveDate;
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaver {
    pub address: String,
    pub end_date: Option<NaiveDate>,
}

/// The names that HR systems give to the two columns.
const ADDRESSES: [&str; 6] = ["address", "email", "username", "user", "mail", "work_email"];
const END_DATES: [&str; 6] = ["end_date", "enddate", "last_day", "termination_date", "leaving_date", "end date"];

/// Returns each address once. The error names the row and what is wrong with it.
pub fn read(text: &str) -> Result<Vec<Leaver>, String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let rows = if text.starts_with(['[', '{']) { json_rows(text)? } else { csv_rows(text)? };

    let mut leavers: Vec<Leaver> = Vec::new();
    for (row, (address, date)) in rows.into_iter().enumerate() {
        let wrong = |why: String| format!("row {} of the list {why}", row + 1);
        let address = address.trim().to_owned();
        if !address.contains('@') || address.contains(char::is_whitespace) {
            return Err(wrong(format!("has the address {address:?}, which is not an email address")));
        }

        let end_date = match date.trim() {
            "" => None,
            date => Some(day(date).ok_or_else(|| {
                wrong(format!(
                    "has the end date {date:?}; it takes a date such as 2026-11-30, or nothing if the leave was withdrawn"
                ))
            })?),
        };

        if leavers.iter().any(|leaver| leaver.address.eq_ignore_ascii_case(&address)) {
            return Err(wrong(format!("has the address {address:?} a second time")));
        }
        leavers.push(Leaver { address, end_date });
    }

    if leavers.is_empty() {
        return Err("the list is empty, which is taken for a mistake".into());
    }
    Ok(leavers)
}

/// Parses a date, or the date of a timestamp.
fn day(text: &str) -> Option<NaiveDate> {
    text.split(['T', ' ']).next()?.parse().ok()
}

fn json_rows(text: &str) -> Result<Vec<(String, String)>, String> {
    let list: Value = serde_json::from_str(text).map_err(|error| format!("the list is not JSON ({error})"))?;
    let rows = list.as_array().or_else(|| list["leavers"].as_array());
    let rows = rows.ok_or("the list must be a JSON array, or an object with the array \"leavers\"")?;

    let held = |at: usize, row: &Value, names: &[&str], what: &str| {
        let member = row.as_object().and_then(|members| {
            members.iter().find(|(name, _)| names.contains(&name.to_lowercase().as_str())).map(|(_, value)| value)
        });
        match member {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Null) => Ok(String::new()),
            Some(other) => Err(format!("row {} of the list has {other} as {what}, which must be a string", at + 1)),
            None => Err(format!("row {} of the list has no {what}", at + 1)),
        }
    };
    rows.iter()
        .enumerate()
        .map(|(at, row)| {
            Ok((
                held(at, row, &ADDRESSES, "\"address\"")?,
                held(at, row, &END_DATES, "\"end_date\" (null if the leave was withdrawn)")?,
            ))
        })
        .collect()
}

/// CSV with a header line, separated by commas or semicolons.
fn csv_rows(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let head = lines.next().unwrap_or_default();
    let separator = if head.contains(';') { ';' } else { ',' };
    let names: Vec<String> = cells(head, separator)?.iter().map(|name| name.trim().to_lowercase()).collect();

    let place = |known: &[&str], what: &str| {
        let found = names.iter().position(|name| known.contains(&name.as_str()));
        found.ok_or_else(|| {
            format!("the list's first line names no {what:?}; it must name \"address\" and \"end_date\"")
        })
    };
    let (address, date) = (place(&ADDRESSES, "address")?, place(&END_DATES, "end_date")?);

    lines
        .enumerate()
        .map(|(at, line)| {
            let cells = cells(line, separator)?;
            if cells.len() != names.len() {
                return Err(format!(
                    "row {} of the list has {} cells, but {} are named",
                    at + 1,
                    cells.len(),
                    names.len()
                ));
            }
            Ok((cells[address].clone(), cells[date].clone()))
        })
        .collect()
}

/// Splits a line as in RFC 4180, except that a quoted cell can't contain a line break.
fn cells(line: &str, separator: char) -> Result<Vec<String>, String> {
    let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                cell.push('"');
                chars.next();
            }
            '"' => is_quoted = !is_quoted,
            c if c == separator && !is_quoted => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }

    if is_quoted {
        return Err(format!("a quote is left open in {line:?}"));
    }
    cells.push(cell);
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_and_json_say_the_same() {
        let day = |text: &str| Some(text.parse().expect("a date"));
        let expected = [
            Leaver { address: "ann@example.com".into(), end_date: day("2026-11-30") },
            Leaver { address: "bob@example.com".into(), end_date: None },
        ];
        for text in [
            "\u{feff}address,end_date\r\nann@example.com,2026-11-30\r\nbob@example.com,\r\n",
            "Name;Email;Last_Day\n\"O'Hara; Ann\";ann@example.com;2026-11-30\n\nBob;bob@example.com;\n",
            r#"[{"address": "ann@example.com", "end_date": "2026-11-30T00:00:00Z"}, {"address": "bob@example.com", "end_date": null}]"#,
            r#"{"leavers": [{"email": "ann@example.com", "endDate": "2026-11-30"}, {"email": "bob@example.com", "endDate": ""}]}"#,
        ] {
            assert_eq!(read(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn a_row_that_is_wrong_is_named_and_nothing_of_the_list_is_believed() {
        for (text, named) in [
            ("", "names no \"address\""),
            ("address,end_date\n", "empty"),
            ("[]", "empty"),
            ("address,end\nann@example.com,2026-11-30\n", "names no \"end_date\""),
            ("address,end_date\nann@example.com,30.11.2026\n", "row 1"),
            ("address,end_date\nann@example.com,2026-11-305\n", "2026-11-305"),
            ("address,end_date\nann@example.com,2026-11-30\nann,2026-11-30\n", "row 2"),
            ("address,end_date\nann@example.com\n", "1 cells"),
            ("address,end_date\nann@example.com,\nAnn@example.com,2026-11-30\n", "a second time"),
            ("address,end_date\n\"ann@example.com,\n", "left open"),
            (r#"[{"address": "ann@example.com"}]"#, "no \"end_date\""),
            (r#"[{"address": "ann@example.com", "end_date": 20261130}]"#, "20261130"),
            (r#"[{"address": ["ann@example.com"], "end_date": null}]"#, "must be a string"),
            (r#"{"people": []}"#, "must be a JSON array"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
