//! Macros that avoid repetition in the configuration structs.

/// `with_*` methods: `with_name field: type` takes the type, `with_name field: into type` takes any `Into<type>`.
macro_rules! builders {
    (@value $value:ident into ($into:ty)) => { $value.into() };
    (@value $value:ident) => { $value };
    ($owner:ty { $($method:ident $field:ident : $(into ($into:ty))? $(plain ($plain:ty))? ;)* }) => {
        impl $owner {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                #[must_use]
                pub fn $method(mut self, value: $(impl Into<$into>)? $($plain)?) -> Self {
                    self.$field = builders!(@value value $(into ($into))?);
                    self
                }
            )*
        }
    };
}

/// The names of an enum's variants in strings and JSON.
macro_rules! names {
    ($owner:ident { $($variant:ident = $name:literal),* $(,)? }) => {
        impl $owner {
            /// Every value.
            pub const ALL: &'static [Self] = &[$($owner::$variant),*];

            /// The name in configurations.
            pub fn name(self) -> &'static str {
                match self { $($owner::$variant => $name),* }
            }

            /// The value with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }

        impl std::fmt::Display for $owner {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use {builders, names};
