//! One declaration per group of values: the Rust type, its reader, and what `render --explain`
//! prints, so that the explanation cannot drift from what is read.

use std::collections::BTreeMap;

/// One value that a person may write into a file of `infra/values/`.
#[derive(Debug, Clone)]
pub struct Field {
    /// Where it stands, as `storage.claim`; `[]` is each item of a list, `*` each key of a map.
    pub path: String,
    /// What it is for, from the doc comment of the field.
    pub meaning: String,
    /// Its unit or shape.
    pub unit: &'static str,
    /// What holds where it is not written; `None` where it must be written.
    pub default: Option<String>,
}

/// A type that can stand in a values file.
pub trait Explain {
    /// The unit or shape of one value of this type.
    const UNIT: &'static str;

    /// The values below this one; none for a plain value.
    fn fields() -> Vec<Field> {
        Vec::new()
    }
}

impl Explain for bool {
    const UNIT: &'static str = "true or false";
}

impl Explain for String {
    const UNIT: &'static str = "text";
}

impl Explain for u16 {
    const UNIT: &'static str = "port";
}

impl Explain for u32 {
    const UNIT: &'static str = "count";
}

impl<T: Explain> Explain for Option<T> {
    const UNIT: &'static str = T::UNIT;

    fn fields() -> Vec<Field> {
        T::fields()
    }
}

impl<T: Explain> Explain for Vec<T> {
    const UNIT: &'static str = "list";

    fn fields() -> Vec<Field> {
        below("[]", T::fields())
    }
}

impl<T: Explain> Explain for BTreeMap<String, T> {
    const UNIT: &'static str = "map";

    fn fields() -> Vec<Field> {
        below(".*", T::fields())
    }
}

/// The same fields, one level deeper.
pub fn below(path: &str, fields: Vec<Field>) -> Vec<Field> {
    let deeper = |field: Field| {
        let dot = if field.path.starts_with(['[', '.']) { "" } else { "." };
        Field { path: format!("{path}{dot}{}", field.path), ..field }
    };
    fields.into_iter().map(deeper).collect()
}

/// The default of a field, as it would be written in YAML.
pub fn shown(default: &impl serde::Serialize) -> Option<String> {
    let text = serde_json::to_string(default).unwrap_or_default();
    Some(if text == "null" { "left out".into() } else { text })
}

/// Declares groups of values. A field without a default must be written.
macro_rules! values {
    ($(
        $(#[doc = $doc:literal])+
        pub struct $name:ident {
            $( $(#[doc = $meaning:literal])+ $field:ident: $type:ty $(= $default:expr)?; )*
        }
    )*) => { $(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, serde::Serialize)]
        pub struct $name {
            $( $(#[doc = $meaning])+ pub $field: $type, )*
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Written {
                    $( #[serde(default)] $field: Option<$type>, )*
                }
                let written = Written::deserialize(reader)?;
                Ok($name { $( $field: match written.$field {
                    Some(value) => value,
                    None => values!(@missing $field $($default)?),
                }, )* })
            }
        }

        impl $crate::render::values::explain::Explain for $name {
            const UNIT: &'static str = "group";

            fn fields() -> Vec<$crate::render::values::explain::Field> {
                use $crate::render::values::explain::{Explain, Field, below};
                let mut all = Vec::new();
                $(
                    all.push(Field {
                        path: stringify!($field).into(),
                        meaning: concat!($($meaning),+).trim().into(),
                        unit: <$type as Explain>::UNIT,
                        default: values!(@shown $type $(, $default)?),
                    });
                    all.extend(below(stringify!($field), <$type as Explain>::fields()));
                )*
                all
            }
        }
    )* };
    (@missing $field:ident) => {
        return Err(serde::de::Error::missing_field(stringify!($field)))
    };
    (@missing $field:ident $default:expr) => { $default };
    (@shown $type:ty) => { None };
    (@shown $type:ty, $default:expr) => {{
        let default: $type = $default;
        $crate::render::values::explain::shown(&default)
    }};
}

pub(super) use values;
