//! The whole way with the binaries that a user runs, the embedded broker, and stand-ins for the ERP and the shop.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stockwire_tests::device::Heard;
use stockwire_tests::peers::Peers;
use stockwire_tests::real::World;
use stockwire_tests::real::process::{eventually, wait_until};
use stockwire_tests::script::Act;
use stockwire_tests::shift::Shift;
use stockwire_tests::site::{Broker, program};
use tokio::task::block_in_place;

/// Long enough for a busy machine; nothing here waits that long when it works.
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn thirty_movements_arrive_everywhere_and_each_can_be_traced() -> Result<()> {
    let mut shift = begin().await?;
    for act in shift.script(30, 3) {
        shift.perform(&act)?;
    }
    shift.agree().await?;
    ensure!(shift.traced().await? > 0, "counts alone prove little");
    shift.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_without_a_gateway_and_arrives_when_there_is_one() -> Result<()> {
    let mut shift = begin().await?;
    let acts = shift.script(30, 4);
    let (before, rest) = acts.split_at(10);
    let (without, after) = rest.split_at(10);
    before.iter().try_for_each(|act| shift.perform(act))?;
    block_in_place(|| shift.site.stop_gateway())?;
    without.iter().try_for_each(|act| shift.perform(act))?;
    shift.site.start_gateway()?;
    after.iter().try_for_each(|act| shift.perform(act))?;
    shift.agree().await?;

    // The same without a goodbye, in the middle of what it is doing.
    let acts = shift.script(10, 5);
    let (before, after) = acts.split_at(5);
    before.iter().try_for_each(|act| shift.perform(act))?;
    shift.site.kill_gateway()?;
    after.iter().try_for_each(|act| shift.perform(act))?;
    shift.site.start_gateway()?;
    shift.agree().await?;
    ensure!(shift.traced().await? > 0, "counts alone prove little");
    shift.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_stopped_ends_well_and_loses_nothing() -> Result<()> {
    let mut shift = begin().await?;
    for (round, act) in shift.script(6, 6).iter().enumerate() {
        // What was recorded in the moment before goes out after the next start, if not before.
        shift.perform(act)?;
        block_in_place(|| shift.site.stop_agent()).with_context(|| shift.evidence())?;
        ensure!(shift.site.journal_head()? == round as u64 + 1, "the journal can be read without the agent");
        shift.start_agent()?;
        block_in_place(|| shift.settle())?;
    }
    shift.agree().await?;
    let devices = shift.site.get("/v1/devices").await?;
    ensure!(devices["rows"][0]["status"] == "online", "{devices}");
    block_in_place(|| shift.site.stop_agent())?;
    // Its own goodbye, not the broker's word about a lost connection.
    eventually("the gateway knows that the agent was stopped", DEADLINE, || async {
        let devices = shift.site.get("/v1/devices").await?;
        Ok((devices["rows"][0]["status"] == "stopped").then_some(()))
    })
    .await?;
    shift.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_on_the_same_journal_is_refused_and_the_first_goes_on() -> Result<()> {
    let mut shift = begin().await?;
    let acts = shift.script(4, 7);
    shift.perform(&acts[0])?;
    let pid = shift.site.agent_status()?["pid"].clone();
    let mut second = Command::new(program("stockwire-agent")?);
    second.arg("run").arg("--config").arg(shift.site.folder().join("agent.toml"));
    let output = block_in_place(|| second.output())?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}: {complaint}", output.status);
    let told = ["journal.db", "in use", &format!("process {pid}")];
    ensure!(told.iter().all(|word| complaint.contains(word)), "{complaint:?} does not say {told:?}");
    acts[1..].iter().try_for_each(|act| shift.perform(act))?;
    ensure!(shift.site.agent_status()?["pid"] == pid, "the first agent is still the one");
    shift.agree().await?;
    shift.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_and_unknown_codes_are_refused_aloud_and_nothing_is_recorded() -> Result<()> {
    let mut shift = begin().await?;
    let cases: &[(&[u8], &str)] = &[
        (b"\x00\xff\x13\x80noise\x7f", "no item has the code \\u{80}noise"),
        (b"]E09521234999997", "no item has the GTIN"),
        (b"]E09521234000010", "check digit"),
        (b"HELLO", "no item has the code HELLO"),
        (b"SW:WF:DANCE", "no workflow DANCE: there are RECEIVE, PUT_AWAY"),
        (b"SW:CMD:FLY", "expected one of DONE, CANCEL, UNDO"),
        (b"SW:LOC:Z-99", "Z-99 is no location of site HAM"),
        (b"SW:QTY:many", "is no quantity"),
    ];
    // Once, because noise that goes on is answered only now and then.
    refuse(&mut shift, &[0x55; 9000], "without an end: scan again").with_context(|| shift.evidence())?;
    // At rest, and in the middle of receiving.
    for opening in [&[][..], &["SW:WF:RECEIVE", "SW:LOC:A-02"]] {
        for code in opening {
            let heard = block_in_place(|| shift.keeper.scan(code))?;
            ensure!(heard == Heard::Understood, "{code}: {heard:?}\n{}", shift.evidence());
        }
        for (bytes, complaint) in cases {
            refuse(&mut shift, bytes, complaint).with_context(|| shift.evidence())?;
        }
    }
    ensure!(shift.site.journal_head()? == 0, "nothing of all that is a fact");
    block_in_place(|| shift.settle())?;
    for act in shift.script(3, 8) {
        shift.perform(&act)?;
    }
    shift.agree().await?;
    shift.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_that_is_dumb_or_moving_records_nothing_until_it_vouches_for_a_weight() -> Result<()> {
    let mut shift = begin().await?;
    let act = Act::Receive { bin: "A-03".into(), item: 20, amount: 2_345 };
    for code in ["SW:WF:RECEIVE", "SW:LOC:A-03", &format!("]E0{}", shift.world.item(20).gtin)] {
        ensure!(block_in_place(|| shift.keeper.scan(code))? == Heard::Understood, "{code}");
    }
    block_in_place(|| {
        wait_until("the platform is seen empty", DEADLINE, || {
            let status = shift.site.agent_status()?;
            Ok((status["stations"][0]["screen"]["weight"] == "0.000 kg").then_some(()))
        })
    })
    .with_context(|| shift.evidence())?;
    shift.keeper.scale.set_answering(false);
    shift.keeper.scale.put(2_345, Duration::ZERO);
    block_in_place(|| {
        wait_until("the scale is missed", DEADLINE, || {
            let status = shift.site.agent_status()?;
            let findings = status["findings"].as_array().context("findings")?;
            let missed = findings.iter().any(|finding| finding["message"].to_string().contains("scale"));
            Ok(missed.then_some(()))
        })
    })
    .with_context(|| shift.evidence())?;
    ensure!(shift.site.journal_head()? == 0, "no weight, no fact");
    shift.keeper.scale.set_answering(true);
    let heard = block_in_place(|| shift.keeper.scanner.hear(DEADLINE))?;
    ensure!(heard == Some(Heard::Good), "{heard:?}\n{}", shift.evidence());
    shift.heard_good(&act);
    shift.agree().await?;
    shift.close()
}

async fn begin() -> Result<Shift> {
    let world = World::standard();
    let peers = Peers::stand_in(&world).await?;
    Shift::begin(world, peers, Broker::Embedded, None).await
}

/// These bytes, and CR, must give the bad signal and a reason on the screen.
fn refuse(shift: &mut Shift, bytes: &[u8], complaint: &str) -> Result<()> {
    let shown: String = String::from_utf8_lossy(bytes).chars().take(40).collect();
    block_in_place(|| {
        shift.keeper.scanner.send_raw(bytes)?;
        shift.keeper.scanner.send_raw(b"\r")?;
        let heard = shift.keeper.scanner.hear(DEADLINE)?;
        ensure!(heard == Some(Heard::Bad), "{shown:?}: {heard:?}");
        let status = shift.site.agent_status()?;
        let message = status["stations"][0]["screen"]["message"].as_str().context("a message")?;
        ensure!(message.contains(complaint), "{shown:?}: {message:?} does not say {complaint:?}");
        shift.keeper.scanner.hush(Duration::from_millis(50))?;
        Ok(())
    })
}
