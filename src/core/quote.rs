//! Quotes an error's body: its beginning, if it is text, without anything that may be a secret.

use std::collections::HashSet;
use std::ops::Range;

/// The number of bytes that are quoted.
pub const EXCERPT: usize = 200;
/// This many letters of a secret in a row give it away.
const TELLING: usize = 8;
/// A word of this length with capitals, small letters and digits may be a token.
const TOKEN: usize = 16;
/// A hexadecimal number of this length may be a token.
const HEX: usize = 32;
const HIDDEN: &str = "<redacted>";

/// The beginning of a body in one line, up to the first character that isn't text. It may contain secrets, but no part
/// of one at its end: a word that is cut is left out.
pub fn beginning(body: &[u8]) -> String {
    let body = without_cut_word(body);
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&body[..error.valid_up_to()]).unwrap_or_default(),
    };
    let is_plain = |c: &char| !c.is_control() || c.is_ascii_whitespace();
    let plain: String = text.chars().take_while(is_plain).collect();
    match plain.split_whitespace().collect::<Vec<_>>().join(" ") {
        words if !words.is_empty() => words,
        _ if body.is_empty() => "(an empty body)".into(),
        _ => "(a body that is no text)".into(),
    }
}

/// The first bytes of a body, up to the last word that is whole. If they have no end of a word, the last 32 of them are
/// dropped: the rest of a long secret still has enough letters to be recognised.
fn without_cut_word(body: &[u8]) -> &[u8] {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"_-+=%./~\\&;".contains(byte);
    let Some((first, rest)) = body.split_at_checked(EXCERPT) else { return body };
    if !rest.first().is_some_and(is_of_word) {
        return first;
    }
    match first.iter().rposition(|byte| !is_of_word(byte)) {
        Some(before) => &first[..=before],
        None => &first[..EXCERPT - 2 * TOKEN],
    }
}

/// A value out of an answer, in one line, shortened, without what looks like a token.
pub fn value(text: &str) -> String {
    if text.trim().is_empty() { String::new() } else { without_secrets(&beginning(text.as_bytes()), &[]) }
}

/// Removes everything that looks like a token, and each word that contains eight letters of a secret in a row, even if
/// the secret is in pieces, or escaped as in a URL, in JSON or in HTML.
pub fn without_secrets(text: &str, secrets: &[&str]) -> String {
    let letters = letters(text);
    let mut hidden: Vec<Range<usize>> = Vec::new();
    for secret in secrets {
        let secret: Vec<u8> = self::letters(secret).into_iter().map(|(_, letter)| letter).collect();
        let size = secret.len().min(TELLING);
        let parts: HashSet<&[u8]> = if size == 0 { HashSet::new() } else { secret.windows(size).collect() };
        for window in letters.windows(size.max(1)) {
            let part: Vec<u8> = window.iter().map(|(_, letter)| *letter).collect();
            if parts.contains(part.as_slice()) {
                hidden.push(window[0].0.start..window[window.len() - 1].0.end);
            }
        }
    }

    let mut told = String::with_capacity(text.len());
    let (mut is_after_hidden, mut names_token) = (false, false);
    for (range, is_word) in words(text) {
        let word = &text[range.clone()];
        if !is_word {
            // The characters between two pieces of a secret are removed with them.
            if hidden.iter().any(|part| part.start <= range.start && range.end <= part.end) && is_after_hidden {
                continue;
            }
            if is_after_hidden && word.trim().is_empty() {
                told.push(' ');
            } else {
                told.push_str(word);
                is_after_hidden = false;
            }
            continue;
        }

        let is_hidden = hidden.iter().any(|part| part.start < range.end && range.start < part.end)
            || may_be_token(word)
            || names_token && word.len() >= TELLING;
        names_token = ["bearer", "basic"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
        if !is_hidden {
            told.push_str(word);
        } else if !is_after_hidden {
            told.push_str(HIDDEN);
        }
        is_after_hidden = is_hidden;
    }
    told.trim_end().to_owned()
}

/// Removes the AWS credentials of this process, and signatures. The message of a signature that doesn't match repeats
/// the request.
pub fn without_aws_credentials(text: &str) -> String {
    let secrets = ["AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY"].map(|name| std::env::var(name).unwrap_or_default());
    without_signatures(&without_whole(text, &secrets))
}

/// Removes what follows `Signature=`, as in the header `Authorization`.
fn without_signatures(text: &str) -> String {
    const NAME: &str = "Signature=";
    let mut parts = text.split(NAME);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |told, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        told + NAME + if rest.len() < part.len() { HIDDEN } else { "" } + rest
    })
}

