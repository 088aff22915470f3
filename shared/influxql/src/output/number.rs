//! Numbers as Go's `encoding/json` writes them.

use super::text;

/// The fewest digits that name the number, of several such the nearest, of two as near the even one; with an exponent
/// where it is very small or very large. What JSON has no number for is null.
pub(super) fn write(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        return out.extend(b"null");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let size = value.abs();
    if size == 0.0 {
        return out.push(b'0');
    }
    let mut digits = [0; 32];
    let (count, point) = shortest(size, &mut digits);
    let digits = &digits[..count];
    if !(1e-6..1e21).contains(&size) {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend(&digits[1..]);
        }
        return text(out, format_args!("e{:+}", point - 1));
    }
    match usize::try_from(point) {
        Ok(whole) if whole > 0 => {
            out.extend(&digits[..whole.min(count)]);
            out.extend(std::iter::repeat_n(b'0', whole.saturating_sub(count)));
            if whole < count {
                out.push(b'.');
                out.extend(&digits[whole..]);
            }
        }
        Ok(_) | Err(_) => {
            out.extend(b"0.");
            out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
            out.extend(digits);
        }
    }
}

/// How many digits there are, the first not zero, and where among them the point is. `format!` rounds halves up, and
/// `serde_json` to even.
fn shortest(size: f64, digits: &mut [u8; 32]) -> (usize, i32) {
    let mut buffer = [0; 32];
    let mut rest = &mut buffer[..];
    let written = serde_json::to_writer(&mut rest, &size);
    debug_assert!(written.is_ok(), "no number is longer");
    let length = 32 - rest.len();
    let (mut count, mut point, mut exponent) = (0, None, 0);
    for (index, byte) in buffer[..length].iter().enumerate() {
        match byte {
            b'.' => point = Some(count),
            b'e' => {
                let exponent_text = std::str::from_utf8(&buffer[index + 1..length]);
                exponent = exponent_text
                    .ok()
                    .and_then(|it| it.parse().ok())
                    .unwrap_or(0);
                break;
            }
            digit => {
                digits[count] = *digit;
                count += 1;
            }
        }
    }
    let point = point.unwrap_or(count);
    let zeros = digits[..count].iter().take_while(|it| **it == b'0').count();
    digits.copy_within(zeros..count, 0);
    count -= zeros;
    while digits[..count].ends_with(b"0") {
        count -= 1;
    }
    (count, point as i32 - zeros as i32 + exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_go_does() {
        let check = |value: f64, expected: &str| {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.5, "1.5");
        check(1e-6, "0.000001");
        check(9.99e-7, "9.99e-7");
        check(-1e-7, "-1e-7");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(-1.25e300, "-1.25e+300");
        check(5e-324, "5e-324");
        check(1e9 + 1e-3, "1000000000.001");
        check(4_840_324_929_074_345.0 / 4.0, "1210081232268586.2");
        check(100.0, "100");
        check(123_456.789, "123456.789");
        check(0.00123, "0.00123");
        check(f64::MAX, "1.7976931348623157e+308");
        check(f64::NAN, "null");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let mut out = Vec::new();
            write(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).unwrap().parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
