//! A serde deserializer over `minicbor`'s pull decoder. Bounded: it recurses [`DEPTH_MAX`] deep and trusts no length.

use minicbor::Decoder;
use minicbor::data::Type;
use serde::de::{self, DeserializeSeed, Visitor};

use super::CborFault;

/// Maps and arrays within each other. The deepest request has three; the rest is for members this gate does not know.
const DEPTH_MAX: usize = 32;

pub fn from_slice<'de, T: de::Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, CborFault> {
    let mut reader = Reader { decoder: Decoder::new(bytes), depth: 0 };
    let value = T::deserialize(&mut reader).map_err(|fault| reader.at(fault))?;
    if reader.decoder.position() < bytes.len() {
        return Err(reader.fault("bytes follow the item"));
    }
    Ok(value)
}

struct Reader<'de> {
    decoder: Decoder<'de>,
    depth: usize,
}

impl Reader<'_> {
    fn fault(&self, message: &str) -> CborFault {
        CborFault { message: message.into(), offset: Some(self.decoder.position()) }
    }

    fn at(&self, fault: CborFault) -> CborFault {
        CborFault { offset: fault.offset.or(Some(self.decoder.position())), ..fault }
    }

    fn kind(&self) -> Result<Type, CborFault> {
        self.decoder.datatype().map_err(|e| self.broken(&e))
    }

    fn broken(&self, error: &minicbor::decode::Error) -> CborFault {
        self.fault(if error.is_end_of_input() { "the body ends inside an item" } else { "not well-formed CBOR" })
    }

    /// Consumes a break, if one is next.
    fn at_break(&mut self) -> Result<bool, CborFault> {
        let found = self.kind()? == Type::Break;
        if found {
            self.decoder.set_position(self.decoder.position() + 1);
        }
        Ok(found)
    }

    /// Tags say how to read what follows; the member's own type already does.
    fn skip_tags(&mut self) -> Result<(), CborFault> {
        while self.kind()? == Type::Tag {
            self.decoder.tag().map_err(|e| self.broken(&e))?;
        }
        Ok(())
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, CborFault>) -> Result<T, CborFault> {
        if self.depth == DEPTH_MAX {
            return Err(self.fault("nested too deeply"));
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }
}

/// Calls a decoder method and tells its fault with the position.
macro_rules! take {
    ($reader:ident . $method:ident) => {{
        let taken = $reader.decoder.$method();
        taken.map_err(|e| $reader.broken(&e))?
    }};
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = CborFault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CborFault> {
        self.skip_tags()?;
        match self.kind()? {
            Type::Bool => visitor.visit_bool(take!(self.bool)),
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => visitor.visit_u64(take!(self.u64)),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => visitor.visit_i64(take!(self.i64)),
            Type::F32 => visitor.visit_f64(f64::from(take!(self.f32))),
            Type::F64 => visitor.visit_f64(take!(self.f64)),
            Type::Bytes => visitor.visit_borrowed_bytes(take!(self.bytes)),
            Type::String => visitor.visit_borrowed_str(take!(self.str)),
            Type::BytesIndef => visitor.visit_byte_buf(self.joined_bytes()?),
            Type::StringIndef => visitor.visit_string(self.joined_text()?),
            Type::Null | Type::Undefined => {
                self.decoder.set_position(self.decoder.position() + 1);
                visitor.visit_unit()
            }
            Type::Array | Type::ArrayIndef => {
                let left = take!(self.array);
                self.nested(|reader| visitor.visit_seq(Items { reader, left }))
            }
            Type::Map | Type::MapIndef => {
                let left = take!(self.map);
                self.nested(|reader| visitor.visit_map(Items { reader, left }))
            }
            _ => Err(self.fault("an item of a kind that no request has")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CborFault> {
        self.skip_tags()?;
        match self.kind()? {
            Type::Null | Type::Undefined => {
                self.decoder.set_position(self.decoder.position() + 1);
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, CborFault> {
        visitor.visit_newtype_struct(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl Reader<'_> {
    fn joined_bytes(&mut self) -> Result<Vec<u8>, CborFault> {
        let position = self.decoder.position();
        let chunks = self.decoder.bytes_iter().map_err(|_| ill_formed(position))?;
        let mut joined = Vec::new();
        for chunk in chunks {
            joined.extend_from_slice(chunk.map_err(|_| ill_formed(position))?);
        }
        Ok(joined)
    }

    fn joined_text(&mut self) -> Result<String, CborFault> {
        let position = self.decoder.position();
        let chunks = self.decoder.str_iter().map_err(|_| ill_formed(position))?;
        let mut joined = String::new();
        for chunk in chunks {
            joined.push_str(chunk.map_err(|_| ill_formed(position))?);
        }
        Ok(joined)
    }
}

fn ill_formed(position: usize) -> CborFault {
    CborFault { message: "an ill-formed string of indefinite length".into(), offset: Some(position) }
}

/// The items of an array, or the entries of a map: `left` of them, or up to the break.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: Option<u64>,
}

impl Items<'_, '_> {
    fn at_end(&mut self) -> Result<bool, CborFault> {
        match &mut self.left {
            Some(0) => Ok(true),
            Some(left) => {
                *left -= 1;
                Ok(false)
            }
            None => self.reader.at_break(),
        }
    }
}

impl<'de> de::SeqAccess<'de> for Items<'_, 'de> {
    type Error = CborFault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, CborFault> {
        if self.at_end()? { Ok(None) } else { seed.deserialize(&mut *self.reader).map(Some) }
    }
}

impl<'de> de::MapAccess<'de> for Items<'_, 'de> {
    type Error = CborFault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, CborFault> {
        if self.at_end()? { Ok(None) } else { seed.deserialize(&mut *self.reader).map(Some) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, CborFault> {
        seed.deserialize(&mut *self.reader)
    }
}
