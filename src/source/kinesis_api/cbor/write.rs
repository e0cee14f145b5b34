//! A serde serializer that writes definite lengths, in the order of the fields.

use minicbor::Encoder;
use minicbor::data::Tag;
use serde::ser::{self, Impossible, Serialize};

use super::{CborFault, TIMESTAMP_NEWTYPE};

pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CborFault> {
    let mut writer = Writer { encoder: Encoder::new(Vec::with_capacity(256)) };
    value.serialize(&mut writer)?;
    Ok(writer.encoder.into_writer())
}

struct Writer {
    encoder: Encoder<Vec<u8>>,
}

/// Writing to a `Vec` cannot fail.
macro_rules! put {
    ($writer:ident . $method:ident ( $($argument:expr),* )) => {{
        let put = $writer.encoder.$method($($argument),*);
        put.map(|_| ()).map_err(|_| <CborFault as ser::Error>::custom("could not write"))
    }};
}

impl<'a> ser::Serializer for &'a mut Writer {
    type Ok = ();
    type Error = CborFault;
    type SerializeSeq = &'a mut Writer;
    type SerializeTuple = Impossible<(), CborFault>;
    type SerializeTupleStruct = Impossible<(), CborFault>;
    type SerializeTupleVariant = Impossible<(), CborFault>;
    type SerializeMap = Impossible<(), CborFault>;
    type SerializeStruct = &'a mut Writer;
    type SerializeStructVariant = Impossible<(), CborFault>;

    fn serialize_bool(self, value: bool) -> Result<(), CborFault> {
        put!(self.bool(value))
    }

    fn serialize_i8(self, value: i8) -> Result<(), CborFault> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), CborFault> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), CborFault> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), CborFault> {
        put!(self.i64(value))
    }

    fn serialize_u8(self, value: u8) -> Result<(), CborFault> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), CborFault> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), CborFault> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), CborFault> {
        put!(self.u64(value))
    }

    fn serialize_f32(self, value: f32) -> Result<(), CborFault> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), CborFault> {
        put!(self.f64(value))
    }

    fn serialize_char(self, value: char) -> Result<(), CborFault> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), CborFault> {
        put!(self.str(value))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), CborFault> {
        put!(self.bytes(value))
    }

    fn serialize_none(self) -> Result<(), CborFault> {
        put!(self.null())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), CborFault> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), CborFault> {
        put!(self.null())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), CborFault> {
        put!(self.null())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), CborFault> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), CborFault> {
        if name == TIMESTAMP_NEWTYPE {
            put!(self.tag(Tag::new(1)))?;
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), CborFault> {
        unwritable(name)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, CborFault> {
        let Some(len) = len else { return unwritable("a sequence of unknown length") };
        put!(self.array(len as u64))?;
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, CborFault> {
        unwritable("a tuple")
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, CborFault> {
        unwritable(name)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, CborFault> {
        unwritable(name)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, CborFault> {
        unwritable("a map")
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Self::SerializeStruct, CborFault> {
        put!(self.map(len as u64))?;
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, CborFault> {
        unwritable(name)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// No answer has such a type; the wire's tests encode every one of them.
fn unwritable<T>(what: &str) -> Result<T, CborFault> {
    Err(<CborFault as ser::Error>::custom(format_args!("{what} has no encoding here")))
}

impl ser::SerializeSeq for &mut Writer {
    type Ok = ();
    type Error = CborFault;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CborFault> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), CborFault> {
        Ok(())
    }
}

impl ser::SerializeStruct for &mut Writer {
    type Ok = ();
    type Error = CborFault;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), CborFault> {
        put!(self.str(key))?;
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), CborFault> {
        Ok(())
    }
}
