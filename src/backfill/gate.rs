//! What keeps delivery away from a region while a chunk of it is copied.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::base::Result;
use crate::db::read::Window;
use crate::route::Target;

/// A part of the destination: a measurement of a place, over a span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The place.
    pub target: Target,
    /// By its name at the source.
    pub measurement: Vec<u8>,
    /// When.
    pub window: Window,
}

/// Names a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HoldId(pub u64);

/// What a call comes to.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// Holds regions back. One that holds nothing serves where no delivery works.
pub trait Gate: fmt::Debug {
    /// Whether it holds anything: else nothing need wait for a release.
    fn holds(&self) -> bool;
    /// From now on nothing newer of the region goes to the destination.
    fn hold<'a>(&'a self, region: &'a Region) -> Soon<'a, HoldId>;
    /// Everything older of it has its end on both sides.
    fn drained(&self, hold: HoldId) -> Soon<'_, ()>;
    /// What was held back goes on, in order.
    fn release(&self, hold: HoldId) -> Soon<'_, ()>;
}

/// No proxy stands in front: there is nobody to hold back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline;

impl Gate for Offline {
    fn holds(&self) -> bool {
        false
    }

    fn hold<'a>(&'a self, _: &'a Region) -> Soon<'a, HoldId> {
        Box::pin(std::future::ready(Ok(HoldId(0))))
    }

    fn drained(&self, _: HoldId) -> Soon<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn release(&self, _: HoldId) -> Soon<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
