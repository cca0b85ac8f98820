//! The spool on a real disk: what was written outlives the relay, whatever ended it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use flinkrelay::{
    config::Config,
    relay::{Relay, StartError},
    spool::Reason,
};

use crate::{
    fakes::{
        flink::{FakeFlink, page},
        http::Answer,
        receiver::FakeReceiver,
        relay::{Log, Running, config, job, receiver},
        until, until_true,
    },
    outages::counting_flink,
    task_manager,
};

fn durable(flink: &FakeFlink, remote: &FakeReceiver, directory: &Path, queue: &str) -> Config {
    durable_job(&job("flink", &[flink.address()], ""), remote, directory, queue)
}

fn durable_job(job: &str, remote: &FakeReceiver, directory: &Path, queue: &str) -> Config {
    let queue = format!(
        "name: remote\nqueue_config: {{batch_send_deadline: 50ms, max_backoff: 100ms{queue}}}\n"
    );
    let spool = format!("spool: {{directory: {}, fsync: always}}\n", directory.display());
    config(&[job.to_owned()], &[receiver(&remote.url(), &queue)], &spool)
}

/// Starts a relay as soon as the one before has let go of the directory.
async fn start_again(config: &Config) -> Running {
    until("the directory is free", || Running::try_start(config)).await
}

/// Scrapes that arrived: each makes one `up`, good or bad. What is out of order or comes twice the receiver
/// itself refuses.
fn arrived(remote: &FakeReceiver) -> usize {
    remote.samples_of("up").len()
}

/// Scrapes whose samples are on disk.
fn written(running: &Running) -> u64 {
    let counts = running.counts(0);
    let store = running.relay.receivers()[0].store().expect("there is a data directory");
    assert_eq!(store.trouble, "");
    match store.unwritten_bytes {
        // One for each scrape.
        0 => counts.queued.fragments,
        _ => 0,
    }
}

#[tokio::test]
async fn what_was_written_is_delivered_after_a_kill_in_order_and_once() {
    let directory = tempfile::tempdir().unwrap();
    let flink = counting_flink().await;
    let remote = FakeReceiver::with_script(|_| Answer::words(503, "down")).await;
    // Another number of lanes each time: records know their target.
    let config =
        |lanes: u16| durable(&flink, &remote, directory.path(), &format!(", max_shards: {lanes}"));
    let mut owed = 0;
    for lanes in [4, 1, 3] {
        let running = start_again(&config(lanes)).await;
        let recovered = running.counts(0).recovered.fragments;
        assert!(recovered >= owed, "{recovered} of {owed}");
        owed = until("three more scrapes", || Some(written(&running)).filter(|n| *n >= owed + 3))
            .await;
        running.kill().await;
    }
    remote.quiet().await;
    assert!(remote.accepted().is_empty() && !remote.tries().is_empty());
    remote.set(|_| Answer::words(204, ""));
    let running = start_again(&config(2)).await;
    until_true("everything arrives", || running.counts(0).delivered.fragments > owed).await;
    assert_eq!(running.stop().await, 0);
    // A page may be under way when a relay is killed, one at each kill and one at the end.
    let (arrived, scraped) = (arrived(&remote), flink.scrapes());
    assert!(arrived + 4 >= scraped && arrived as u64 >= owed, "{arrived} of {scraped}");
}

