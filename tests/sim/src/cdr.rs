//! Writes a sample as XCDR1 little-endian, as SAL's publishers do (OMG DDS-XTypes 1.3, § 7.4.1).
//! It shares no code with the transcoder that it is to test.

use efd_shared_types::sal::{SalField, Scalar};

use crate::values::Value;

const ENCAPSULATION: [u8; 4] = [0, 1, 0, 0];

/// `pad` fills the gaps of alignment: OpenSplice leaves garbage there.
pub(crate) fn encode(
    fields: &[SalField],
    values: &[Value],
    mut pad: impl FnMut() -> u8,
    out: &mut Vec<u8>,
) {
    out.clear();
    out.extend_from_slice(&ENCAPSULATION);
    for (field, value) in fields.iter().zip(values) {
        match value {
            Value::List(elements) => elements
                .iter()
                .for_each(|element| one(field.scalar, element, &mut pad, out)),
            Value::Boolean(_)
            | Value::Integer(_)
            | Value::Single(_)
            | Value::Double(_)
            | Value::Text(_) => {
                one(field.scalar, value, &mut pad, out);
            }
        }
    }
}

fn align(size: usize, pad: &mut impl FnMut() -> u8, out: &mut Vec<u8>) {
    while !(out.len() - ENCAPSULATION.len()).is_multiple_of(size) {
        out.push(pad());
    }
}

fn one(scalar: Scalar, value: &Value, pad: &mut impl FnMut() -> u8, out: &mut Vec<u8>) {
    match value {
        Value::Boolean(value) => out.push(u8::from(*value)),
        Value::Integer(value) => {
            let size = scalar.size().unwrap_or(1);
            align(size, pad, out);
            out.extend_from_slice(&value.to_le_bytes()[..size]);
        }
        Value::Single(value) => {
            align(4, pad, out);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::Double(value) => {
            align(8, pad, out);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::Text(bytes) => {
            align(4, pad, out);
            out.extend_from_slice(&(bytes.len() as u32 + 1).to_le_bytes());
            out.extend_from_slice(bytes);
            out.push(0);
        }
        Value::List(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_by_the_begin_of_the_body_and_terminates_text() {
        let field = |name: &str, scalar, count| SalField {
            name: name.into(),
            id: 0,
            scalar,
            count,
            metadata: Default::default(),
        };
        let fields = [
            field("b", Scalar::Boolean, None),
            field("d", Scalar::F64, None),
            field("s", Scalar::Text, None),
            field("h", Scalar::I16, Some(2)),
        ];
        let values = [
            Value::Boolean(true),
            Value::Double(1.0),
            Value::Text(b"ab".to_vec()),
            Value::List(vec![Value::Integer(-1), Value::Integer(2)]),
        ];
        let mut out = Vec::new();
        encode(&fields, &values, || 0xaa, &mut out);
        let mut expected = vec![0, 1, 0, 0, 1];
        expected.extend([0xaa; 7]);
        expected.extend(1.0f64.to_le_bytes());
        expected.extend([3, 0, 0, 0, b'a', b'b', 0, 0xaa, 0xff, 0xff, 2, 0]);
        assert_eq!(out, expected);
    }
}
