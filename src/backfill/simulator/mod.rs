//! The protocol as a whole, told by seed: clients write, overwrite and delete; requests time out and take effect late; the process
//! dies and starts again; meanwhile chunks are copied by the real [`super::chunk::Machine`]. In the end both sides must be equal.
//!
//! The databases, the log and delivery are models ([`world`], [`delivery`]); delivery's own lanes are told in `delivery/lane`. Each
//! safeguard can be switched off ([`Safeguard`]): stories must then be found that end unequal, or this proves nothing.

mod copier;
mod delivery;
mod world;

use copier::Copier;
use world::World;

/// What keeps an old value from being put over a newer one, or one from being missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Safeguard {
    /// Newer lines of the region wait until the release.
    Hold,
    /// Older ones have arrived before the window is read.
    Drain,
    /// Nothing is released while a request of ours may take effect.
    Margin,
    /// What is in doubt is read back.
    ReadBack,
    /// And only when delivery cannot put an older value over it again.
    Saved,
    /// And only when all is dealt out that the log got before the doubt was settled.
    Behind,
    /// And only when the request in doubt can take effect no more.
    Ripe,
    /// What is in doubt while it is read back is read back once more.
    Seal,
    /// A chunk counts as written only with an acknowledgement.
    Acknowledged,
}

const ALL: [Safeguard; 9] = [
    Safeguard::Hold,
    Safeguard::Drain,
    Safeguard::Margin,
    Safeguard::ReadBack,
    Safeguard::Saved,
    Safeguard::Behind,
    Safeguard::Ripe,
    Safeguard::Seal,
    Safeguard::Acknowledged,
];

/// One story; what differs in the end. `without`: this safeguard is off.
fn told(seed: u64, without: Option<Safeguard>) -> Result<world::Counts, String> {
    let mut world = World::new(seed, without);
    let mut copier = Copier::default();
    for _ in 0..world.steps() {
        world.step(&mut copier, true);
    }
    // Faults stop; everything comes to its end.
    for _ in 0..world::STEPS_TO_END {
        if world.is_quiet() && copier.is_done(&world) {
            break;
        }
        world.step(&mut copier, false);
    }
    if !world.is_quiet() || !copier.is_done(&world) {
        return Err(format!("story {seed} does not end: {world:?} {copier:?}"));
    }
    match world.differing() {
        differing if differing.is_empty() => Ok(world.counts),
        differing => Err(format!("story {seed}: {differing:?}")),
    }
}

/// With a safeguard off, some story before this one ends unequal.
const STORIES_MAX: u64 = 20_000;

/// `TWINLINE_COPY_SEEDS`: how many stories.
fn seeds() -> u64 {
    std::env::var("TWINLINE_COPY_SEEDS").ok().map_or(1000, |text| text.parse().expect("a number of stories"))
}

#[test]
fn no_story_ends_unequal() {
    let mut sum = world::Counts::default();
    for seed in 0..seeds() {
        match told(seed, None) {
            Ok(counts) => sum.add(counts),
            Err(why) => panic!("{why}"),
        }
    }
    println!("{} stories: {sum:?}", seeds());
    assert!(sum.crashes > 0 && sum.zombies > 0 && sum.doubts > 0 && sum.parked > 0 && sum.deletes > 0, "{sum:?}");
}

#[test]
fn each_safeguard_is_needed() {
    for safeguard in ALL {
        let found = (0..STORIES_MAX).find(|seed| told(*seed, Some(safeguard)).is_err());
        println!("without {safeguard:?}: story {found:?} ends unequal");
        assert!(found.is_some(), "no story needs {safeguard:?}");
    }
}
