//! `FE_QUERY_JSON`: the query that selects the file events to collect.

use serde_json::{Map, Value, json};

/// The variable's value: the query itself, or the id of a search that is saved in the console.
#[derive(Clone, Debug, PartialEq)]
pub enum QuerySource {
    Given(FileEventQuery),
    SavedSearch(String),
}

/// The user's part of the query, as groups that are AND-ed with the window. Empty means every event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileEventQuery {
    pub groups: Vec<Value>,
}

const SAVED_SEARCH: &str = "savedSearch";

impl QuerySource {
    /// Parses `FE_QUERY_JSON`. The error says which values it takes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut query: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("it is not a JSON object ({error})"))?;
        match query.remove(SAVED_SEARCH) {
            None => FileEventQuery::of(query).map(Self::Given),
            Some(_) if !query.is_empty() => {
                Err(format!("beside {SAVED_SEARCH:?} it has other keys: it takes one or the other"))
            }
            Some(Value::String(id)) if !id.trim().is_empty() => Ok(Self::SavedSearch(id.trim().to_owned())),
            Some(other) => Err(format!("{SAVED_SEARCH:?} is {other}, but must be the id of a saved search, as text")),
        }
    }
}

impl Default for QuerySource {
    fn default() -> Self {
        Self::Given(FileEventQuery::default())
    }
}

impl FileEventQuery {
    fn of(mut query: Map<String, Value>) -> Result<Self, String> {
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

    /// Takes the groups and the group clause of a saved search. It may have no groups, and its clause may be null.
    pub fn of_saved_search(search: &Value) -> Result<Self, String> {
        if search["groups"].as_array().is_some_and(Vec::is_empty) {
            return Ok(Self::default());
        }
        let keys = ["groups", "groupClause"].into_iter();
        let query = keys.filter_map(|key| Some((key.to_owned(), search.get(key)?.clone())));
        Self::of(query.filter(|(_, value)| !value.is_null()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_or_becomes_a_subgroup_so_that_the_window_still_holds() {
        let text = r#"{"groupClause":"OR","groups":[{"filters":[]},{"filters":[]}]}"#;
        let QuerySource::Given(query) = QuerySource::parse(text).expect("a query") else { panic!("it is given") };
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
            (r#"{"savedSearch":""}"#, "savedSearch"),
            (r#"{"savedSearch":7}"#, "savedSearch"),
            (r#"{"savedSearch":null}"#, "savedSearch"),
            (r#"{"savedSearch":"a","groups":[{}]}"#, "savedSearch"),
            (r#"{"savedsearch":"a"}"#, "groups"),
        ] {
            let error = QuerySource::parse(text).expect_err(text);
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_saved_search_is_its_groups_whatever_else_the_console_keeps_with_it() {
        let source = QuerySource::parse(r#"{"savedSearch":" a "}"#).expect("an id");
        assert_eq!(source, QuerySource::SavedSearch("a".into()));
        let of = |search: Value| FileEventQuery::of_saved_search(&search).map(|query| Value::Array(query.groups));
        let group = json!({"filterClause": "AND", "filters": [{"term": "risk.score", "operator": "IS", "value": "9"}]});
        let kept = json!({"id": "a", "name": "x", "srtKey": "event.id", "groups": [group], "groupClause": null});
        assert_eq!(of(kept), Ok(json!([group])));
        assert_eq!(of(json!({"groupClause": "OR", "groups": []})), Ok(json!([])), "it finds all");
        let either = json!({"groupClause": "OR", "groups": [group, group]});
        assert_eq!(of(either), Ok(json!([{"subgroupClause": "OR", "subgroups": [group, group]}])));
        for bad in [json!({}), json!({"groups": null}), json!({"groups": "all"}), json!({"groups": [7]})] {
            assert!(of(bad.clone()).is_err(), "{bad}");
        }
    }
}
