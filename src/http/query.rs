//! The query of a call: members by their names.

use percent_encoding::percent_decode_str;

use crate::sale::settings::Invalid;

/// The values of these members, in their order; None for one that the query does not have. Each may stand once, and no other may.
/// Decoded as forms are: `+` is a space, and `%2B` is a plus.
pub(super) fn members<const COUNT: usize>(
    query: Option<&str>,
    names: [&str; COUNT],
) -> Result<[Option<String>; COUNT], Invalid> {
    let mut values = [const { None }; COUNT];
    for parameter in query.unwrap_or("").split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let Some(place) = names.iter().position(|known| *known == name) else {
            let detail = format!("is not known here; the query takes {}", names.join(", "));
            return Err(Invalid::new(format!("/{name}"), detail));
        };
        let value = percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned();
        if values[place].replace(value).is_some() {
            return Err(Invalid::new(format!("/{name}"), "must stand once; leave one out"));
        }
    }
    Ok(values)
}

/// Of a call without a query: nothing of it may be ignored, as it might ask for something that the call does not do.
pub(super) fn none(query: &str) -> Result<(), Invalid> {
    let first = query.split('&').find(|parameter| !parameter.is_empty());
    first.map_or(Ok(()), |parameter| {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        Err(Invalid::new(format!("/{name}"), "is not known here; this call has no query"))
    })
}

/// Whether the call is to have no effect: its only member, `dry_run`.
pub(super) fn dry_run(query: Option<&str>) -> Result<bool, Invalid> {
    let Some(query) = query else { return Ok(false) };
    let [dry_run] = members(Some(query), ["dry_run"])?;
    match dry_run.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Invalid::new("/dry_run", "must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_does_not_do_is_refused() {
        assert_eq!(["", "&"].map(none), [Ok(()), Ok(())]);
        assert_eq!(none("&dry_run=true").unwrap_err().pointer, "/dry_run");
    }

    #[test]
    fn members_are_decoded_and_stand_once() {
        let read = |query| members(Some(query), ["customer", "limit"]);
        assert_eq!(members(None, ["customer"]), Ok([None]));
        assert_eq!(read("limit=5&customer=a%20b+c%2Bd"), Ok([Some("a b c+d".to_owned()), Some("5".to_owned())]));
        assert_eq!(read("&customer&"), Ok([Some(String::new()), None]));
        for (query, pointer) in [("limit=1&limit=1", "/limit"), ("vip=1", "/vip"), ("customer=a&&vip", "/vip")] {
            assert_eq!(read(query).unwrap_err().pointer, pointer, "{query}");
        }
    }
}
