//! 128-bit identities: of a log, of one opening of it (incarnation), of a boot of the machine.

use std::fmt;

/// Sixteen bytes, written as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Id128(pub [u8; 16]);

impl Id128 {
    /// Reads exactly 32 hex digits; `-` is skipped, so that the kernel's boot id parses too.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0_u8; 16];
        let mut digits = 0_usize;
        for digit in text.bytes().filter(|&byte| byte != b'-') {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            let byte = bytes.get_mut(digits / 2)?;
            *byte = (*byte << 4) | value;
            digits += 1;
        }
        (digits == 32).then_some(Self(bytes))
    }
}

impl fmt::Display for Id128 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Id128 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints_and_the_kernels_form() {
        let id = Id128(*b"0123456789abcdef");
        assert_eq!(Id128::parse(&id.to_string()), Some(id));
        assert!(Id128::parse("3b1f0a52-8d0e-4a6e-9d7c-0123456789ab").is_some());
    }

    #[test]
    fn refuses_every_other_length_and_digit() {
        for text in ["", "00", &"0".repeat(31), &"0".repeat(33), &"g".repeat(32), &"A".repeat(32)] {
            assert_eq!(Id128::parse(text), None, "{text:?}");
        }
    }
}
