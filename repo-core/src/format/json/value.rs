//! What fields can hold, and how each is read.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::read::{Reader, Result};
use crate::format::error::FormatError;
use crate::id::{DataId, Id, IndexId, PackId, SnapshotId, TreeId};
use crate::time::Time;

/// Standard base64 as Go decodes it: padded, the spare bits at the end not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Something a record's field can hold.
pub(crate) trait Value: Sized {
    fn read(json: &mut Reader<'_>) -> Result<Self>;

    /// What `null` does; by default nothing.
    fn set_null(&mut self) {}
}

macro_rules! values {
    ($($kind:ty: $json:ident => $read:expr),+ $(,)?) => {$(
        impl Value for $kind {
            fn read($json: &mut Reader<'_>) -> Result<Self> {
                $read
            }
        }
    )+};
}

values! {
    bool: json => json.bool(),
    u32: json => json.unsigned(),
    u64: json => json.unsigned(),
    i64: json => json.signed(),
    String: json => Ok(json.string()?.into_owned()),
    Time: json => json.time(),
    Id: json => json.id(),
    DataId: json => json.id().map(Self),
    TreeId: json => json.id().map(Self),
    PackId: json => json.id().map(Self),
    IndexId: json => json.id().map(Self),
    SnapshotId: json => json.id().map(Self),
}

impl<T: Value> Value for Option<T> {
    fn read(json: &mut Reader<'_>) -> Result<Self> {
        T::read(json).map(Some)
    }

    fn set_null(&mut self) {
        *self = None;
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(json: &mut Reader<'_>) -> Result<Self> {
        let mut values = Self::new();
        json.array(|json| {
            values.push(T::read(json)?);
            Ok(())
        })?;
        Ok(values)
    }

    fn set_null(&mut self) {
        self.clear();
    }
}

/// Bytes that stand in the text as base64.
#[derive(Default)]
pub(crate) struct Base64(pub(crate) Vec<u8>);

impl Value for Base64 {
    fn read(json: &mut Reader<'_>) -> Result<Self> {
        let at = json.at();
        let text = json.string()?;
        // Go steps over line ends inside base64.
        let text = if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], "").into() } else { text };
        BASE64.decode(&*text).map(Self).map_err(|_| FormatError::Value { at, expected: "base64" })
    }

    fn set_null(&mut self) {
        self.0.clear();
    }
}
