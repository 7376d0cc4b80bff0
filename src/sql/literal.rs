//! What a string constant means, and whether a clock may be meant by it.

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use smallvec::SmallVec;

use super::lexer::{Quoting, continuation};

/// The value of the string constant `token`, which is the whole token as the lexer cut it.
///
/// Bytes that are no UTF-8 (from `\x`) are replaced; bit strings are left as they are written.
pub(super) fn decode(token: &str, quoting: Quoting) -> Cow<'_, str> {
    match quoting {
        Quoting::Dollar => {
            let tag_end = token[1..]
                .find('$')
                .map_or(token.len(), |offset| offset + 2);
            Cow::Borrowed(
                token
                    .get(tag_end..token.len() - tag_end.min(token.len()))
                    .unwrap_or(""),
            )
        }
        Quoting::Plain { .. } | Quoting::Bits => {
            let inside = between_quotes(token);
            if memchr(b'\'', inside.as_bytes()).is_none() {
                Cow::Borrowed(inside)
            } else {
                decoded(token, Escapes::None)
            }
        }
        Quoting::Escape => decoded(token, Escapes::Backslash),
        Quoting::Unicode => decoded(token, Escapes::Unicode),
    }
}

/// As [`decode`], but `None` where the server may read something else: bytes that are no UTF-8, surrogates, zeroes.
pub(super) fn decode_exactly(token: &str, quoting: Quoting) -> Option<Cow<'_, str>> {
    let bytes = match quoting {
        Quoting::Escape => raw(token, Escapes::Backslash)?,
        Quoting::Unicode => raw(token, Escapes::Unicode)?,
        Quoting::Plain { .. } | Quoting::Bits | Quoting::Dollar => {
            return Some(decode(token, quoting));
        }
    };
    let text = String::from_utf8(bytes).ok()?;
    (!text.contains('\0')).then_some(Cow::Owned(text))
}

fn between_quotes(token: &str) -> &str {
    let start = memchr(b'\'', token.as_bytes()).map_or(token.len(), |offset| offset + 1);
    token[start..].strip_suffix('\'').unwrap_or(&token[start..])
}

#[derive(Clone, Copy, PartialEq)]
enum Escapes {
    None,
    Backslash,
    Unicode,
}

fn decoded(token: &str, escapes: Escapes) -> Cow<'static, str> {
    let mut out = Vec::with_capacity(token.len());
    scan(token, escapes, &mut out);
    Cow::Owned(
        String::from_utf8(out)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// The bytes of a constant, `None` if some of its escapes are no characters.
fn raw(token: &str, escapes: Escapes) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(token.len());
    scan(token, escapes, &mut out).then_some(out)
}

/// False if an escape was left out.
fn scan(token: &str, escapes: Escapes, out: &mut Vec<u8>) -> bool {
    let bytes = token.as_bytes();
    let mut exact = true;
    let mut position = memchr(b'\'', bytes).map_or(bytes.len(), |offset| offset + 1);
    while let Some(&byte) = bytes.get(position) {
        match byte {
            b'\'' if bytes.get(position + 1) == Some(&b'\'') => {
                out.push(b'\'');
                position += 2;
            }
            b'\'' => match continuation(bytes, position + 1) {
                Some(inside) => position = inside,
                None => break,
            },
            b'\\' if escapes == Escapes::Backslash => {
                position = backslash(bytes, position + 1, out, &mut exact)
            }
            b'\\' if escapes == Escapes::Unicode => {
                position = unicode(bytes, position + 1, out, &mut exact)
            }
            _ => {
                out.push(byte);
                position += 1;
            }
        }
    }
    exact
}

/// Reads at most `count` digits; the number and the position behind them.
fn digits(bytes: &[u8], start: usize, count: usize, radix: u32) -> (u32, usize) {
    let mut value = 0_u32;
    let mut position = start;
    while position < start + count {
        let Some(digit) = bytes
            .get(position)
            .and_then(|&byte| char::from(byte).to_digit(radix))
        else {
            break;
        };
        value = value.wrapping_mul(radix).wrapping_add(digit);
        position += 1;
    }
    (value, position)
}

/// One escape of `E'…'`; `position` is behind its backslash.
fn backslash(bytes: &[u8], position: usize, out: &mut Vec<u8>, exact: &mut bool) -> usize {
    let Some(&byte) = bytes.get(position) else {
        return position;
    };
    let (value, end) = match byte {
        b'b' => (8, position + 1),
        b'f' => (12, position + 1),
        b'n' => (10, position + 1),
        b'r' => (13, position + 1),
        b't' => (9, position + 1),
        b'0'..=b'7' => digits(bytes, position, 3, 8),
        b'x' => match digits(bytes, position + 1, 2, 16) {
            (_, end) if end == position + 1 => (u32::from(b'x'), end),
            hexadecimal => hexadecimal,
        },
        b'u' => return code_point(bytes, position + 1, 4, out, exact),
        b'U' => return code_point(bytes, position + 1, 8, out, exact),
        _ => (u32::from(byte), position + 1),
    };
    out.push(value as u8);
    end
}

