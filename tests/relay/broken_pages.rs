//! A page as a real reporter made it, with values under wrong label names (FLINK-32649) and label names that
//! stand twice in a sample (FLINK-40648): each costs its sample, is counted, and told once.

use crate::fakes::{
    flink::FakeFlink,
    receiver::FakeReceiver,
    relay::{Log, Running, config, job, receiver},
    until_true,
};

const ODD: &str = include_str!("../pages/odd/tm_2.3.0_scrambled_and_duplicate_labels.txt");

#[tokio::test]
async fn samples_with_mixed_up_or_doubled_labels_cost_only_themselves() {
    let (log, _guard) = Log::start();
    let (flink, remote) = (FakeFlink::with_page(ODD).await, FakeReceiver::start().await);
    let global = "global: {scrape_interval: 1s, scrape_timeout: 1s}\n";
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), "")], global));
    until_true("three scrapes", || remote.samples_of("up").len() >= 3).await;
    let state = running.relay.status.targets()[0].state();
    assert_eq!(running.stop().await, 0);

    let dropped: Vec<_> = state
        .tally
        .dropped
        .iter()
        .filter(|(_, samples)| *samples > 0)
        .map(|(reason, samples)| (reason.as_str(), samples))
        .collect();
    assert_eq!(dropped, [("syntax", 7), ("sentinel", 16), ("mislabelled", 8)]);
    assert_eq!(state.tally.kept, 99 + state.tally.made - 31);
    let faults: Vec<_> = state.faults.iter().map(ToString::to_string).collect();
    let count = |words: &str| faults.iter().filter(|fault| fault.contains(words)).count();
    assert_eq!(count("label name stands twice in one sample"), 7, "{faults:?}");
    assert_eq!(count("job_id holds the value of another label"), 8, "{faults:?}");
    assert_eq!(faults[0].split(": ").next(), Some("line 13, column 65"));

    let samples = remote.samples();
    let ups = remote.samples_of("up");
    assert!(ups.iter().all(|up| up.value == 1.0));
    assert!(samples.iter().all(|sample| sample.labels.values().all(|value| value != "payments")));
    // The sample of the same family that is right goes through.
    let right = remote.samples_of("flink_taskmanager_job_task_operator_numRecordsOut");
    assert_eq!(right.len(), ups.len());
    assert!(right.iter().all(|sample| sample.label("operator") == "opA"));
    for (words, place) in
        [("stand under wrong label names", "line 13"), ("that cannot be read", "line 148")]
    {
        let told = log.lines_with(words);
        assert_eq!(told.len(), 1, "once, and not with each page: {told:?}");
        assert!(told[0].contains(place), "{told:?}");
    }
}
