//! What another store must be able to do, so that chunks can be kept there as they are here.

use std::collections::HashMap;

use anyhow::Result;
use uuid::Uuid;

use crate::rag::export::point::Point;

/// The key of the fingerprint beside a point's payload.
pub(super) const FINGERPRINT: &str = "fingerprint";
/// Points that are listed at once.
pub(super) const PAGE: usize = 1000;

/// What a collection holds before or after an export.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The fingerprints of the points that an export brought, by their ids.
    pub(super) ours: HashMap<Uuid, u128>,
    /// Points that are somebody else's: their id does not come of their name.
    pub(super) foreign: u64,
}

impl Survey {
    /// Takes one point into account: its id, the id that its name gives, and its fingerprint.
    pub(super) fn add(&mut self, id: Uuid, named: Option<Uuid>, fingerprint: Option<&str>) {
        if named != Some(id) {
            self.foreign += 1;
            return;
        }
        // A fingerprint that is none equals none, so the point is written again.
        let fingerprint = fingerprint.and_then(|text| u128::from_str_radix(text, 16).ok());
        self.ours.insert(id, fingerprint.unwrap_or_default());
    }
}

/// A collection of another store. Whatever it is asked may be asked twice.
pub(super) trait Collection {
    /// Where it is, for people.
    fn place(&self) -> String;
    /// Makes it where it is missing, and says whether it did.
    ///
    /// # Errors
    /// It is there with another size, distance or shape.
    async fn prepare(&self, dimensions: usize) -> Result<bool>;
    /// Everything in it, by id.
    async fn survey(&self) -> Result<Survey>;
    /// Writes points, in place of those with the same ids.
    async fn put(&self, points: &[Point]) -> Result<()>;
    /// Removes points.
    async fn remove(&self, ids: &[Uuid]) -> Result<()>;
    /// How many points it says that it has.
    async fn count(&self) -> Result<u64>;
    /// Reads one point back, where it is there.
    async fn read(&self, id: Uuid) -> Result<Option<Point>>;
}
