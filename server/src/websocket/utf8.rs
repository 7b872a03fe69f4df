//! UTF-8 that comes in pieces: what cannot become valid any more is found at its first wrong byte.

/// Where the last piece ended: within a character, or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Utf8 {
    /// The bytes of a character that is not whole yet.
    open: [u8; 4],
    len: u8,
}

impl Utf8 {
    /// Takes the next piece; false if the text is not valid whatever follows.
    pub(super) fn take(&mut self, mut piece: &[u8]) -> bool {
        while self.len > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                return true;
            };
            piece = rest;
            self.open[usize::from(self.len)] = byte;
            self.len += 1;
            match std::str::from_utf8(&self.open[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        let Err(error) = std::str::from_utf8(piece) else {
            return true;
        };
        if error.error_len().is_some() {
            return false;
        }
        // At most three bytes: four are a character or wrong.
        for byte in &piece[error.valid_up_to()..] {
            self.open[usize::from(self.len)] = *byte;
            self.len += 1;
        }
        true
    }

    /// Whether the text may end here.
    pub(super) fn is_whole(self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn in_pieces(bytes: &[u8], cuts: &[usize]) -> bool {
        let mut utf8 = Utf8::default();
        let mut rest = bytes;
        for cut in cuts {
            let (piece, after) = rest.split_at(cut % (rest.len() + 1));
            if !utf8.take(piece) {
                return false;
            }
            rest = after;
        }
        utf8.take(rest) && utf8.is_whole()
    }

    fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
        let damage = prop::option::of((any::<prop::sample::Index>(), any::<u8>()));
        (".{1,40}", damage).prop_map(|(text, damage)| {
            let mut bytes = text.into_bytes();
            if let Some((at, byte)) = damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn pieces_are_as_valid_as_the_whole(bytes in nearly_text(), cuts in prop::collection::vec(0..5_usize, 0..20)) {
            prop_assert_eq!(in_pieces(&bytes, &cuts), std::str::from_utf8(&bytes).is_ok());
        }
    }

    #[test]
    fn error_is_at_the_first_invalid_byte() {
        // A surrogate: its second byte rules it out.
        let mut utf8 = Utf8::default();
        assert!(utf8.take(b"ab\xed"));
        assert!(!utf8.take(b"\xa0"));
        let mut utf8 = Utf8::default();
        assert!(utf8.take("ä".as_bytes()) && utf8.is_whole());
        assert!(utf8.take(b"\xf4") && !utf8.is_whole());
        assert!(!utf8.take(b"\x90"), "beyond the last character");
    }
}
