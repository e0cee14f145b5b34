//! CBOR in the diagnostic notation of RFC 8949, section 8, read with `minicbor` alone so that it shares nothing with the code
//! that wrote it.

use minicbor::Decoder;
use minicbor::data::Type;

pub fn diagnostic(bytes: &[u8]) -> String {
    let mut decoder = Decoder::new(bytes);
    let mut text = String::new();
    item(&mut decoder, &mut text, 0);
    assert_eq!(decoder.position(), bytes.len(), "bytes follow the item");
    text
}

fn item(decoder: &mut Decoder<'_>, text: &mut String, depth: usize) {
    let indent = "  ".repeat(depth + 1);
    match decoder.datatype().unwrap() {
        Type::Map => {
            let len = decoder.map().unwrap().expect("answers have definite lengths");
            text.push('{');
            for i in 0..len {
                text.push_str(&format!("{}\n{indent}{:?}: ", if i == 0 { "" } else { "," }, decoder.str().unwrap()));
                item(decoder, text, depth + 1);
            }
            text.push_str(&format!("\n{}}}", "  ".repeat(depth)));
        }
        Type::Array => {
            let len = decoder.array().unwrap().expect("answers have definite lengths");
            text.push('[');
            for i in 0..len {
                text.push_str(&format!("{}\n{indent}", if i == 0 { "" } else { "," }));
                item(decoder, text, depth + 1);
            }
            text.push(']');
        }
        Type::Bytes => {
            let hex: String = decoder.bytes().unwrap().iter().map(|b| format!("{b:02x}")).collect();
            text.push_str(&format!("h'{hex}'"));
        }
        Type::Tag => {
            let tag = decoder.tag().unwrap().as_u64();
            text.push_str(&format!("{tag}("));
            item(decoder, text, depth);
            text.push(')');
        }
        Type::String => text.push_str(&format!("{:?}", decoder.str().unwrap())),
        Type::Bool => text.push_str(&decoder.bool().unwrap().to_string()),
        Type::Null => {
            decoder.null().unwrap();
            text.push_str("null");
        }
        _ => text.push_str(&decoder.i64().unwrap().to_string()),
    }
}
