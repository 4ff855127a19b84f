//! Checks that a record is JSON and reads one field of it, in one pass, without building the rest.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The string or number at `path` as text. `None` when it is absent, null or of another kind; an error when the
/// record is not JSON or not an object. Where a key stands twice, the last one counts, as in most parsers.
pub fn pick(record: &str, path: &[&str]) -> serde_json::Result<Option<String>> {
    let mut deserializer = serde_json::Deserializer::from_str(record);
    let picked = Path { keys: path, outermost: true }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(picked)
}

struct Path<'p> {
    keys: &'p [&'p str],
    outermost: bool,
}

impl<'de> DeserializeSeed<'de> for Path<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.outermost { deserializer.deserialize_map(self) } else { deserializer.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for Path<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut picked = None;
        while let Some(key) = map.next_key::<Key>()? {
            match self.keys.split_first() {
                Some((first, rest)) if key.0 == *first => {
                    picked = map.next_value_seed(Path { keys: rest, outermost: false })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(picked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.keys.is_empty().then(|| text.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.keys.is_empty().then(|| number.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.keys.is_empty().then(|| number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(self.keys.is_empty().then(|| number.to_string()))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A key, borrowed from the record unless it holds an escape.
struct Key<'de>(std::borrow::Cow<'de, str>);

impl<'de> de::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(text.into()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(text.to_owned().into()))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_read_wherever_it_stands() {
        let record =
            r#"{"event":{"id":"a","inserted":"2026-11-21T13:00:00Z"},"inserted":"no","n":18446744073709551615}"#;
        assert_eq!(pick(record, &["event", "inserted"]).expect("JSON").as_deref(), Some("2026-11-21T13:00:00Z"));
        assert_eq!(pick(record, &["n"]).expect("JSON").as_deref(), Some("18446744073709551615"));
    }

    #[test]
    fn an_absent_field_is_no_error() {
        for record in [
            r#"{"a":1}"#,
            r#"{"event":null}"#,
            r#"{"event":"x"}"#,
            r#"{"event":{"inserted":null}}"#,
            r#"{"event":[{}]}"#,
        ] {
            assert_eq!(pick(record, &["event", "inserted"]).expect(record), None);
        }
    }

    #[test]
    fn the_whole_record_is_checked_not_only_the_field() {
        for record in [
            r#"{"a":"x","owner":"\Everyone"}"#,
            r#"{"a":"x","b":01}"#,
            r#"{"a":"x","b":[1,]}"#,
            "{\"a\":\"x\",\"b\":\"line\nbreak\"}",
            r#"{"a":"x"} {}"#,
            r#"["a"]"#,
            "null",
        ] {
            assert!(pick(record, &["a"]).is_err(), "accepted {record}");
        }
    }

    #[test]
    fn numbers_and_escapes_no_double_can_hold_are_json_all_the_same() {
        assert_eq!(pick(r#"{"big":1e999,"half":"\ud83d","a":"x"}"#, &["a"]).expect("JSON").as_deref(), Some("x"));
    }
}
