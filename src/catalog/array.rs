//! The elements of an array as a client sends it: one dimension, and no more than tell rows apart.

use std::borrow::Cow;

use super::region::KEYS_MAX;

/// Elements that are not NULL, each as the text or bytes of its own type.
pub(super) type Elements<'a> = Vec<Cow<'a, [u8]>>;

/// As `array_in`, of plain elements and quoted ones: `{1,NULL,"a \"b\""}`. `None` if it is anything else, or too long.
pub(super) fn of_text(text: &str) -> Option<Elements<'_>> {
    const SPACE: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];
    let text = text.trim_matches(SPACE);
    let mut rest = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    loop {
        rest = rest.trim_start_matches(SPACE);
        let element = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (element, after) = unquote(quoted)?;
                rest = after.trim_start_matches(SPACE);
                Some(Cow::Owned(element.into_bytes()))
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (element, after) = rest.split_at(end);
                rest = after;
                let element = element.trim_end_matches(SPACE);
                if element.is_empty() || element.contains(['{', '}', '"', '\\']) {
                    return None;
                }
                (!element.eq_ignore_ascii_case("null")).then_some(Cow::Borrowed(element.as_bytes()))
            }
        };
        elements.extend(element);
        if elements.len() > KEYS_MAX {
            return None;
        }
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return rest.is_empty().then_some(elements),
        }
    }
}

/// The element up to the closing quote, and what stands behind that.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut element = String::new();
    let mut characters = quoted.char_indices();
    loop {
        match characters.next()? {
            (_, '\\') => element.push(characters.next()?.1),
            (at, '"') => return Some((element, &quoted[at + 1..])),
            (_, other) => element.push(other),
        }
    }
}

/// As `array_recv`, of elements of a type that `is_wanted`.
pub(super) fn of_binary(mut bytes: &[u8], is_wanted: impl Fn(u32) -> bool) -> Option<Elements<'_>> {
    let number = |bytes: &mut &[u8]| {
        let (four, rest) = bytes.split_first_chunk::<4>()?;
        *bytes = rest;
        Some(u32::from_be_bytes(*four))
    };
    let dimensions = number(&mut bytes)?;
    let _has_nulls = number(&mut bytes)?;
    let element_type = number(&mut bytes)?;
    if dimensions != 1 || !is_wanted(element_type) {
        return None;
    }
    let count = usize::try_from(number(&mut bytes)?).ok()?;
    let _lower_bound = number(&mut bytes)?;
    let mut elements = Vec::new();
    if count > KEYS_MAX {
        return None;
    }
    for _ in 0..count {
        match number(&mut bytes)? {
            u32::MAX => {}
            length => {
                let length = usize::try_from(length).ok()?;
                let (element, rest) = bytes.split_at_checked(length)?;
                elements.push(Cow::Borrowed(element));
                bytes = rest;
            }
        }
    }
    bytes.is_empty().then_some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Option<Vec<String>> {
        let elements = of_text(text)?;
        let texts = elements
            .iter()
            .map(|element| String::from_utf8_lossy(element).into_owned());
        Some(texts.collect())
    }

    #[test]
    fn an_array_is_read_as_postgres_reads_it() {
        let some =
            |elements: &[&str]| Some(elements.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>());
        assert_eq!(texts("{1,2}"), some(&["1", "2"]));
        assert_eq!(texts(" { 1 ,\t+2 , NULL,null } "), some(&["1", "+2"]));
        assert_eq!(
            texts(r#"{"a \"b\"", "null" ,"c,{d}","" }"#),
            some(&["a \"b\"", "null", "c,{d}", ""])
        );
        assert_eq!(texts("{a b}"), some(&["a b"]));
        assert_eq!(texts("{NULL}"), some(&[]));
    }

    #[test]
    fn an_array_that_is_anything_else_is_not_read() {
        for text in [
            "",
            "{",
            "}",
            "{}",
            "{1,}",
            "{,1}",
            "{{1},{2}}",
            "[2:3]={1,2}",
            r"{a\,b}",
            r#"{"a}"#,
            r#"{"a"b}"#,
            r#"{a"b"}"#,
            "{1} 2",
            "{1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17}",
            "1,2",
        ] {
            assert_eq!(texts(text), None, "{text}");
        }
    }

    fn array(dimensions: u32, oid: u32, elements: &[Option<&[u8]>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let count = u32::try_from(elements.len()).unwrap();
        for number in [dimensions, 0, oid, count, 1] {
            bytes.extend(number.to_be_bytes());
        }
        for element in elements {
            let length = element.map_or(u32::MAX, |e| u32::try_from(e.len()).unwrap());
            bytes.extend(length.to_be_bytes());
            bytes.extend(element.unwrap_or_default());
        }
        bytes
    }

    #[test]
    fn a_binary_array_is_read_whole_or_not_at_all() {
        let good = array(1, 23, &[Some(&[0, 0, 0, 7]), None, Some(b"")]);
        let read = |bytes: &[u8]| {
            let elements = of_binary(bytes, |oid| oid == 23)?;
            Some(elements.iter().map(|e| e.to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(read(&good), Some(vec![vec![0, 0, 0, 7], vec![]]));
        for cut in 0..good.len() {
            assert_eq!(read(&good[..cut]), None, "{cut}");
        }
        assert_eq!(read(&[&good[..], &[0]].concat()), None);
        assert_eq!(read(&array(2, 23, &[Some(b"")])), None);
        assert_eq!(read(&array(1, 25, &[Some(b"a")])), None);
        assert_eq!(read(&array(1, 23, &[None; 17])), None);
        // No elements: no dimensions.
        assert_eq!(read(&array(0, 23, &[])), None);
    }
}
