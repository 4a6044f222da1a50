//! SentencePiece's files: protocol buffers, of which a few fields are read.

/// Field numbers of `sentencepiece_model.proto`.
const PIECES: u64 = 1;
const TRAINER: u64 = 2;
const NORMALIZER: u64 = 3;

/// Types of pieces.
pub(super) const UNKNOWN: u64 = 2;
pub(super) const CONTROL: u64 = 3;
pub(super) const USER_DEFINED: u64 = 4;

/// What of a model is used.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Model {
    pub(super) pieces: Vec<Piece>,
    /// 1 is Unigram, 2 BPE, 3 words, 4 characters.
    pub(super) kind: u64,
    /// The piece that stands for what there is no piece for: its id, and its text.
    pub(super) unknown: usize,
    pub(super) unknown_piece: String,
    pub(super) charsmap: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: u64,
}

/// Reads a model.
pub(super) fn parse(bytes: &[u8]) -> Result<Model, String> {
    let mut model = Model { kind: 1, unknown_piece: "<unk>".into(), ..Model::default() };
    fields(bytes, |number, value| {
        match (number, value) {
            (PIECES, Value::Bytes(bytes)) => model.pieces.push(piece(bytes)?),
            (TRAINER, Value::Bytes(bytes)) => fields(bytes, |number, value| {
                match (number, value) {
                    (3, Value::Number(kind)) => model.kind = kind,
                    (40, Value::Number(id)) => model.unknown = usize::try_from(id).unwrap_or(usize::MAX),
                    (45, Value::Bytes(text)) => model.unknown_piece = text_of(text)?,
                    _ => {}
                }
                Ok(())
            })?,
            (NORMALIZER, Value::Bytes(bytes)) => fields(bytes, |number, value| {
                if let (2, Value::Bytes(charsmap)) = (number, value) {
                    model.charsmap = charsmap.to_vec();
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    if model.pieces.is_empty() {
        return Err("it holds no pieces".into());
    }
    Ok(model)
}

fn piece(bytes: &[u8]) -> Result<Piece, String> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: 1 };
    fields(bytes, |number, value| {
        match (number, value) {
            (1, Value::Bytes(text)) => piece.text = text_of(text)?,
            (2, Value::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (3, Value::Number(kind)) => piece.kind = kind,
            _ => {}
        }
        Ok(())
    })?;
    Ok(piece)
}

fn text_of(bytes: &[u8]) -> Result<String, String> {
    Ok(std::str::from_utf8(bytes).map_err(|_| "a piece is not UTF-8")?.to_owned())
}

/// The value of a field.
enum Value<'a> {
    Number(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    Other,
}

/// Calls `each` with every field of a message.
fn fields<'a>(mut bytes: &'a [u8], mut each: impl FnMut(u64, Value<'a>) -> Result<(), String>) -> Result<(), String> {
    while !bytes.is_empty() {
        let key = number(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(number(&mut bytes)?),
            1 => take(&mut bytes, 8).map(|_| Value::Other)?,
            2 => {
                let length = number(&mut bytes)?;
                Value::Bytes(take(&mut bytes, length)?)
            }
            5 => {
                let bits = take(&mut bytes, 4)?.try_into().map_err(|_| "a number is cut off")?;
                Value::Fixed32(u32::from_le_bytes(bits))
            }
            other => return Err(format!("a field of the wire type {other}")),
        };
        if key >> 3 == 0 {
            return Err("a field without a number".into());
        }
        each(key >> 3, value)?;
    }
    Ok(())
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], String> {
    let cut = || format!("a field of {length} bytes, but {} are left", bytes.len());
    let length = usize::try_from(length).map_err(|_| cut())?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or_else(cut)?;
    *bytes = rest;
    Ok(taken)
}

/// A number in groups of seven bits, the lowest first.
fn number(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("a number is cut off")?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err("a number of more than 64 bits".into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_unknown_ones_left_out() {
        // A piece "a" of the score 1.0 and the type 3, a trainer of the type 2, an unknown field.
        let piece = [0x0a, 1, b'a', 0x15, 0, 0, 0x80, 0x3f, 0x18, 3];
        let mut bytes = vec![0x0a, piece.len() as u8];
        bytes.extend(piece);
        bytes.extend([0x12, 5, 0x18, 2, 0xc0, 0x02, 7, 0x78, 0xff, 0x01]);
        let model = parse(&bytes).unwrap();
        assert_eq!(model.pieces, [Piece { text: "a".into(), score: 1.0, kind: CONTROL }]);
        assert_eq!((model.kind, model.unknown, model.unknown_piece.as_str(), model.charsmap), (2, 7, "<unk>", vec![]));
        for cut in 1..bytes.len() - 1 {
            let _ = parse(&bytes[..cut]);
        }
    }

    #[test]
    fn lengths_beyond_the_end_are_errors() {
        for bytes in [&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f][..], &[0x80; 12], &[0x0b], &[0x0a], &[0x02, 0], &[]] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
