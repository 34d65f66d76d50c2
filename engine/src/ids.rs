//! Ids: index spaces as types, so that a route's number can't index endpoints.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub u32);

        impl $name {
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

ids! {
    /// A route of the snapshot, in the order of names.
    RouteId,
    /// An upstream of the snapshot, named ones first.
    UpstreamId,
    /// An endpoint as configured, within its upstream.
    EndpointId,
    /// A listener of the snapshot.
    ListenerId,
    /// What a name is known by over generations: ids count within one snapshot.
    Key,
    /// A known caller of one store of consumers.
    ConsumerId,
    /// What a consumer has bought, in the order of names.
    PlanId,
    /// A group's or a scope's name.
    WordId,
    /// A listening address that is held over generations, whatever listener it serves.
    SocketId,
}
