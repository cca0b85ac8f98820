//! Reads remote-write 1.0 and 2.0 bodies without a schema compiler: field by field, in one pass.
//!
//! Written against the two specifications' `.proto` files alone.
//!
//! ```text
//! 1.0  WriteRequest { 1: TimeSeries { 1: Label { 1: name, 2: value }, 2: Sample { 1: value, 2: ms } },
//!                     3: MetricMetadata { 1: type, 2: family, 4: help, 5: unit } }
//! 2.0  Request { 4: symbol, 5: TimeSeries { 1: packed refs, 2: Sample { 1: value, 2: ms },
//!                                           5: Metadata { 1: type, 3: help ref, 4: unit ref } } }
//! ```

use anyhow::{Context as _, bail};

/// What a body holds, in its order.
pub(crate) trait Sink<'body> {
    /// A series' labels, in the order of the body, and one of its samples.
    fn sample(&mut self, labels: &[(&'body str, &'body str)], value: f64, timestamp_ms: i64);
    /// The metadata of a metric family: type by its number in the schema, help, unit.
    fn metadata(&mut self, family: &'body str, kind: u64, help: &'body str, unit: &'body str);
}

/// A field of a message.
#[derive(Clone, Copy)]
enum Value<'body> {
    Number(u64),
    Bytes(&'body [u8]),
}

impl<'body> Value<'body> {
    fn number(self) -> anyhow::Result<u64> {
        let Value::Number(number) = self else { bail!("bytes where a number belongs") };
        Ok(number)
    }

    fn bytes(self) -> anyhow::Result<&'body [u8]> {
        let Value::Bytes(bytes) = self else { bail!("a number where bytes belong") };
        Ok(bytes)
    }

    fn text(self) -> anyhow::Result<&'body str> {
        Ok(std::str::from_utf8(self.bytes()?)?)
    }
}

/// Reads a body of remote write 1.0.
pub(crate) fn read_1<'body>(body: &'body [u8], sink: &mut impl Sink<'body>) -> anyhow::Result<()> {
    let mut labels = Vec::new();
    fields(body, |field, value| match field {
        1 => {
            labels.clear();
            let series = value.bytes()?;
            fields(series, |field, value| {
                if field == 1 {
                    labels.push(label(value.bytes()?)?);
                }
                Ok(())
            })?;
            samples(series, &labels, sink)
        }
        3 => {
            let (mut family, mut kind, mut help, mut unit) = ("", 0, "", "");
            fields(value.bytes()?, |field, value| {
                match field {
                    1 => kind = value.number()?,
                    2 => family = value.text()?,
                    4 => help = value.text()?,
                    5 => unit = value.text()?,
                    _ => bail!("field {field} in metadata"),
                }
                Ok(())
            })?;
            sink.metadata(family, kind, help, unit);
            Ok(())
        }
        _ => bail!("field {field} in a request of 1.0"),
    })
}

/// Reads a body of remote write 2.0.
pub(crate) fn read_2<'body>(body: &'body [u8], sink: &mut impl Sink<'body>) -> anyhow::Result<()> {
    let mut symbols = Vec::new();
    fields(body, |field, value| {
        if field == 4 {
            symbols.push(value.text()?);
        }
        Ok(())
    })?;
    if symbols.first() != Some(&"") {
        bail!("the first symbol is {:?}, not empty", symbols.first());
    }
    let symbol = |reference: u64| {
        let index = usize::try_from(reference)?;
        symbols.get(index).copied().with_context(|| format!("no symbol {index}"))
    };
    let mut labels = Vec::new();
    fields(body, |field, value| match field {
        4 => Ok(()),
        5 => {
            labels.clear();
            let series = value.bytes()?;
            let (mut kind, mut help, mut unit) = (0, "", "");
            fields(series, |field, value| match field {
                1 => pairs(value.bytes()?, |name, value| {
                    labels.push((symbol(name)?, symbol(value)?));
                    Ok(())
                }),
                5 => fields(value.bytes()?, |field, value| {
                    match field {
                        1 => kind = value.number()?,
                        3 => help = symbol(value.number()?)?,
                        4 => unit = symbol(value.number()?)?,
                        _ => bail!("field {field} in metadata"),
                    }
                    Ok(())
                }),
                _ => Ok(()),
            })?;
            samples(series, &labels, sink)?;
            let family = labels.iter().find(|(name, _)| *name == "__name__");
            if let Some((_, family)) = family {
                sink.metadata(family, kind, help, unit);
            }
            Ok(())
        }
        _ => bail!("field {field} in a request of 2.0"),
    })
}

/// Samples of a series; the field and the message are the same in both versions.
fn samples<'body>(
    series: &'body [u8],
    labels: &[(&'body str, &'body str)],
    sink: &mut impl Sink<'body>,
) -> anyhow::Result<()> {
    fields(series, |field, value| {
        if field == 2 {
            let (mut bits, mut timestamp_ms) = (0, 0);
            fields(value.bytes()?, |field, value| {
                match field {
                    1 => bits = value.number()?,
                    2 => timestamp_ms = value.number()?.cast_signed(),
                    _ => {}
                }
                Ok(())
            })?;
            sink.sample(labels, f64::from_bits(bits), timestamp_ms);
        }
        Ok(())
    })
}

fn label(message: &[u8]) -> anyhow::Result<(&str, &str)> {
    let (mut name, mut text) = ("", "");
    fields(message, |field, value| {
        match field {
            1 => name = value.text()?,
            2 => text = value.text()?,
            _ => bail!("field {field} in a label"),
        }
        Ok(())
    })?;
    Ok((name, text))
}

/// Calls `each` for every field of a message.
fn fields<'body>(
    mut rest: &'body [u8],
    mut each: impl FnMut(u64, Value<'body>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut rest)?),
            1 => {
                let (bytes, after) = rest.split_first_chunk().context("a cut fixed64")?;
                rest = after;
                Value::Number(u64::from_le_bytes(*bytes))
            }
            2 => {
                let length = usize::try_from(varint(&mut rest)?)?;
                let (bytes, after) = rest.split_at_checked(length).context("a cut field")?;
                rest = after;
                Value::Bytes(bytes)
            }
            wire => bail!("wire type {wire}"),
        };
        each(key >> 3, value)?;
    }
    Ok(())
}

/// Calls `each` for every two numbers of a packed field.
fn pairs(
    mut packed: &[u8],
    mut each: impl FnMut(u64, u64) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    while !packed.is_empty() {
        let name = varint(&mut packed)?;
        each(name, varint(&mut packed)?)?;
    }
    Ok(())
}

fn varint(rest: &mut &[u8]) -> anyhow::Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().context("a cut number")?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    bail!("a number of more than ten bytes")
}