/// One escape of `U&'…'`; `position` is behind its backslash.
fn unicode(bytes: &[u8], position: usize, out: &mut Vec<u8>, exact: &mut bool) -> usize {
    match bytes.get(position) {
        Some(b'+') => code_point(bytes, position + 1, 6, out, exact),
        Some(b'\\') => {
            out.push(b'\\');
            position + 1
        }
        _ => code_point(bytes, position, 4, out, exact),
    }
}

/// Surrogates are left out: they spell no ASCII word, and nothing else is asked of them.
fn code_point(
    bytes: &[u8],
    position: usize,
    count: usize,
    out: &mut Vec<u8>,
    exact: &mut bool,
) -> usize {
    let (value, end) = digits(bytes, position, count, 16);
    match char::from_u32(value).filter(|_| end == position + count) {
        Some(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => *exact = false,
    }
    end
}

/// Whether a string constant may be read from the clock when it is read as a date or time.
pub(super) fn clock_constant(token: &str, quoting: Quoting) -> bool {
    match quoting {
        Quoting::Bits => false,
        Quoting::Dollar => clock_text(token.as_bytes()),
        Quoting::Plain { .. } | Quoting::Escape | Quoting::Unicode => {
            let inside = between_quotes(token).as_bytes();
            if memchr2(b'\'', b'\\', inside).is_none() {
                clock_text(inside)
            } else {
                clock_text(decode(token, quoting).as_bytes())
            }
        }
    }
}

/// Whether a text may be read from the clock when PostgreSQL reads it as a date or time: `now`, `today`, `tomorrow`,
/// `yesterday` or `allballs` stand in it as a word (`datetktbl` in `datetime.c`), at any place and in any case.
///
/// Backslashes and double quotes are looked through, because array, range and row constants take them away.
pub fn clock_text(text: &[u8]) -> bool {
    if clock_word_in(text) {
        return true;
    }
    if memchr2(b'\\', b'"', text).is_none() {
        return false;
    }
    let bare: SmallVec<[u8; 256]> = text
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\\' | b'"'))
        .collect();
    clock_word_in(&bare)
}

fn clock_word_in(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 5] = [b"now", b"today", b"tomorrow", b"yesterday", b"allballs"];
    let mut rest = text;
    while let Some(start) = rest.iter().position(u8::is_ascii_alphabetic) {
        rest = &rest[start..];
        let length = rest
            .iter()
            .position(|byte| !byte.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let (word, behind) = rest.split_at(length);
        if matches!(
            word[0],
            b'n' | b'N' | b't' | b'T' | b'y' | b'Y' | b'a' | b'A'
        ) && WORDS.iter().any(|clock| clock.eq_ignore_ascii_case(word))
        {
            return true;
        }
        rest = behind;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_decoded() {
        let plain = Quoting::Plain { national: false };
        for (token, quoting, value) in [
            ("'a'", plain, "a"),
            ("''", plain, ""),
            ("'it''s'", plain, "it's"),
            ("'a'\n  'b'", plain, "ab"),
            ("'a' -- it's\n\t'b'", plain, "ab"),
            (r"'a\n'", plain, r"a\n"),
            ("N'a'", Quoting::Plain { national: true }, "a"),
            (r"E'\x6e\157\u0077\n\'\\'", Quoting::Escape, "now\n'\\"),
            (r"E'\xff'", Quoting::Escape, "\u{fffd}"),
            (r"E'\x'", Quoting::Escape, "x"),
            (r"U&'d\0061t\+000061\\'", Quoting::Unicode, "data\\"),
            ("$$a'b$$", Quoting::Dollar, "a'b"),
            ("$t$a$b$t$", Quoting::Dollar, "a$b"),
            ("$$$$", Quoting::Dollar, ""),
        ] {
            assert_eq!(decode(token, quoting), value, "{token}");
        }
    }

    #[test]
    fn clock_words_are_found_in_any_dress() {
        for text in [
            "now",
            " NoW ",
            "today 12:00",
            "2024-01-01 now",
            "[today,tomorrow)",
            "{\"2024-01-01\",yesterday}",
            "allballs",
            "now+1",
            "{n\\ow}",
            "(n\"o\"w)",
            "\"now\"",
        ] {
            assert!(clock_text(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "know",
            "nowhere",
            "todays",
            "2024-01-01",
            "infinity",
            "epoch",
            "n-ow",
            "{\"a\": 1}",
        ] {
            assert!(!clock_text(text.as_bytes()), "{text}");
        }
    }
}
