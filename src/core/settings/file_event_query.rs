//! `FE_QUERY_JSON`: which file events are wanted.

use serde_json::{Map, Value, json};

/// The user's part of the query, as groups that are AND-ed with the window. Empty means every event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileEventQuery {
    pub groups: Vec<Value>,
}

impl FileEventQuery {
    /// Reads `FE_QUERY_JSON`; an error says what the variable takes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut query: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("it is not a JSON object ({error})"))?;
        let groups = match query.remove("groups") {
            Some(Value::Array(groups)) if !groups.is_empty() && groups.iter().all(Value::is_object) => groups,
            _ => return Err("it needs \"groups\", an array of at least one object".into()),
        };
        let clause = query.remove("groupClause").unwrap_or_else(|| "AND".into());
        if let Some(key) = query.keys().next() {
            return Err(format!("it has the key {key:?}, which the collector sets itself or doesn't know"));
        }
        match clause.as_str() {
            Some("AND") => Ok(Self { groups }),
            Some("OR") => Ok(Self { groups: vec![json!({"subgroupClause": "OR", "subgroups": groups})] }),
            _ => Err(format!("\"groupClause\" is {clause}, but must be \"AND\" or \"OR\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_or_becomes_a_subgroup_so_that_the_window_still_holds() {
        let query =
            FileEventQuery::parse(r#"{"groupClause":"OR","groups":[{"filters":[]},{"filters":[]}]}"#).expect("a query");
        let expected = json!([{"subgroupClause": "OR", "subgroups": [{"filters": []}, {"filters": []}]}]);
        assert_eq!(Value::Array(query.groups), expected);
    }

    #[test]
    fn what_the_collector_sets_itself_is_refused_by_name() {
        for (text, named) in [
            (r#"{"groups":[{}],"pgSize":5}"#, "pgSize"),
            (r#"{"groups":[{}],"srtKey":"event.id"}"#, "srtKey"),
            (r#"{"groups":[]}"#, "groups"),
            (r#"{"groups":[{}],"groupClause":"XOR"}"#, "groupClause"),
            ("[]", "not a JSON object"),
        ] {
            let error = FileEventQuery::parse(text).expect_err(text);
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