#[tokio::test]
async fn a_stop_keeps_what_is_left_and_says_so() {
    let (log, _guard) = Log::start();
    let directory = tempfile::tempdir().unwrap();
    let flink = counting_flink().await;
    let remote = FakeReceiver::with_script(|_| Answer::words(503, "down")).await;
    let config = durable(&flink, &remote, directory.path(), "");
    let running = Running::with_grace(&config, Duration::from_millis(100));
    until_true("three scrapes", || running.counts(0).queued.samples >= 45).await;
    let relay = running.relay.clone();
    let (lost, queued) = running.stop_durable().await;
    assert_eq!((lost, queued > 0), (0, true));
    assert_eq!(relay.receivers()[0].counts().dropped_in_all().samples, 0);
    let kept = log.lines_with("kept on disk");
    assert!(kept.len() == 1 && kept[0].contains(&format!("kept={queued}")), "{kept:?}");
    drop(relay);

    remote.set(|_| Answer::words(204, ""));
    let running = start_again(&config).await;
    let counts = running.counts(0);
    assert_eq!(counts.recovered.samples, queued);
    until_true("it arrives", || running.counts(0).delivered.samples > queued).await;
    let (lost, queued) = running.stop_durable().await;
    assert_eq!((lost, queued), (0, 0));
    assert_eq!(arrived(&remote), flink.scrapes());
    // Nothing of it is on the disk any more.
    let segments = walk(directory.path());
    assert!(segments.iter().all(|name| !name.ends_with(".seg")), "{segments:?}");
}

fn walk(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let names = entries.flat_map(|path| match path.is_dir() {
        true => walk(&path),
        false => vec![path.display().to_string()],
    });
    names.collect()
}

#[tokio::test]
async fn a_second_relay_on_the_directory_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let (flink, remote) = (counting_flink().await, FakeReceiver::start().await);
    let config = durable(&flink, &remote, directory.path(), "");
    let first = Running::start(&config);
    let second = Relay::new(&config).unwrap();
    let error = second.open_spools().unwrap_err();
    assert!(matches!(error, StartError::DataDirectory(_)), "{error:?}");
    assert!(error.to_string().contains("is in use by another flinkrelay"), "{error}");
    first.stop().await;
}

/// The directory vanishes under the relay: what is written from then on nobody would find.
#[tokio::test]
async fn a_disk_that_cannot_be_trusted_is_told_and_costs_no_sample_while_the_relay_runs() {
    let (log, _guard) = Log::start();
    let directory = tempfile::tempdir().unwrap();
    let flink = counting_flink().await;
    let remote = FakeReceiver::start().await;
    let config = durable(&flink, &remote, directory.path(), "");
    let running = Running::start(&config);
    until_true("two scrapes arrive", || running.counts(0).delivered.samples >= 30).await;
    std::fs::remove_dir_all(directory.path()).unwrap();
    let poisoned = until("the next cursor cannot be written", || {
        running.relay.poisoned_spools().into_iter().next()
    });
    let (name, why) = poisoned.await;
    assert_eq!(name, "remote");
    assert!(why.contains("nothing more is written") && why.contains("No such file"), "{why}");
    let (delivered, scrapes) = (running.counts(0).delivered.samples, flink.scrapes());
    until_true("it goes on", || running.counts(0).delivered.samples >= delivered + 45).await;
    assert!(flink.scrapes() > scrapes);
    let told = log.lines_with("cannot be trusted any more");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(running.stop().await, 0);
    assert_eq!(arrived(&remote), flink.scrapes());
}

/// A reload changes the receiver while its spool holds something: the successor has all of it, on disk too.
#[tokio::test]
async fn a_reload_hands_the_spool_on_with_its_disk() {
    let directory = tempfile::tempdir().unwrap();
    let flink = counting_flink().await;
    let remote = FakeReceiver::with_script(|_| Answer::words(503, "down")).await;
    let with = |lanes: &str| durable(&flink, &remote, directory.path(), lanes);
    let running = Running::start(&with(", max_shards: 4"));
    until_true("two scrapes", || written(&running) >= 2).await;
    running.reload(&with(", max_shards: 2")).await;
    let before = running.counts(0).appended.fragments;
    until_true("the successor writes", || {
        running.relay.receivers()[0].lanes() == 2 && written(&running) > before
    })
    .await;
    let owed = written(&running);
    running.kill().await;
    remote.quiet().await;
    remote.set(|_| Answer::words(204, ""));
    let running = start_again(&with(", max_shards: 2")).await;
    assert!(running.counts(0).recovered.fragments >= owed);
    until_true("everything arrives", || running.counts(0).delivered.fragments > owed).await;
    running.stop().await;
    assert!(arrived(&remote) as u64 >= owed && owed >= 2);
}

