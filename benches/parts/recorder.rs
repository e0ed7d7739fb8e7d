//! `load::recorder`: recording latencies, as the load generator does for each request.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion};
use iisplice::load::recorder::{Cut, Leg, Recorder};

/// Round trips from 100 us to 17 ms in random order.
const SAMPLES: usize = 4096;

pub(crate) fn benches(criterion: &mut Criterion) {
    let began = Instant::now();
    let mut random = fastrand::Rng::with_seed(12);
    let ends: Vec<Instant> = (0..SAMPLES)
        .map(|_| {
            let magnitude = random.u32(10..24);
            began + Duration::from_nanos(100_000 + random.u64(..1 << magnitude))
        })
        .collect();

    let mut recorder = filled(began, &ends);
    let samples = recorder.cut().legs[&Leg::Request].len();
    assert_eq!(samples, SAMPLES as u64);

    let mut next = ends.iter().cycle();
    criterion.bench_function("recorder/record a sample", |b| {
        b.iter(|| {
            let ended = *next.next().expect("it goes round");
            recorder.sample(Leg::Request, black_box(began), black_box(ended));
        });
    });

    // Each thread cuts a page once a second, and one thread adds up the pages.
    criterion.bench_function("recorder/cut a page", |b| {
        b.iter_batched(|| filled(began, &ends), |mut recorder| recorder.cut(), BatchSize::LargeInput);
    });
    let page = filled(began, &ends).cut();
    let mut sum = Cut::default();
    sum.add(&page);
    assert_eq!(sum.legs[&Leg::Request], page.legs[&Leg::Request]);
    criterion.bench_function("recorder/add a page", |b| b.iter(|| sum.add(black_box(&page))));
}

fn filled(began: Instant, ends: &[Instant]) -> Recorder {
    let mut recorder = Recorder::default();
    for ended in ends {
        recorder.sample(Leg::Request, began, *ended);
    }
    recorder
}
