//! What the server says of a prepared statement: the parameters it takes, the columns it gives.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::wire::{HEADER_LEN, WireError, backend, tag::backend as tag};

/// A statement's description.
#[derive(Debug)]
pub struct Shape {
    /// The whole ParameterDescription frame, and what it says; empty if only the columns are known.
    pub parameters: Bytes,
    pub parameter_types: Box<[u32]>,
    /// Name, type and modifier of each column; `None` if it gives no rows at all.
    columns: Option<Box<[u8]>>,
}

impl Shape {
    /// Of a ParameterDescription frame, and the RowDescription or NoData frame that follows it.
    ///
    /// # Errors
    /// The frames are none of these.
    pub fn read(parameters: Bytes, row: &[u8]) -> Result<Self, WireError> {
        let body = parameters.get(HEADER_LEN..).unwrap_or_default();
        let parameter_types = backend::parameter_description(body)?.into();
        Ok(Self {
            parameters,
            parameter_types,
            ..Self::of_row(row)?
        })
    }

    /// Of a RowDescription or NoData frame alone.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn of_row(row: &[u8]) -> Result<Self, WireError> {
        let columns = match row.first() {
            Some(&tag::ROW_DESCRIPTION) => {
                let mut columns = Vec::with_capacity(row.len());
                for column in backend::row_description(&row[HEADER_LEN..])? {
                    // Not of which table it is: PostgreSQL compares that neither.
                    columns.extend_from_slice(column.name);
                    columns.push(0);
                    columns.extend_from_slice(&column.type_oid.to_be_bytes());
                    columns.extend_from_slice(&column.type_len.to_be_bytes());
                    columns.extend_from_slice(&column.type_modifier.to_be_bytes());
                }
                Some(columns.into())
            }
            _ => None,
        };
        Ok(Self {
            parameters: Bytes::new(),
            parameter_types: Box::default(),
            columns,
        })
    }
}

/// A [`Shape`] as soon as it is known; clones are of the same.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<OnceLock<Shape>>);

impl Told {
    pub fn get(&self) -> Option<&Shape> {
        self.0.get()
    }

    /// The first shape counts.
    pub fn set(&self, shape: Shape) {
        let _ = self.0.set(shape);
    }

    /// Both give the same columns, as far as is known.
    pub fn agrees(&self, other: &Told) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || match (self.get(), other.get()) {
                (Some(one), Some(other)) => one.columns == other.columns,
                _ => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn frame(tag: u8, body: &[u8]) -> Bytes {
        let mut frame = BytesMut::from(&[tag][..]);
        frame.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        frame.extend_from_slice(body);
        frame.freeze()
    }

    fn told(row: &[u8]) -> Told {
        let told = Told::default();
        let parameters = frame(tag::PARAMETER_DESCRIPTION, &[0, 1, 0, 0, 0, 23]);
        told.set(Shape::read(parameters, row).unwrap());
        told
    }

    fn column(name: &str, table: u32, type_oid: u32) -> Bytes {
        let mut body = vec![0, 1];
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend_from_slice(&table.to_be_bytes());
        body.extend_from_slice(&1_i16.to_be_bytes());
        body.extend_from_slice(&type_oid.to_be_bytes());
        body.extend_from_slice(&4_i16.to_be_bytes());
        body.extend_from_slice(&(-1_i32).to_be_bytes());
        body.extend_from_slice(&0_i16.to_be_bytes());
        frame(tag::ROW_DESCRIPTION, &body)
    }

    #[test]
    fn columns_are_compared_as_postgres_does() {
        let nothing = frame(tag::NO_DATA, &[]);
        let one = told(&column("a", 1, 23));
        assert!(one.agrees(&told(&column("a", 2, 23))));
        assert!(!one.agrees(&told(&column("b", 1, 23))));
        assert!(!one.agrees(&told(&column("a", 1, 25))));
        assert!(!one.agrees(&told(&nothing)));
        assert!(told(&nothing).agrees(&told(&nothing)));
        assert!(one.agrees(&Told::default()));
        assert_eq!(*one.get().unwrap().parameter_types, [23]);
    }

    #[test]
    fn frames_that_make_no_sense_have_no_shape() {
        let parameters = frame(tag::PARAMETER_DESCRIPTION, &[0, 1]);
        assert!(Shape::read(parameters, &[]).is_err());
        let parameters = frame(tag::PARAMETER_DESCRIPTION, &[0, 0]);
        assert!(Shape::read(parameters, &frame(tag::ROW_DESCRIPTION, &[0, 9])).is_err());
    }
}
