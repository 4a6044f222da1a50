//! Reading attribute values from literals, and writing them as JSON.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Number, Value};

use crate::literal::{Literal, Node};
use crate::problem::Problem;
use crate::problem::ProblemKind;
use crate::{
    Activation, BottleneckInit, CompositionMode, HypercomplexInit, InvertibleKind, LoraBias, LoraInit, PhmRuleInit,
    PromptCombine, PromptInit, ReductionFactor, ReftLayers, ResidualBeforeLn, Scaling, TaskMatrix,
};
use burn_adapters_diagnostics::{nearest, shortened};

/// The context of reading: the key, and the problems so far.
pub(crate) struct Context<'a> {
    pub(crate) key: &'a str,
    pub(crate) problems: &'a mut Vec<Problem>,
}

impl Context<'_> {
    fn report<T>(&mut self, node: &Node, kind: ProblemKind) -> Option<T> {
        self.problems.push(Problem::new(node.span.clone(), kind));
        None
    }

    fn wrong_type<T>(&mut self, node: &Node, expected: &'static str) -> Option<T> {
        let kind = ProblemKind::WrongType { key: self.key.to_owned(), expected, found: node.literal.describe() };
        self.report(node, kind)
    }

    fn out_of_range<T>(&mut self, node: &Node, value: String, allowed: &'static str) -> Option<T> {
        self.report(node, ProblemKind::OutOfRange { key: self.key.to_owned(), value, allowed })
    }
}

/// One way to read and write values of type `T`.
pub(crate) trait Codec<T> {
    /// Reads a value, or reports why it cannot be read.
    fn read(node: &Node, context: &mut Context<'_>) -> Option<T>;
    /// Writes a value as in the reference's dictionary.
    fn write(value: &T) -> Value;
}

/// `True` or `False`.
pub(crate) struct Flag;
/// A number that is always written as a float: the reference checks the type in some places.
pub(crate) struct Float;
/// A number that is written as an integer if it is one.
pub(crate) struct Numeric;
/// A non-negative integer.
pub(crate) struct Count;
/// A text.
pub(crate) struct Text;
/// One of the names in [`DTYPES`](crate::DTYPES).
pub(crate) struct DType;
/// A name of an enum.
pub(crate) struct Name;
/// A value or `None`.
pub(crate) struct Optional<C>(std::marker::PhantomData<C>);
/// A list.
pub(crate) struct ListOf<C>(std::marker::PhantomData<C>);
/// A number, or a map from layers to numbers.
pub(crate) struct Factor;
/// A number, `'learned'` or `'channel'`.
pub(crate) struct Scale;
/// `True`, `False` or `'post_add'`.
pub(crate) struct Residual;
/// `'all'` or a list of layers.
pub(crate) struct Layers;

impl Codec<bool> for Flag {
    fn read(node: &Node, context: &mut Context<'_>) -> Option<bool> {
        match node.literal {
            Literal::Bool(flag) => Some(flag),
            _ => context.wrong_type(node, "True or False"),
        }
    }

    fn write(flag: &bool) -> Value {
        Value::Bool(*flag)
    }
}

fn read_number(node: &Node, context: &mut Context<'_>, expected: &'static str) -> Option<f64> {
    match node.literal {
        Literal::Int(number) => Some(number as f64),
        Literal::Float(number) => Some(number),
        _ => context.wrong_type(node, expected),
    }
}

fn write_float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn write_numeric(number: f64) -> Value {
    // Up to this value, every integer has an exact float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT { Value::from(number as i64) } else { write_float(number) }
}

impl Codec<f64> for Float {
    fn read(node: &Node, context: &mut Context<'_>) -> Option<f64> {
        read_number(node, context, "a number")
    }

    fn write(number: &f64) -> Value {
        write_float(*number)
    }
}

impl Codec<f64> for Numeric {
    fn read(node: &Node, context: &mut Context<'_>) -> Option<f64> {
        read_number(node, context, "a number")
    }

