//! Reads a body of a shape to its end, and records what is wrong with it.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    Found, Step,
    shape::{Kind, Member, Need, Shape},
};
use crate::sale::rule::Rule;

/// Reads an object of a shape.
pub(super) struct Object<'a> {
    pub(super) shape: &'a Shape,
    pub(super) found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { shape, found } = self;
        let rule = || format!("must be an object with {}", shape.names()).into();
        deserializer.deserialize_any(Reader { found, rule: &rule, wanted: Wanted::Object(shape) })
    }
}

/// Reads the value of a member.
struct OfMember<'a> {
    member: &'a Member,
    found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for OfMember<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { member, found } = self;
        let wanted = match &member.kind {
            Kind::Ignored => return deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
            Kind::Value(rule) => Wanted::Value(*rule),
            Kind::Object(shape) => Wanted::Object(shape),
            Kind::List { entry, most } => Wanted::List(entry, *most),
            Kind::Values { entry, most } => Wanted::Values(*entry, *most),
            Kind::Map { name, value, most } => Wanted::Map { name: *name, value: *value, most: *most },
        };
        let wanted = if member.need == Need::Optional { Wanted::NullOr(Box::new(wanted)) } else { wanted };
        deserializer.deserialize_any(Reader { found, rule: &|| member.rule(), wanted })
    }
}

/// Reads a value that a rule is about.
struct OfRule<'a> {
    rule: Rule,
    found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for OfRule<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { rule, found } = self;
        deserializer.deserialize_any(Reader { found, rule: &|| rule.to_string().into(), wanted: Wanted::Value(rule) })
    }
}

enum Wanted<'a> {
    Value(Rule),
    Object(&'a Shape),
    List(&'a Shape, usize),
    Values(Rule, usize),
    Map { name: Rule, value: Rule, most: usize },
    NullOr(Box<Wanted<'a>>),
}

/// Reads any value to its end, and records what is wrong with it.
struct Reader<'a, 'f> {
    found: &'f mut Found,
    rule: &'a dyn Fn() -> Cow<'static, str>,
    wanted: Wanted<'a>,
}

impl Reader<'_, '_> {
    fn unless<E>(self, allowed: bool) -> Result<(), E> {
        if !allowed {
            self.found.wrong((self.rule)());
        }
        Ok(())
    }

    fn number<E>(self, number: i128) -> Result<(), E> {
        let allowed = matches!(self.wanted.within(), Wanted::Value(rule) if rule.allows_number(number));
        self.unless(allowed)
    }
}

impl<'a> Wanted<'a> {
    fn within(&self) -> &Wanted<'a> {
        match self {
            Self::NullOr(wanted) => wanted,
            wanted => wanted,
        }
    }
}

impl<'de> Visitor<'de> for Reader<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        let allowed = matches!(self.wanted.within(), Wanted::Value(Rule::Flag));
        self.unless(allowed)
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.number(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.number(number.into())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.unless(false)
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let allowed = matches!(self.wanted.within(), Wanted::Value(rule) if rule.allows_text(text));
        self.unless(allowed)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        let allowed = matches!(self.wanted, Wanted::NullOr(_));
        self.unless(allowed)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let (entry, most) = match *self.wanted.within() {
            Wanted::List(entry, most) => (Ok(entry), most),
            Wanted::Values(rule, most) => (Err(rule), most),
            _ => {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return self.unless(false);
            }
        };
        let (mut count, found) = (0, self.found);
        loop {
            found.at.push(Step::Entry(count));
            // Entries past the limit are counted, but not checked.
            let more = match entry {
                Ok(shape) if count < most => list.next_element_seed(Object { shape, found: &mut *found })?.is_some(),
                Err(rule) if count < most => list.next_element_seed(OfRule { rule, found: &mut *found })?.is_some(),
                _ => list.next_element::<IgnoredAny>()?.is_some(),
            };
            found.at.pop();
            if !more {
                break;
            }
            count += 1;
        }
        if count == 0 || count > most {
            found.wrong((self.rule)());
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        if let &Wanted::Map { name, value, most } = self.wanted.within() {
            let (found, mut seen) = (self.found, BTreeSet::new());
            while let Some(text) = object.next_key::<String>()? {
                found.at.push(Step::Member(text.clone()));
                if !name.allows_text(&text) {
                    found.wrong(format_args!("its name {name}"));
                }
                object.next_value_seed(OfRule { rule: value, found: &mut *found })?;
                if !seen.insert(text) {
                    found.wrong("appears twice in this object; remove one");
                }
                found.at.pop();
            }
            if seen.is_empty() || seen.len() > most {
                found.wrong((self.rule)());
            }
            return Ok(());
        }
        let &Wanted::Object(shape) = self.wanted.within() else {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return self.unless(false);
        };
        let found = self.found;
        let mut seen = vec![false; shape.members.len()];
        while let Some(name) = object.next_key::<String>()? {
            let known = shape.members.iter().position(|member| member.name == name);
            found.at.push(Step::Member(name));
            match known {
                None => {
                    found.wrong(format!("is not a known member; this object takes {}", shape.names()));
                    object.next_value::<IgnoredAny>()?;
                }
                Some(index) if seen[index] => {
                    found.wrong("appears twice in this object; remove one");
                    object.next_value::<IgnoredAny>()?;
                }
                Some(index) => {
                    seen[index] = true;
                    object.next_value_seed(OfMember { member: &shape.members[index], found: &mut *found })?;
                }
            }
            found.at.pop();
        }
        let missing = shape.members.iter().zip(seen).filter(|(member, seen)| !seen && member.need == Need::Required);
        for (member, _) in missing {
            found.wrong_member(member.name, format_args!("is required and {}", member.rule()));
        }
        Ok(())
    }
}