/// A removed receiver's samples stay on disk until it comes back.
#[tokio::test]
async fn a_removed_receiver_finds_its_samples_when_it_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let flink = FakeFlink::with_page(&task_manager(&[("a", 1.0)])).await;
    let (down, well) = (
        FakeReceiver::with_script(|_| Answer::words(503, "down")).await,
        FakeReceiver::start().await,
    );
    let jobs = [job("flink", &[flink.address()], "")];
    let spool = format!("spool: {{directory: {}}}\n", directory.path().display());
    let (first, second) =
        (receiver(&down.url(), "name: down"), receiver(&well.url(), "name: well"));
    let both = config(&jobs, &[first, second.clone()], &spool);
    let one = config(&jobs, &[second], &spool);
    let running = Running::with_grace(&both, Duration::from_millis(100));
    until_true("three scrapes", || written_any(&running)).await;
    let removed = running.relay.receivers()[0].clone();
    running.reload(&one).await;
    until_true("it is gone", || running.relay.receivers().len() == 1).await;
    let counts = removed.counts();
    assert_eq!(counts.dropped(Reason::ReceiverRemoved).samples, 0);
    assert!(counts.queued.samples >= 18, "{counts:?}");
    down.set(|_| Answer::words(204, ""));
    running.reload(&both).await;
    let back = running.relay.receivers().into_iter().find(|r| r.config.name == "down").unwrap();
    assert_eq!(back.counts().recovered.samples, counts.queued.samples);
    until_true("it arrives", || back.counts().delivered.samples >= counts.queued.samples).await;
    running.stop_durable().await;
}

/// Wanted again while its spool is being closed, it gets its disk back, and does not go on in memory only.
#[tokio::test]
async fn a_receiver_that_comes_back_while_it_is_closed_has_its_disk() {
    let directory = tempfile::tempdir().unwrap();
    let flink = FakeFlink::with_page(&task_manager(&[("a", 1.0)])).await;
    let remote = FakeReceiver::with_script(|_| Answer::words(503, "down")).await;
    let jobs = [job("flink", &[flink.address()], "")];
    let spool = format!("spool: {{directory: {}, fsync: always}}\n", directory.path().display());
    let stays = receiver(&remote.url(), "name: stays");
    let goes = receiver(&remote.url(), "name: goes");
    let one = config(&jobs, std::slice::from_ref(&stays), &spool);
    let both = config(&jobs, &[stays, goes], &spool);
    let running = Running::with_grace(&both, Duration::ZERO);
    let found = || running.relay.receivers().into_iter().find(|r| r.config.name == "goes");
    // Closing takes some milliseconds, which begin a moment after the order.
    for pause in (0..5).cycle().take(40) {
        let gone = found().unwrap();
        running.reload(&one).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        running.reload(&both).await;
        let back = until("it is back", || found().filter(|back| !Arc::ptr_eq(back, &gone))).await;
        assert!(back.store().is_some(), "after {pause} ms it has no disk");
    }
    running.kill().await;
}

fn written_any(running: &Running) -> bool {
    let receiver = &running.relay.receivers()[0];
    receiver.counts().queued.samples >= 18 && receiver.store().unwrap().unwritten_bytes == 0
}

#[tokio::test]
async fn nothing_is_opened_to_look_at_a_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let (flink, remote) = (counting_flink().await, FakeReceiver::start().await);
    let config = durable(&flink, &remote, &path, "");
    assert!(Relay::faults(&config).is_empty());
    let relay = Relay::new(&config).unwrap();
    relay.scrape_once().await;
    assert!(!path.exists());
}