    fn write(number: &f64) -> Value {
        write_numeric(*number)
    }
}

fn read_whole<T: TryFrom<i128>>(node: &Node, context: &mut Context<'_>) -> Option<T> {
    match node.literal {
        Literal::Int(number) => match T::try_from(number) {
            Ok(number) => Some(number),
            Err(_) if number < 0 => context.out_of_range(node, number.to_string(), "0 or greater"),
            Err(_) => context.out_of_range(node, number.to_string(), "a number that fits into 64 bits"),
        },
        _ => context.wrong_type(node, "a whole number"),
    }
}

impl Codec<usize> for Count {
    fn read(node: &Node, context: &mut Context<'_>) -> Option<usize> {
        read_whole(node, context)
    }

    fn write(count: &usize) -> Value {
        Value::from(*count)
    }
}

impl Codec<u64> for Count {
    fn read(node: &Node, context: &mut Context<'_>) -> Option<u64> {
        read_whole(node, context)
    }

    fn write(count: &u64) -> Value {
        Value::from(*count)
    }
}

impl Codec<String> for Text {
    fn read(node: &Node, context: &mut Context<'_>) -> Option<String> {
        match &node.literal {
            Literal::Str(text) => Some(text.clone()),
            _ => context.wrong_type(node, "a string"),
        }
    }

    fn write(text: &String) -> Value {
        Value::from(text.as_str())
    }
}

impl Codec<String> for DType {
    fn read(node: &Node, context: &mut Context<'_>) -> Option<String> {
        let name = Text::read(node, context)?;
        let known = crate::DTYPES.contains(&name.as_str());
        if known { Some(name) } else { unknown_value(node, &name, crate::DTYPES.to_vec(), context) }
    }

    fn write(name: &String) -> Value {
        Text::write(name)
    }
}

impl<T, C: Codec<T>> Codec<Option<T>> for Optional<C> {
    fn read(node: &Node, context: &mut Context<'_>) -> Option<Option<T>> {
        match node.literal {
            Literal::None => Some(None),
            _ => C::read(node, context).map(Some),
        }
    }

    fn write(value: &Option<T>) -> Value {
        value.as_ref().map_or(Value::Null, C::write)
    }
}

impl<T: PartialEq, C: Codec<T>> Codec<Vec<T>> for ListOf<C> {
    fn read(node: &Node, context: &mut Context<'_>) -> Option<Vec<T>> {
        let Literal::List(nodes) = &node.literal else {
            return context.wrong_type(node, "a list");
        };
        let mut items = Vec::with_capacity(nodes.len());
        let mut seen = HashSet::new();
        for node in nodes {
            let item = C::read(node, context)?;
            let written = C::write(&item).to_string();
            if !seen.insert(written.clone()) {
                let item = shortened(written.trim_matches('"'));
                return context.report(node, ProblemKind::DuplicateItem { key: context.key.to_owned(), item });
            }
            items.push(item);
        }
        Some(items)
    }

