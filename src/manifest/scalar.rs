//! What a YAML scalar means to kubectl: the numbers, booleans and nulls of YAML 1.1, as Go's yaml.v2 resolves them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

/// What a tag asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// None was written.
    Absent,
    Str,
    Bool,
    Int,
    Float,
    Null,
    Binary,
    /// One that kubectl does not know: the text stays a text.
    Other,
}

impl Tag {
    /// From the part after `!!`.
    pub(super) fn core(suffix: &str) -> Self {
        match suffix {
            "str" => Self::Str,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "float" => Self::Float,
            "null" => Self::Null,
            "binary" => Self::Binary,
            _ => Self::Other,
        }
    }
}

/// A resolved scalar, before it becomes JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// Beyond `i64`.
    Big(u64),
    Float(f64),
    Text(String),
}

/// What `text` without quotes means, as JSON.
pub(crate) fn plain(text: &str) -> Result<Value, String> {
    resolve(text, true, Tag::Absent)?.into_json()
}

/// The meaning of `text`. `plain` says that it stands without quotes.
pub(super) fn resolve(text: &str, plain: bool, tag: Tag) -> Result<Scalar, String> {
    match tag {
        Tag::Absent if !plain => Ok(Scalar::Text(text.to_owned())),
        Tag::Str | Tag::Other => Ok(Scalar::Text(text.to_owned())),
        Tag::Binary => binary(text),
        Tag::Absent => Ok(implicit(text)),
        Tag::Bool | Tag::Int | Tag::Float | Tag::Null => tagged(text, tag),
    }
}

fn tagged(text: &str, tag: Tag) -> Result<Scalar, String> {
    match (tag, implicit(text)) {
        (Tag::Float, Scalar::Int(int)) => Ok(Scalar::Float(as_float(int))),
        (Tag::Bool, found @ Scalar::Bool(_))
        | (Tag::Int, found @ (Scalar::Int(_) | Scalar::Big(_)))
        | (Tag::Float, found @ Scalar::Float(_))
        | (Tag::Null, found @ Scalar::Null) => Ok(found),
        _ => Err("this is not what its tag says".into()),
    }
}

/// As Go converts: to the nearest.
#[expect(clippy::cast_precision_loss, reason = "Go rounds as well")]
fn as_float(int: i64) -> f64 {
    int as f64
}

fn binary(text: &str) -> Result<Scalar, String> {
    let bytes = base64(text).ok_or("a !!binary value that is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "a !!binary value that is no text".to_owned())?;
    Ok(Scalar::Text(text))
}

/// Base64 as Go decodes it: line breaks in it do not count.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.replace(['\n', '\r'], "")).ok()
}

fn implicit(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => number(text).unwrap_or_else(|| Scalar::Text(text.to_owned())),
    }
}

fn number(text: &str) -> Option<Scalar> {
    match text.as_bytes().first()? {
        b'.' if separates_digits(text) => float(&text.replace('_', "")),
        b'0'..=b'9' | b'+' | b'-' => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain))
        }
        _ => None,
    }
}

/// Whether every underscore stands between two digits, as Go wants it where no digit or sign comes first.
fn separates_digits(text: &str) -> bool {
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    let mut at = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_').map(|(at, _)| at);
    at.all(|at| digit(bytes.get(at - 1)) && digit(bytes.get(at + 1)))
}

fn integer(text: &str) -> Option<Scalar> {
    let (negative, unsigned) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let (radix, digits) = radix(unsigned);
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let signed = if negative { format!("-{digits}") } else { digits.to_owned() };
    match i64::from_str_radix(&signed, radix) {
        Ok(int) => Some(Scalar::Int(int)),
        Err(_) if unsigned.len() < text.len() => None,
        Err(_) => u64::from_str_radix(digits, radix).ok().map(Scalar::Big),
    }
}

fn radix(unsigned: &str) -> (u32, &str) {
    let bytes = unsigned.as_bytes();
    match (bytes.first(), bytes.get(1)) {
        (Some(b'0'), Some(b'x' | b'X')) => (16, &unsigned[2..]),
        (Some(b'0'), Some(b'o' | b'O')) => (8, &unsigned[2..]),
        (Some(b'0'), Some(b'b' | b'B')) => (2, &unsigned[2..]),
        (Some(b'0'), Some(_)) => (8, &unsigned[1..]),
        _ => (10, unsigned),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, finite.
fn float(text: &str) -> Option<Scalar> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let fits = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    if !fits || exponent.is_some_and(|exponent| exponent.is_empty() || !digits(exponent)) {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite()).map(Scalar::Float)
}

impl Scalar {
    /// As JSON: a float without a fraction is written like an integer, and read back as one.
    pub(super) fn into_json(self) -> Result<Value, String> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => value.into(),
            Self::Big(value) => unsigned(value),
            Self::Float(value) => number_of(value).ok_or("JSON knows neither infinity nor NaN")?,
            Self::Text(value) => Value::String(value),
        })
    }

    /// As the key of a JSON object; `None` for what kubectl refuses.
    pub(super) fn into_key(self) -> Option<String> {
        match self {
            Self::Null | Self::Big(_) => None,
            Self::Bool(value) => Some(value.to_string()),
            Self::Int(value) => Some(value.to_string()),
            Self::Float(value) => Some(float_key(value)),
            Self::Text(value) => Some(value),
        }
    }
}

/// `value` as a JSON number; `None` when it is not finite. kubectl writes it with as few digits as tell it from others,
/// and takes what it wrote for an integer where it can.
pub(super) fn number_of(value: f64) -> Option<Value> {
    match format!("{value}").parse::<i64>() {
        Ok(whole) => Some(whole.into()),
        Err(_) => Number::from_f64(value).map(Value::Number),
    }
}

/// `value` as a JSON number: kubectl has no integers beyond `i64`.
#[expect(clippy::cast_precision_loss, reason = "Go rounds as well")]
pub(super) fn unsigned(value: u64) -> Value {
    i64::try_from(value).map_or_else(|_| Value::from(value as f64), Value::from)
}

/// Go's `strconv.FormatFloat(value, 'g', -1, 32)`, with YAML's names for what is not finite.
#[expect(clippy::cast_possible_truncation, reason = "Go formats such keys in single precision")]
fn float_key(value: f64) -> String {
    let value = value as f32;
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(power) if !(-4..6).contains(&power) => {
            format!("{mantissa}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
        }
        _ => format!("{value}"),
    }
}