/// Pages that do not compress, so that eight megabytes are soon full.
#[tokio::test]
async fn a_full_disk_limit_costs_the_oldest_and_is_exact() {
    let (log, _guard) = Log::start();
    let directory = tempfile::tempdir().unwrap();
    // Made once: to make it anew takes longer than a scrape may.
    let mut rng = fastrand::Rng::with_seed(1);
    let random: String = (0..801_000).map(|_| rng.alphanumeric()).collect();
    let mut page_number = 0;
    let flink = FakeFlink::with_script(move |_| {
        page_number += 1;
        let line = |i: usize| {
            let text = &random[i * 4000 + page_number..][..4000];
            format!("flink_taskmanager_n{{i=\"{i}\",text=\"{text}\"}} {page_number}\n")
        };
        page(&(0..200).map(line).collect::<String>())
    })
    .await;
    let remote = FakeReceiver::with_script(|_| Answer::words(503, "down")).await;
    // Large pages take their time on a busy machine.
    let job = job("flink", &[flink.address()], "scrape_interval: 1s\nscrape_timeout: 1s");
    let config = durable_job(&job, &remote, directory.path(), ", max_bytes: 8MiB");
    let running = Running::start(&config);
    let on_disk = || -> u64 {
        walk(directory.path())
            .iter()
            .filter_map(|path| std::fs::metadata(path).ok())
            .map(|m| m.len())
            .sum()
    };
    until_true("the third megabyte is dropped", || {
        let bytes = on_disk();
        assert!(bytes <= 8 << 20, "{bytes} bytes on disk");
        running.counts(0).dropped(Reason::QueueFull).bytes > 3 << 20
    })
    .await;
    let dropped = running.counts(0).dropped(Reason::QueueFull);
    let queued = running.counts(0).queued;
    assert!(queued.bytes > 5 << 20, "what fits is kept: {queued:?}");
    assert_eq!(log.lines_with("the queue is full").len(), 1, "once an outage");
    let status = running.relay.status.targets().remove(0);
    remote.set(|_| Answer::words(204, ""));
    let relay = running.relay.clone();
    until_true("it arrives", || relay.receivers()[0].counts().delivered.samples >= queued.samples)
        .await;
    assert_eq!(running.stop().await, 0);
    let counts = relay.receivers()[0].counts();
    assert!(counts.dropped_in_all().samples >= dropped.samples);
    assert_eq!(counts.delivered.samples + counts.dropped_in_all().samples, counts.appended.samples);
    assert_eq!(remote.samples().len() as u64, counts.delivered.samples);
    // The newest is there; a scrape that the stop cut short is not.
    let samples = remote.samples_of("flink_taskmanager_n");
    let newest = samples.iter().filter(|s| !s.is_stale()).map(|sample| sample.value as usize).max();
    // On a busy machine a page may come too late.
    let failed = usize::try_from(status.state().failures.iter().sum::<u64>()).unwrap();
    let pages = flink.requests().len();
    assert!(newest.is_some_and(|page| page + 1 + failed >= pages), "{newest:?} of {pages}");
}

/// The directory of a receiver's spool, which a relay has made.
fn directory_of(data: &Path, receiver: &str) -> PathBuf {
    let name = format!("{receiver}-");
    let entries = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let mut found =
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&name));
    found.next().expect("the receiver's directory")
}