    fn write(items: &Vec<T>) -> Value {
        items.iter().map(C::write).collect()
    }
}

macro_rules! names_read {
    ($($owner:ty),*) => {$(
        impl Codec<$owner> for Name {
            fn read(node: &Node, context: &mut Context<'_>) -> Option<$owner> {
                let Literal::Str(name) = &node.literal else {
                    return context.wrong_type(node, "a name in quotes");
                };
                <$owner>::from_name(name).or_else(|| {
                    let allowed = <$owner>::ALL.iter().map(|value| value.name()).collect();
                    unknown_value(node, name, allowed, context)
                })
            }

            fn write(value: &$owner) -> Value {
                Value::from(value.name())
            }
        }
    )*};
}
names_read!(
    Activation,
    BottleneckInit,
    InvertibleKind,
    PhmRuleInit,
    HypercomplexInit,
    CompositionMode,
    LoraBias,
    LoraInit,
    TaskMatrix,
    PromptInit,
    PromptCombine
);

fn unknown_value<T>(node: &Node, name: &str, allowed: Vec<&'static str>, context: &mut Context<'_>) -> Option<T> {
    let nearest = nearest(name, allowed.iter().copied()).map(str::to_owned);
    let value = format!("'{}'", shortened(name));
    context.report(node, ProblemKind::UnknownValue { key: context.key.to_owned(), value, allowed, nearest })
}

impl Codec<ReductionFactor> for Factor {
    fn read(node: &Node, context: &mut Context<'_>) -> Option<ReductionFactor> {
        const EXPECTED: &str = "a number, or a map from layers to numbers such as {'0': 2, 'default': 16}";
        let Literal::Map(entries) = &node.literal else {
            return read_number(node, context, EXPECTED).map(ReductionFactor::Uniform);
        };
        let mut layers = BTreeMap::new();
        let mut default = None;
        for entry in entries {
            let factor = read_number(&entry.value, context, "a number")?;
            let before = if entry.key == "default" {
                default.replace(factor)
            } else if let Ok(layer) = entry.key.parse::<usize>() {
                layers.insert(layer, factor)
            } else {
                let at = Node { span: entry.key_span.clone(), literal: Literal::None };
                return unknown_value(&at, &entry.key, vec!["default", "0", "1", "2"], context);
            };
            if before.is_some() {
                let kind = ProblemKind::DuplicateKey { key: entry.key.clone() };
                context.problems.push(Problem::new(entry.key_span.clone(), kind));
                return None;
            }
        }
        Some(ReductionFactor::PerLayer { layers, default })
    }

    fn write(factor: &ReductionFactor) -> Value {
        match factor {
            ReductionFactor::Uniform(factor) => write_numeric(*factor),
            ReductionFactor::PerLayer { layers, default } => {
                let layers = layers.iter().map(|(layer, factor)| (layer.to_string(), *factor));
                let default = default.iter().map(|factor| ("default".to_owned(), *factor));
                layers.chain(default).map(|(key, factor)| (key, write_numeric(factor))).collect()
            }
        }
    }
}

impl Codec<Scaling> for Scale {
    fn read(node: &Node, context: &mut Context<'_>) -> Option<Scaling> {
        match &node.literal {
            Literal::Str(name) if name == "learned" => Some(Scaling::Learned),
            Literal::Str(name) if name == "channel" => Some(Scaling::Channel),
            Literal::Str(name) => unknown_value(node, name, vec!["learned", "channel"], context),
            _ => read_number(node, context, "a number, 'learned' or 'channel'").map(Scaling::Constant),
        }
    }

    fn write(scaling: &Scaling) -> Value {
        match scaling {
            Scaling::Constant(factor) => write_float(*factor),
            Scaling::Learned => Value::from("learned"),
            Scaling::Channel => Value::from("channel"),
        }
    }
}

impl Codec<ResidualBeforeLn> for Residual {
    fn read(node: &Node, context: &mut Context<'_>) -> Option<ResidualBeforeLn> {
        match &node.literal {
            Literal::Bool(before) => Some(ResidualBeforeLn::from(*before)),
            Literal::Str(name) if name == "post_add" => Some(ResidualBeforeLn::PostAdd),
            Literal::Str(name) => unknown_value(node, name, vec!["post_add"], context),
            _ => context.wrong_type(node, "True, False or 'post_add'"),
        }
    }

    fn write(residual: &ResidualBeforeLn) -> Value {
        match residual {
            ResidualBeforeLn::True => Value::Bool(true),
            ResidualBeforeLn::False => Value::Bool(false),
            ResidualBeforeLn::PostAdd => Value::from("post_add"),
        }
    }
}

impl Codec<ReftLayers> for Layers {
    fn read(node: &Node, context: &mut Context<'_>) -> Option<ReftLayers> {
        match &node.literal {
            Literal::Str(name) if name == "all" => Some(ReftLayers::All),
            Literal::Str(name) => unknown_value(node, name, vec!["all"], context),
            Literal::List(_) => ListOf::<Count>::read(node, context).map(ReftLayers::Some),
            _ => context.wrong_type(node, "'all' or a list of layers"),
        }
    }

    fn write(layers: &ReftLayers) -> Value {
        match layers {
            ReftLayers::All => Value::from("all"),
            ReftLayers::Some(layers) => ListOf::<Count>::write(layers),
        }
    }
}
