//! GPT-2's alphabet: every byte written as one printable character.
//!
//! Source: `bytes_to_unicode` of openai/gpt-2 `src/encoder.py`. Printable Latin-1 bytes stand for
//! themselves; the other 68 are numbered upwards from U+0100.

use std::sync::LazyLock;

struct Alphabet {
    of_byte: [char; 256],
    /// The byte of each character below U+0144; `None` for characters outside the alphabet.
    to_byte: [Option<u8>; 0x144],
}

static ALPHABET: LazyLock<Alphabet> = LazyLock::new(|| {
    let mut alphabet = Alphabet { of_byte: ['\0'; 256], to_byte: [None; 0x144] };
    let mut next = 0x100_u32;
    for byte in 0..=255_u8 {
        let itself = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if itself { u32::from(byte) } else { next };
        next += u32::from(!itself);
        alphabet.of_byte[usize::from(byte)] = char::from_u32(code).unwrap_or('\0');
        alphabet.to_byte[code as usize] = Some(byte);
    }
    alphabet
});

/// The character that stands for `byte`.
pub(super) fn character(byte: u8) -> char {
    ALPHABET.of_byte[usize::from(byte)]
}

/// `text`'s bytes, a character each.
pub(super) fn encode(text: &str, into: &mut String) {
    into.extend(text.bytes().map(character));
}

/// The bytes that `token` spells; a character outside the alphabet stands for itself.
pub(super) fn decode(token: &str, into: &mut Vec<u8>) {
    for character in token.chars() {
        match ALPHABET.to_byte.get(character as usize).copied().flatten() {
            Some(byte) => into.push(byte),
            None => into.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}