/// A file whose opening hangs, as one on a dead network disk does, until somebody opens its other end.
fn hanging_file(path: &Path) {
    if path.exists() {
        fs::remove_file(path).unwrap();
    }
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Opens the other end of a hanging file.
fn let_go(path: &Path) -> fs::File {
    fs::File::options().read(true).write(true).open(path).unwrap()
}

/// Recovering a spool takes as long as its disk does. Nobody else waits for that: what is scraped goes to
/// the other receivers, and a person can see how they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_added_holds_up_nobody_while_its_spool_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let flink = counting_flink().await;
    let (stays, comes) = (FakeReceiver::start().await, FakeReceiver::start().await);
    let jobs = [job("flink", &[flink.address()], "")];
    let spool = format!("spool: {{directory: {}}}\n", directory.path().display());
    let one = [receiver(&stays.url(), "name: stays")];
    let both = [one[0].clone(), receiver(&comes.url(), "name: comes")];
    let (one, both) = (config(&jobs, &one, &spool), config(&jobs, &both, &spool));
    let running = Running::start(&both);
    until_true("a scrape", || !comes.accepted().is_empty()).await;
    running.reload(&one).await;
    until_true("it has left", || running.relay.receivers().len() == 1).await;
    let lock = directory_of(directory.path(), "comes").join("lock");
    hanging_file(&lock);

    let reload = {
        let (relay, both) = (Arc::clone(&running.relay), both.clone());
        tokio::spawn(async move { relay.reload(both).await })
    };
    // A relay that waits for the disk would hang here, and this lets go of it, so that the test fails.
    let (seen, too_late) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let watchdog = std::thread::spawn({
        let (seen, too_late) = (Arc::clone(&seen), Arc::clone(&too_late));
        move || {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !seen.load(Relaxed) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            too_late.store(!seen.load(Relaxed), Relaxed);
            let_go(&lock)
        }
    });
    let before = flink.scrapes();
    until_true("scrapes go on", || {
        assert_eq!(running.relay.receivers().len(), 1, "as long as it is not open");
        flink.scrapes() >= before + 3
    })
    .await;
    assert!(!too_late.load(Relaxed), "nobody could look at the relay while the disk hung");
    assert!(!reload.is_finished(), "the disk hangs");
    seen.store(true, Relaxed);
    let _other_end = watchdog.join().unwrap();
    let changes = reload.await.unwrap().unwrap();
    assert_eq!(changes.receivers_added, ["comes"]);
    let before = comes.accepted().len();
    until_true("it gets samples again", || comes.accepted().len() > before).await;
    assert_eq!(running.stop().await, 0);
}

/// Each disk that hangs gets three seconds at the end; several of them get these together.
#[tokio::test]
async fn disks_that_hang_hold_up_a_stop_together_and_not_in_turn() {
    const RECEIVERS: usize = 5;
    let (log, _guard) = Log::start();
    let directory = tempfile::tempdir().unwrap();
    let flink = counting_flink().await;
    let remote = FakeReceiver::with_script(|_| Answer::words(503, "down")).await;
    let receivers: Vec<_> =
        (0..RECEIVERS).map(|n| receiver(&remote.url(), &format!("name: r{n}"))).collect();
    let spool = format!("spool: {{directory: {}, fsync: always}}\n", directory.path().display());
    let jobs = [job("flink", &[flink.address()], "")];
    let config = config(&jobs, &receivers, &spool);
    let running = Running::with_grace(&config, Duration::from_millis(100));
    until_true("a scrape", || (0..RECEIVERS).all(|n| running.counts(n).queued.samples > 0)).await;
    for n in 0..RECEIVERS {
        hanging_file(&directory_of(directory.path(), &format!("r{n}")).join("cursor.tmp"));
    }
    // What is settled makes a cursor, which hangs.
    remote.set(|_| Answer::words(204, ""));
    until_true("deliveries", || (0..RECEIVERS).all(|n| running.counts(n).delivered.samples > 0))
        .await;
    let began = Instant::now();
    running.stop_durable().await;
    let took = began.elapsed();
    let hung = log.lines_with("the spool's disk does not answer").len();
    assert_eq!(hung, RECEIVERS, "the test is about this");
    assert!(took < Duration::from_secs(3 * 3), "{took:?}");
    for n in 0..RECEIVERS {
        let_go(&directory_of(directory.path(), &format!("r{n}")).join("cursor.tmp"));
    }
}
