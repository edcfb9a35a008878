//! Moments for PostgreSQL: microseconds since 2000, the binary form of `timestamptz`.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

use crate::sale::time::Timestamp;

/// 2000-01-01T00:00:00Z, in milliseconds since 1970.
const YEAR_2000: i64 = 946_684_800_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(pub Timestamp);

impl ToSql for Moment {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        // At most 48 bits of milliseconds: no overflow.
        out.put_i64((self.0.millis() as i64 - YEAR_2000) * 1000);
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Moment {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        let millis = micros.div_euclid(1000).checked_add(YEAR_2000).and_then(|millis| u64::try_from(millis).ok());
        let millis = millis.filter(|&millis| millis <= Timestamp::MAX.millis());
        Ok(Self(Timestamp::from_millis(millis.ok_or("a time before 1970 or after 9999")?)))
    }

    accepts!(TIMESTAMPTZ);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_back() {
        for millis in [0, 1, 946_684_800_000, 1_795_766_400_123, Timestamp::MAX.millis()] {
            let (moment, mut bytes) = (Moment(Timestamp::from_millis(millis)), BytesMut::new());
            moment.to_sql(&Type::TIMESTAMPTZ, &mut bytes).unwrap();
            assert_eq!(Moment::from_sql(&Type::TIMESTAMPTZ, &bytes).unwrap(), moment);
        }
        assert!(Moment::from_sql(&Type::TIMESTAMPTZ, &i64::MAX.to_be_bytes()).is_err(), "infinity");
        assert!(Moment::from_sql(&Type::TIMESTAMPTZ, &i64::MIN.to_be_bytes()).is_err());
    }
}