fn without_whole(text: &str, secrets: &[String]) -> String {
    let telling = secrets.iter().filter(|secret| secret.len() >= TELLING);
    telling.fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
}

fn may_be_token(word: &str) -> bool {
    word.split(|c: char| !(c.is_ascii_alphanumeric() || "_-+=%".contains(c))).any(|part| {
        let has = |is: fn(&u8) -> bool| part.bytes().any(|byte| is(&byte));
        let is_mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
        part.len() >= TOKEN && is_mixed || part.len() >= HEX && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Splits a text into runs of characters that may be in a token, and the text between them.
fn words(text: &str) -> Vec<(Range<usize>, bool)> {
    let is_of_word = |c: char| c.is_alphanumeric() || "_-+=%./~\\".contains(c);
    let mut words: Vec<(Range<usize>, bool)> = Vec::new();
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        match words.last_mut() {
            Some((range, is_word)) if *is_word == is_of_word(c) => range.end = end,
            _ => words.push((at..end, is_of_word(c))),
        }
    }
    words
}

/// The letters and digits in lower case, with their positions. `%2E`, `\u002e` and `&#46;` count as the characters that
/// they stand for.
fn letters(text: &str) -> Vec<(Range<usize>, u8)> {
    let bytes = text.as_bytes();
    let mut letters = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (letter, length) = match bytes[at..] {
            [b'%', ..] => hex(&bytes[at + 1..], 2).map_or((b'%', 1), |letter| (letter, 3)),
            [b'\\', b'u', ..] => hex(&bytes[at + 2..], 4).map_or((b'\\', 1), |letter| (letter, 6)),
            [b'&', ..] => entity(&bytes[at + 1..]).map_or((b'&', 1), |(letter, length)| (letter, 1 + length)),
            _ => (bytes[at], 1),
        };
        if letter.is_ascii_alphanumeric() {
            letters.push((at..at + length, letter.to_ascii_lowercase()));
        }
        at += length;
    }
    letters
}

/// The character of an HTML entity after its `&`, and the entity's length: `amp;`, `#38;`, `#x26;`. None of the known
/// names stands for a letter or digit, so each counts as `&`.
fn entity(bytes: &[u8]) -> Option<(u8, usize)> {
    const LONGEST: usize = 8;
    let end = bytes.iter().take(LONGEST).position(|byte| *byte == b';')?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let letter = match text.strip_prefix('#') {
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(number) => u8::from_str_radix(number, 16).ok()?,
            None => number.parse().ok()?,
        },
        None if ["amp", "lt", "gt", "quot", "apos"].contains(&text) => b'&',
        None => return None,
    };
    Some((letter, end + 1))
}

