//! `FIELDS`: fields that an operator adds to objects and to their records, such as the environment.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::core::settings::checks::{bad, check};
use crate::core::settings::error::SettingsError;

/// Names that are taken by the collector's own metadata.
const TAKEN: [&str; 4] = ["stream", "records", "sha256", "run-id"];
/// S3 allows 2 KB of metadata for an object. The rest is for the collector's own.
const MOST_BYTES: usize = 1_536;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectFields {
    pub metadata: BTreeMap<String, String>,
    /// The last member of each record, with the comma before it. Empty if records stay as the API sent them.
    pub in_records: String,
}

pub(super) fn fields(held: Option<&str>, in_records: Option<&str>) -> Result<ObjectFields, SettingsError> {
    let in_records = match in_records {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(bad("FIELDS_IN_RECORDS", other, "it takes \"true\" or \"false\"")),
    };

    let Some(held) = held else { return Ok(ObjectFields::default()) };
    let Members(members) = serde_json::from_str(held)
        .map_err(|error| bad("FIELDS", held, format!("it takes a JSON object of strings ({error})")))?;
    let mut metadata = BTreeMap::<String, String>::new();
    for (name, value) in members {
        // S3 ignores the case of names.
        let twice = metadata.keys().find(|before| before.eq_ignore_ascii_case(&name));
        if let Some(before) = twice {
            return Err(bad("FIELDS", held, format!("it has both {before:?} and {name:?}, which are one name to S3")));
        }
        metadata.insert(name, value);
    }

    for (name, value) in &metadata {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let ours = TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(name));
        check("FIELDS", held, !name.is_empty() && name.chars().all(is_token) && !ours, || {
            format!(
                "{name:?} can't be a field's name: it takes a-z, A-Z, 0-9, \"-\", \"_\", \".\", and none of {TAKEN:?}"
            )
        })?;
        let is_plain = value.chars().all(|c| c == ' ' || c.is_ascii_graphic()) && value.trim() == value;
        check("FIELDS", held, is_plain, || {
            format!(
                "the value of {name:?} can't be an object's metadata: it takes printable ASCII, without blanks at its ends"
            )
        })?;
    }

    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    check("FIELDS", held, bytes <= MOST_BYTES, || {
        format!(
            "its names and values have {bytes} bytes; beside the collector's own metadata an object takes {MOST_BYTES}"
        )
    })?;

    let object: serde_json::Map<String, Value> =
        metadata.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    let in_records = if in_records && !object.is_empty() {
        format!(",\"_fields\":{}", Value::Object(object))
    } else {
        String::new()
    };
    Ok(ObjectFields { metadata, in_records })
}

/// All members of a JSON object, repeated ones included.
struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(held: &str, in_records: Option<&str>) -> Result<ObjectFields, SettingsError> {
        fields(Some(held), in_records)
    }

    #[test]
    fn fields_are_metadata_and_where_asked_for_a_member_of_each_record() {
        let fields = read(r#"{"_siemForward":"true","env":"a \"b\""}"#, Some("true")).expect("good");
        assert_eq!(fields.metadata["env"], "a \"b\"");
        assert_eq!(fields.in_records, r#","_fields":{"_siemForward":"true","env":"a \"b\""}"#);
        assert_eq!(read(r#"{"env":"x"}"#, None).expect("good").in_records, "");
        assert_eq!(read("{}", Some("true")).expect("good"), ObjectFields::default());
    }

    #[test]
    fn what_cannot_be_metadata_is_refused_by_name() {
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(2_000));
        for (held, says) in [
            ("[]", "JSON object of strings"),
            (r#"{"a":1}"#, "JSON object of strings"),
            (r#"{"a b":"x"}"#, "\"a b\""),
            (r#"{"":"x"}"#, "\"\""),
            (r#"{"Stream":"x"}"#, "\"Stream\""),
            (r#"{"run-id":"x"}"#, "\"run-id\""),
            (r#"{"a":"Zürich"}"#, "the value of \"a\""),
            (r#"{"a":"x\ny"}"#, "the value of \"a\""),
            (r#"{"a":" x"}"#, "the value of \"a\""),
            (&long, "2001 bytes"),
            (r#"{"a":"x","a":"y"}"#, "both \"a\" and \"a\""),
            (r#"{"Env":"x","b":"","env":"x"}"#, "both \"Env\" and \"env\""),
        ] {
            let error = read(held, None).expect_err(held).to_string();
            assert!(error.starts_with("FIELDS is ") && error.contains(says), "{error}");
        }
        let error = read("{}", Some("yes")).expect_err("neither").to_string();
        assert!(error.starts_with("FIELDS_IN_RECORDS is \"yes\""), "{error}");
    }
}
