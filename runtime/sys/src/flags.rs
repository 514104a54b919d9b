//! A set of named bits, without a dependency for the one place that needs it.

macro_rules! bitflags_lite {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $flag:ident = $value:expr,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(u64);

        impl $name {
            /// No bit set.
            pub const NONE: Self = Self(0);
            $($(#[$inner])* pub const $flag: Self = Self($value);)*

            /// The bits as the kernel takes them.
            pub const fn bits(self) -> u64 {
                self.0
            }

            /// Both sets together.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }
    };
}