fn hex(bytes: &[u8], digits: usize) -> Option<u8> {
    let digits = std::str::from_utf8(bytes.get(..digits)?).ok()?;
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0ZW5hbnRVaWQiOiI1ZTUxYzJmMCJ9.-aX_9tQkw0Zz1Lm";

    fn holds_part_of(told: &str, secret: &str) -> bool {
        let of = |text: &str| -> String { text.chars().filter(char::is_ascii_alphanumeric).collect() };
        let (told, secret) = (of(told), of(secret));
        (0..=secret.len() - TELLING).any(|at| told.contains(&secret[at..at + TELLING]))
    }

    #[test]
    fn aws_credentials_are_removed_wherever_they_stand_and_words_are_kept() {
        let secrets = ["IQoJb3JpZ2luX2VjEJr/token==".to_owned(), String::new(), "us".to_owned()];
        let text = "User arn:aws:sts::1:assumed-role/CollectorRole-1A2B3C4D5E6F: 'x-amz-security-token:IQoJb3JpZ2luX2VjEJr/token=='";
        let told = "User arn:aws:sts::1:assumed-role/CollectorRole-1A2B3C4D5E6F: 'x-amz-security-token:<redacted>'";
        assert_eq!(without_whole(text, &secrets), told);
    }

    #[test]
    fn a_signature_is_removed_and_the_header_around_it_is_kept() {
        let header =
            |signature: &str| format!("Authorization: AWS4-HMAC-SHA256 SignedHeaders=host, Signature={signature}, x");
        assert_eq!(without_signatures(&header(&"0a1f".repeat(16))), header(HIDDEN));
        assert_eq!(without_signatures("the Signature= is empty"), "the Signature= is empty");
    }

    #[test]
    fn no_eight_letters_of_a_secret_are_told_however_they_are_written() {
        let quoted: String = JWT.bytes().fold(String::new(), |all, byte| all + &format!("%{byte:02X}"));
        let in_json: String = JWT.bytes().fold(String::new(), |all, byte| all + &format!("\\u{byte:04x}"));
        let in_html: String = JWT.bytes().fold(String::new(), |all, byte| all + &format!("&#{byte};"));
        let in_pieces: String = JWT.as_bytes().chunks(5).map(|piece| String::from_utf8_lossy(piece) + " ").collect();
        for text in [
            JWT,
            &JWT[1..],
            &JWT[9..21],
            &quoted,
            &in_json,
            &in_html,
            &in_pieces,
            &JWT.to_lowercase(),
            &JWT.replace('.', "%2e"),
        ] {
            for body in [format!("{{\"token\":\"{text}\"}}"), format!("no such token {text} here"), text.to_owned()] {
                let told = without_secrets(&body, &[JWT, "hunter2-hunter2"]);
                assert!(told.contains(HIDDEN), "{body}: {told}");
                assert!(!holds_part_of(&told, JWT) && told.len() <= body.len() + HIDDEN.len(), "{body}: {told}");
            }
        }
        for body in ["&lt;hunter&amp;2-hunter2", "hunter&#x26;2-hunter2"] {
            assert_eq!(without_secrets(body, &["<hunter&2-hunter2"]).matches("hunter").count(), 0, "{body}");
        }
        let told = without_secrets("wrong secret hunter2-hunter2, see /help", &["hunter2-hunter2"]);
        assert_eq!(told, "wrong secret <redacted>, see /help");
    }

    #[test]
    fn what_looks_like_a_token_is_not_told_whoever_s_it_is() {
        for token in [JWT, &JWT[..36], "0123456789abcdef0123456789ABCDEF", "Zm9vOmJhcjEyMzQ1Njc4"] {
            assert_eq!(without_secrets(&format!("token={token}"), &[]), HIDDEN, "{token}");
        }
        assert_eq!(without_secrets("Bearer abcdefgh is over", &[]), "Bearer <redacted> is over");
    }

    #[test]
    fn what_the_api_says_otherwise_is_told_as_it_is() {
        for said in [
            r#"{"status":403,"error":"Forbidden","path":"/v2/file-events"}"#,
            "<html><head><title>Access denied</title></head> <body>by policy 4711</body></html>",
            r#"{"problems":[{"type":"SEARCH_FAILED","description":"Request timed out.  Refine your filter"}]}"#,
            "2026-11-28T05:55:22.123Z 5e51c2f0-8d0f-4c9b-9a53-0d5f4f1a7b42",
        ] {
            assert_eq!(without_secrets(said, &[JWT, "hunter2-hunter2"]), said);
        }
    }

    #[test]
    fn a_body_is_told_as_far_as_it_is_plain_text() {
        for (body, told) in [
            (&b"no\r\n  such\tthing"[..], "no such thing"),
            (b"", "(an empty body)"),
            (b"\x1f\x8b\x08\0\0", "(a body that is no text)"),
            (b"plain \0 and then", "plain"),
            (b"caf\xc3\xa9 \xff", "caf\u{e9}"),
        ] {
            assert_eq!(beginning(body), told);
        }
        assert_eq!(beginning(&[b'x'; 1_000]).len(), EXCERPT - 2 * TOKEN);
        let cut = format!("{} s3cr3t-Zebra-17", "x".repeat(EXCERPT - 9));
        assert_eq!(beginning(cut.as_bytes()).len(), EXCERPT - 9, "a word that is cut may be the beginning of a secret");
        assert_eq!(beginning(&cut.as_bytes()[..EXCERPT]).len(), EXCERPT, "a body that ends there");
    }
}
