//! Takes the members of an action's input one by one, and refuses unknown ones.

use chrono::NaiveDate;
use serde_json::{Map, Value};

/// The input while it is parsed. Each error names the member, its value and what it takes.
pub struct Fields<'a> {
    action: &'a str,
    left: Map<String, Value>,
    takes: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub fn new(action: &'a str, input: &Map<String, Value>) -> Self {
        Self { action, left: input.clone(), takes: Vec::new() }
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.takes.push(name);
        self.left.remove(name)
    }

    fn needed(&mut self, name: &'static str) -> Result<Value, String> {
        self.take(name).ok_or_else(|| format!("{:?} needs \"input\".{name:?}", self.action))
    }

    /// Refuses members that nobody took.
    pub fn end(self) -> Result<(), String> {
        let Some(name) = self.left.keys().next() else { return Ok(()) };
        let takes: Vec<String> = self.takes.iter().map(|name| format!("{name:?}")).collect();
        Err(format!("{name:?} is not a member of the input of {:?}, which takes {}", self.action, takes.join(", ")))
    }

    pub fn text(&mut self, name: &'static str, most: usize) -> Result<String, String> {
        let value = self.needed(name)?;
        text(name, &value, most)
    }

    pub fn optional_text(&mut self, name: &'static str, most: usize) -> Result<Option<String>, String> {
        self.take(name).map(|value| text(name, &value, most)).transpose()
    }

    /// A string from a closed set.
    pub fn one_of(&mut self, name: &'static str, known: &[&str]) -> Result<String, String> {
        let value = self.needed(name)?;
        one_of(name, &value, known)
    }

    pub fn optional_one_of(&mut self, name: &'static str, known: &[&str]) -> Result<Option<String>, String> {
        self.take(name).map(|value| one_of(name, &value, known)).transpose()
    }

    /// A list of at least one string, or one string without a list. Duplicates are dropped.
    pub fn texts(&mut self, name: &'static str) -> Result<Vec<String>, String> {
        let value = self.needed(name)?;
        let items = match value {
            Value::Array(items) if !items.is_empty() => items,
            Value::String(_) => vec![value],
            _ => return Err(format!("{name:?} is {value}, but must be a list of at least one text")),
        };
        let mut texts = Vec::new();
        for item in items {
            let text = text(name, &item, 256)?;
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        Ok(texts)
    }

    /// A whole number from 1, as a number or as its digits.
    pub fn number(&mut self, name: &'static str) -> Result<u64, String> {
        let value = self.needed(name)?;
        number(name, &value, 1, u64::from(u32::MAX))
    }

    pub fn optional_number(&mut self, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, String> {
        self.take(name).map(|value| number(name, &value, least, most)).transpose()
    }

    /// A date such as `2026-11-30`, or null to clear it.
    pub fn optional_date(&mut self, name: &'static str) -> Result<Option<Value>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let is_date = value.as_str().is_some_and(|text| text.parse::<NaiveDate>().is_ok());
        if value.is_null() || is_date {
            return Ok(Some(value));
        }
        Err(format!("{name:?} is {value}, but must be a date such as \"2026-11-30\", or null to clear it"))
    }

    /// A string, or null to clear it.
    pub fn optional_text_or_null(&mut self, name: &'static str, most: usize) -> Result<Option<Value>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(Value::Null)),
            Some(value) => text(name, &value, most).map(|text| Some(Value::from(text))),
        }
    }

    pub fn optional_bool(&mut self, name: &'static str) -> Result<Option<bool>, String> {
        let wrong = |value: Value| format!("{name:?} is {value}, but must be true or false");
        self.take(name).map(|value| value.as_bool().ok_or_else(|| wrong(value))).transpose()
    }

    pub fn list(&mut self, name: &'static str) -> Result<Value, String> {
        let value = self.needed(name)?;
        list(name, value)
    }

    pub fn optional_list(&mut self, name: &'static str) -> Result<Option<Value>, String> {
        self.take(name).map(|value| list(name, value)).transpose()
    }

    pub fn object(&mut self, name: &'static str) -> Result<Map<String, Value>, String> {
        match self.needed(name)? {
            Value::Object(members) => Ok(members),
            value => Err(format!("{name:?} is {value}, but must be an object")),
        }
    }

    /// Query parameters in the order of `names`. A list becomes one parameter per item.
    pub fn query(&mut self, names: &[&'static str]) -> Result<Vec<(String, String)>, String> {
        let mut query = Vec::new();
        for name in names {
            match self.take(name) {
                None => {}
                Some(Value::Array(items)) if !items.is_empty() => {
                    for item in items {
                        query.push(((*name).to_owned(), parameter(name, &item)?));
                    }
                }
                Some(value) => query.push(((*name).to_owned(), parameter(name, &value)?)),
            }
        }
        Ok(query)
    }
}

fn text(name: &str, value: &Value, most: usize) -> Result<String, String> {
    let held = value.as_str().map(str::trim).filter(|text| !text.is_empty());
    let held = held.ok_or_else(|| format!("{name:?} is {value}, but must be text that is not empty"))?;
    let chars = held.chars().count();
    if chars > most {
        return Err(format!("{name:?} has {chars} characters, but may have {most} at most"));
    }
    Ok(held.to_owned())
}

fn one_of(name: &str, value: &Value, known: &[&str]) -> Result<String, String> {
    let named = value.as_str().filter(|text| known.contains(text));
    named.map(str::to_owned).ok_or_else(|| format!("{name:?} is {value}, but must be one of {}", known.join(", ")))
}

fn number(name: &str, value: &Value, least: u64, most: u64) -> Result<u64, String> {
    let held = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    held.filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("{name:?} is {value}, but must be a whole number from {least} to {most}"))
}

fn list(name: &str, value: Value) -> Result<Value, String> {
    if value.as_array().is_some_and(|items| !items.is_empty()) {
        return Ok(value);
    }
    Err(format!("{name:?} is {value}, but must be a list that is not empty"))
}

fn parameter(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(format!("{name:?} is {value}, but must be text, a number, true or false, or a list of these")),
    }
}
