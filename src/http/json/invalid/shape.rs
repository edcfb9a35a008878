//! The shape of a body: its members, and the rule of each.

use std::borrow::Cow;

use super::Step;
use crate::{api::Limits, sale::rule::Rule};

/// A body that has a `Shape`.
pub trait Described {
    fn shape(limits: &Limits) -> Shape;
}

/// The members of an object.
#[derive(Debug, Clone)]
pub struct Shape {
    pub(super) members: Vec<Member>,
}

#[derive(Debug, Clone)]
pub struct Member {
    pub name: &'static str,
    pub(super) kind: Kind,
    pub(super) need: Need,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Value(Rule),
    Object(Shape),
    List {
        entry: Shape,
        most: usize,
    },
    /// A list of values.
    Values {
        entry: Rule,
        most: usize,
    },
    /// An object with names that the caller chooses.
    Map {
        name: Rule,
        value: Rule,
        most: usize,
    },
    /// Accepted and ignored, whatever it is.
    Ignored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    /// May be left out, or be null.
    Optional,
    /// May be left out, but not null: null would remove it.
    Kept,
}

impl Shape {
    pub fn new(members: Vec<Member>) -> Self {
        Self { members }
    }

    /// The shape without this member.
    pub fn without(mut self, name: &str) -> Self {
        self.members.retain(|member| member.name != name);
        self
    }

    /// The shape with this member added.
    pub fn and(mut self, member: Member) -> Self {
        self.members.push(member);
        self
    }

    /// The shape of a patch: required members may be left out, except `names`, which identify entries of lists. A list whose
    /// entries have none of these is replaced as a whole.
    pub fn of_change(mut self, names: &[&str]) -> Self {
        for member in &mut self.members {
            let merged = match &mut member.kind {
                Kind::Object(shape) => Some(shape),
                Kind::List { entry, .. } => {
                    Some(entry).filter(|entry| entry.members.iter().any(|it| names.contains(&it.name)))
                }
                Kind::Value(_) | Kind::Values { .. } | Kind::Map { .. } | Kind::Ignored => None,
            };
            if let Some(shape) = merged {
                *shape = std::mem::replace(shape, Self { members: Vec::new() }).of_change(names);
            }
            if member.need == Need::Required && !names.contains(&member.name) {
                member.need = Need::Kept;
            }
        }
        self
    }

    /// The names of its members that are read.
    pub(super) fn names(&self) -> String {
        let read = self.members.iter().filter(|member| !matches!(member.kind, Kind::Ignored));
        let names: Vec<_> = read.map(|member| member.name).collect();
        match &names[..] {
            [] => "no members".to_owned(),
            [only] => format!("{only} only"),
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
        }
    }

    /// The rule of the value at a pointer, if one is known.
    pub(super) fn rule_at(&self, pointer: &[Step]) -> Option<Rule> {
        let (Step::Member(name), rest) = pointer.split_first()? else { return None };
        let member = self.members.iter().find(|member| member.name == name)?;
        match (&member.kind, rest) {
            (Kind::Value(rule), []) => Some(*rule),
            (Kind::Object(shape), rest) => shape.rule_at(rest),
            (Kind::List { entry, .. }, [Step::Entry(_), rest @ ..]) => entry.rule_at(rest),
            (Kind::Values { entry, .. }, [Step::Entry(_)]) => Some(*entry),
            (Kind::Map { value, .. }, [Step::Member(_)]) => Some(*value),
            _ => None,
        }
    }

    #[cfg(test)]
    pub fn members(&self) -> impl Iterator<Item = (&'static str, Option<&Shape>, bool)> {
        self.members.iter().map(|member| {
            let inner = match &member.kind {
                Kind::Object(shape) | Kind::List { entry: shape, .. } => Some(shape),
                Kind::Value(_) | Kind::Values { .. } | Kind::Map { .. } | Kind::Ignored => None,
            };
            (member.name, inner, member.need == Need::Required)
        })
    }
}

impl Member {
    pub fn value(name: &'static str, rule: Rule) -> Self {
        Self { name, kind: Kind::Value(rule), need: Need::Required }
    }

    pub fn object(name: &'static str, shape: Shape) -> Self {
        Self { name, kind: Kind::Object(shape), need: Need::Required }
    }

    /// A list of 1 to `most` objects.
    pub fn list(name: &'static str, entry: Shape, most: usize) -> Self {
        Self { name, kind: Kind::List { entry, most }, need: Need::Required }
    }

    /// A list of 1 to `most` values.
    pub fn values(name: &'static str, entry: Rule, most: usize) -> Self {
        Self { name, kind: Kind::Values { entry, most }, need: Need::Required }
    }

    /// An object of 1 to `most` members of any name.
    pub fn map(member: &'static str, name: Rule, value: Rule, most: usize) -> Self {
        Self { name: member, kind: Kind::Map { name, value, most }, need: Need::Required }
    }

    pub fn ignored(name: &'static str) -> Self {
        Self { name, kind: Kind::Ignored, need: Need::Optional }
    }

    pub fn optional(self) -> Self {
        Self { need: Need::Optional, ..self }
    }

    /// May be left out, but not be null.
    pub fn kept(self) -> Self {
        Self { need: Need::Kept, ..self }
    }

    pub(super) fn rule(&self) -> Cow<'static, str> {
        match &self.kind {
            Kind::Value(rule) => rule.to_string().into(),
            Kind::Object(shape) => format!("must be an object with {}", shape.names()).into(),
            Kind::List { most, entry } => list_rule(entry, *most).into(),
            Kind::Values { entry, most } => {
                format!("must be a list of 1 to {most} entries, each of which {entry}").into()
            }
            Kind::Map { name, value, most } => {
                format!("must be an object with 1 to {most} members; each name {name}; each value {value}").into()
            }
            Kind::Ignored => "is ignored".into(),
        }
    }
}

fn list_rule(entry: &Shape, most: usize) -> String {
    format!("must be a list of 1 to {most} objects, each with {}", entry.names())
}
