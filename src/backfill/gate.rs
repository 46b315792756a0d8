//! What keeps delivery away from a region while a chunk of it is copied.
//!
//! Promise: from the answer to [`Gate::hold`] on nothing newer of the region goes to the destination until [`Hold::release`]; where no
//! twinline stands in front nobody has to be kept away, and nothing is.

use crate::base::Result;
use crate::db::read::Window;
use crate::delivery::{Held, Parked, Region, Regions};
use crate::route::RouteName;

/// Who is kept away.
#[derive(Clone, Debug)]
pub enum Gate {
    /// No proxy stands in front: there is nobody to hold back.
    Offline,
    /// Delivery to the destination.
    Live(Regions),
}

/// A region that is held. Let go of without a word, delivery goes on with it and tells that.
#[derive(Debug)]
pub enum Hold {
    /// There was nobody.
    Nobody,
    /// Delivery waits.
    Held(Held),
}

impl Gate {
    /// Whether it holds anything: else nothing need wait for a release.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// From now on nothing newer of the region goes to the destination.
    ///
    /// # Errors
    /// As [`Regions::hold`].
    pub async fn hold(&self, region: Region) -> Result<Hold> {
        match self {
            Self::Offline => Ok(Hold::Nobody),
            Self::Live(regions) => regions.hold(region).await.map(Hold::Held),
        }
    }
}

impl Hold {
    /// Everything older of it has its end on both sides.
    ///
    /// # Errors
    /// As [`Held::drained`].
    pub async fn drained(&mut self) -> Result<()> {
        match self {
            Self::Nobody => Ok(()),
            Self::Held(held) => held.drained().await,
        }
    }

    /// What waits for the release.
    #[must_use]
    pub fn parked(&self) -> Parked {
        match self {
            Self::Nobody => Parked::default(),
            Self::Held(held) => held.parked(),
        }
    }

    /// What was held back goes on, in order.
    pub async fn release(self) {
        if let Self::Held(held) = self {
            held.release().await;
        }
    }
}

/// A window of a measurement as delivery knows it: by both of its ends.
#[must_use]
pub fn region(route: &RouteName, measurement: &[u8], window: Window) -> Region {
    // The end of all time belongs to it; any other end is the first time behind it.
    let to_ns = if window.end_ns == i64::MAX { i64::MAX } else { window.end_ns.saturating_sub(1) };
    Region { route: route.clone(), measurement: measurement.to_vec(), from_ns: window.start_ns, to_ns }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_both_of_its_ends() {
        let route = RouteName::Database { db: "d".to_owned(), rp: String::new() };
        let of = |start_ns, end_ns| {
            let region = region(&route, b"m", Window { start_ns, end_ns });
            (region.from_ns, region.to_ns)
        };
        assert_eq!(of(0, 10), (0, 9));
        assert_eq!(of(-5, i64::MAX), (-5, i64::MAX));
        assert_eq!(of(Window::ALL.start_ns, Window::ALL.end_ns).0, Window::ALL.start_ns);
    }
}
