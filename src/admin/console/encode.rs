//! Tables as messages, in text or binary.

use bytes::{BufMut, BytesMut};

use crate::admin::table::{Cell, Column, Kind};
use crate::wire::{ErrorReport, SqlState, backend, tag};

/// ParameterDescription of a statement without parameters.
pub(super) fn no_parameters(out: &mut BytesMut) {
    out.put_u8(tag::backend::PARAMETER_DESCRIPTION);
    out.put_i32(6);
    out.put_i16(0);
}

/// How the columns are sent: Bind gives no format, one for all, or one each.
#[derive(Debug, Clone, Default)]
pub(super) struct Formats(Vec<i16>);

impl Formats {
    /// # Errors
    /// 08P01: the number of formats does not fit, or one does not exist.
    pub fn new(formats: &[i16], columns: usize) -> Result<Self, ErrorReport> {
        if formats.len() > 1 && formats.len() != columns {
            return Err(ErrorReport::error(
                SqlState::PROTOCOL_VIOLATION,
                format!(
                    "bind message has {} result formats but query has {columns} columns",
                    formats.len()
                ),
            ));
        }
        if let Some(format) = formats.iter().find(|format| !(0..=1).contains(*format)) {
            return Err(ErrorReport::error(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("unsupported format code: {format}"),
            ));
        }
        Ok(Self(formats.to_vec()))
    }

    fn is_binary(&self, index: usize) -> bool {
        let format = match self.0.as_slice() {
            [all] => Some(all),
            each => each.get(index),
        };
        format == Some(&1)
    }
}

/// RowDescription.
pub(super) fn description(out: &mut BytesMut, columns: &[Column], formats: &Formats) {
    let begin = out.len();
    let described: Vec<backend::Column<'_>> = columns
        .iter()
        .map(|column| backend::Column {
            name: column.name,
            type_oid: column.kind.oid(),
            type_len: column.kind.type_len(),
        })
        .collect();
    backend::row_description_message(out, &described);
    // The encoder says text; a column's format is the last two bytes of its part:
    // name, NUL, then 18 bytes.
    let mut at = begin + 7;
    for (index, column) in columns.iter().enumerate() {
        at += column.name.len() + 1 + 18;
        if formats.is_binary(index) {
            out[at - 1] = 1;
        }
    }
}

/// DataRow.
pub(super) fn data_row(out: &mut BytesMut, columns: &[Column], row: &[Cell], formats: &Formats) {
    let values: Vec<Option<Vec<u8>>> = columns
        .iter()
        .zip(row)
        .enumerate()
        .map(|(index, (column, cell))| value(column.kind, cell, formats.is_binary(index)))
        .collect();
    let values: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
    backend::data_row_message(out, &values);
}

fn value(kind: Kind, cell: &Cell, binary: bool) -> Option<Vec<u8>> {
    let number = match cell {
        Cell::Null => return None,
        // A NUL would be no text to any client.
        Cell::Text(text) => return Some(text.replace('\0', " ").into_bytes()),
        Cell::Number(number) => *number,
    };
    // What does not fit is shown as the largest that does.
    let int4 = i32::try_from(number).unwrap_or(i32::MAX);
    let int8 = i64::try_from(number).unwrap_or(i64::MAX);
    Some(match (kind, binary) {
        (Kind::Int4, true) => int4.to_be_bytes().to_vec(),
        (Kind::Int4, false) => int4.to_string().into_bytes(),
        (Kind::Int8, true) => int8.to_be_bytes().to_vec(),
        (Kind::Int8, false) => int8.to_string().into_bytes(),
        (Kind::Numeric, true) => binary_numeric(number),
        (Kind::Numeric | Kind::Text, _) => number.to_string().into_bytes(),
    })
}

/// A whole number as `numeric_send` writes it: digits to the base of 10 000, the highest first,
/// after their count, the weight of the first, sign and scale.
fn binary_numeric(mut number: u64) -> Vec<u8> {
    let mut digits = Vec::new();
    while number > 0 {
        let digit = u16::try_from(number % 10_000).unwrap_or_default();
        digits.push(digit);
        number /= 10_000;
    }
    let count = u16::try_from(digits.len()).unwrap_or_default();
    let weight = count.saturating_sub(1);
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    let significant = &digits[zeros..];
    let significant_count = u16::try_from(significant.len()).unwrap_or_default();
    let (sign, scale) = (0_u16, 0_u16);
    let mut bytes = Vec::new();
    for word in [significant_count, weight, sign, scale] {
        bytes.extend(word.to_be_bytes());
    }
    for digit in significant.iter().rev() {
        bytes.extend(digit.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::table::{int4, numeric, text};

    const COLUMNS: &[Column] = &[text("name"), int4("n"), numeric("sum")];

    #[test]
    fn numerics_are_sent_as_the_server_sends_them() {
        let words = |number| -> Vec<u16> {
            let bytes = binary_numeric(number);
            let pairs = bytes.chunks(2);
            pairs.map(|p| u16::from_be_bytes([p[0], p[1]])).collect()
        };
        assert_eq!(words(0), [0, 0, 0, 0]);
        assert_eq!(words(7), [1, 0, 0, 0, 7]);
        assert_eq!(words(10_000), [1, 1, 0, 0, 1]);
        assert_eq!(words(123_456_789), [3, 2, 0, 0, 1, 2345, 6789]);
    }

    #[test]
    fn each_column_is_sent_in_its_format() {
        let formats = Formats::new(&[0, 1, 0], 3).unwrap();
        let mut out = BytesMut::new();
        description(&mut out, COLUMNS, &formats);
        let described = backend::row_description(&out[5..]).unwrap();
        let got: Vec<i16> = described.iter().map(|column| column.format).collect();
        assert_eq!(got, [0, 1, 0]);
        out.clear();
        let row = [Cell::Null, Cell::Number(1 << 40), Cell::Number(12)];
        data_row(&mut out, COLUMNS, &row, &formats);
        let values = backend::data_row(&out[5..]).unwrap();
        assert_eq!(values[0], None);
        assert_eq!(values[1], Some(&i32::MAX.to_be_bytes()[..]));
        assert_eq!(values[2], Some(&b"12"[..]));
    }

    #[test]
    fn formats_must_fit_the_columns() {
        assert!(Formats::new(&[1], 3).is_ok());
        assert!(Formats::new(&[], 3).is_ok());
        assert!(Formats::new(&[0, 1], 3).is_err());
        assert!(Formats::new(&[2], 3).is_err());
    }
}
