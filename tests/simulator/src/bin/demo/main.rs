//! `make demo`: the real binary in a simulated world, shown to a person. It sends four events: a first run, a run with
//! new records, one during which the API fails, and one that catches up. Then it compares the bucket with the API, and
//! the collector verifies what it collected.

mod compare;
mod screen;
mod show;
mod stage;

use std::{error::Error, process::ExitCode, time::Instant};

use compare::Comparison;
use screen::{Screen, Style};
use stage::{Event, Stage, count};

type Failure = Box<dyn Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let screen = Screen::new();
    match demo(&screen).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            screen.marked(Style::Bad, "✗", &wrong.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn demo(screen: &Screen) -> Result<(), Failure> {
    let began = Instant::now();
    let mut stage = opening(screen).await?;
    let told = story(screen, &mut stage).await;
    screen.space();
    if told.is_err() {
        show::last_log_lines(screen, &stage);
    }
    show::places(screen, &stage);
    screen.space();
    told?;
    screen.text(&format!("The demo took {:.0} s. Its files stay until the next one.", began.elapsed().as_secs_f64()));
    Ok(())
}

async fn story(screen: &Screen, stage: &mut Stage) -> Result<(), Failure> {
    let event = everything(screen, stage).await?;
    let event = only_what_is_new(screen, stage, &event).await?;
    fails_in_the_middle(screen, stage, &event).await?;
    makes_good(screen, stage).await?;
    verdict(screen, stage).await?;
    proof(screen, stage).await
}

async fn opening(screen: &Screen) -> Result<Stage, Failure> {
    screen.title("incydr-collector: a demo");
    screen.text(
        "The real binary runs as Lambda would run it. The Incydr API, S3, Secrets Manager and the Lambda Runtime API \
         are simulated on this machine, and nothing leaves it.",
    );
    let stage = Stage::open().await?;
    screen.space();
    screen.fact("Binary", &stage::shown(&stage.binary));
    screen.fact("Bucket", &format!("{}, empty at the start", stage::shown(&stage.bucket_directory())));
    for (n, (name, value, default)) in stage::SETTINGS.iter().enumerate() {
        let heading = if n == 0 { "Settings" } else { "" };
        screen.fact(heading, &format!("{name}={value} instead of {default}"));
    }
    screen.fact("", "so that the demo takes seconds. All other settings have their defaults");
    Ok(stage)
}

async fn everything(screen: &Screen, stage: &mut Stage) -> Result<Event, Failure> {
    screen.heading("1. The first event");
    stage.fill();
    screen.text(&format!("The API holds {}.", stage.holdings()));
    let event = stage.send(screen).await?;
    show::outcome(screen, &event);
    event.must_be_complete()?;
    show::new_objects(screen, &event);
    show::first_line(screen, &event, "audit");
    show::first_line(screen, &event, "file_events");
    all_there(screen, stage).await?;
    Ok(event)
}

async fn only_what_is_new(screen: &Screen, stage: &mut Stage, before: &Event) -> Result<Event, Failure> {
    screen.heading("2. New records, the next event");
    let added = stage.add_some(before.covered_to()?);
    screen.text(&format!("New at the API: {added}."));
    stage.settle(screen, before.covered_to()?).await;
    let event = stage.send(screen).await?;
    show::outcome(screen, &event);
    event.must_be_complete()?;
    show::new_objects(screen, &event);
    show::set_aside(screen, stage).await;
    all_there(screen, stage).await?;
    Ok(event)
}

async fn fails_in_the_middle(screen: &Screen, stage: &mut Stage, before: &Event) -> Result<(), Failure> {
    screen.heading("3. The API fails in the middle");
    let added = stage.add_many(before.covered_to()?);
    screen.text(&format!(
        "New at the API: {added}. It answers the first page of file events, and every request for a further page \
         with a 500."
    ));
    stage.settle(screen, before.covered_to()?).await;
    stage.break_file_events();
    let event = stage.send(screen).await?;
    show::outcome(screen, &event);
    event.must_be_failed("file_events")?;
    if event.answer["streams"]["file_events"]["covered_to"] != before.answer["streams"]["file_events"]["covered_to"] {
        return Err("The checkpoint should cover no file events that are not stored.".into());
    }
    show::new_objects(screen, &event);
    let comparison = Comparison::of(stage).await;
    let missing = comparison.total().lost;
    if missing == 0 || missing != comparison.of_stream("file_events").lost || !comparison.is_equal_so_far() {
        show::comparison(screen, &comparison);
        return Err("Only file events of this event should be missing.".into());
    }
    let sentence = format!(
        "{} file events are not in the bucket yet, nor covered by the checkpoint. All other records are.",
        count(missing)
    );
    screen.marked(Style::Dim, "•", &sentence);
    Ok(())
}

async fn makes_good(screen: &Screen, stage: &mut Stage) -> Result<(), Failure> {
    screen.heading("4. The API works again, the next event");
    screen.text("Nothing is new at the API; the missing file events are still due.");
    stage.mend();
    let event = stage.send(screen).await?;
    show::outcome(screen, &event);
    event.must_be_complete()?;
    show::new_objects(screen, &event);
    all_there(screen, stage).await
}

/// After a complete run the bucket has everything that the API has.
async fn all_there(screen: &Screen, stage: &Stage) -> Result<(), Failure> {
    let comparison = Comparison::of(stage).await;
    if !comparison.is_equal() {
        show::comparison(screen, &comparison);
        return Err("The bucket does not hold what the API holds.".into());
    }
    let records = count(comparison.total().api);
    screen.marked(Style::Good, "✓", &format!("All {records} records of the API are in the bucket, each once."));
    Ok(())
}

async fn verdict(screen: &Screen, stage: &Stage) -> Result<(), Failure> {
    screen.heading("Bucket and API, record by record");
    let comparison = Comparison::of(stage).await;
    show::comparison(screen, &comparison);
    screen.space();
    let total = comparison.total();
    let altered = if total.altered == 0 { "none".to_owned() } else { count(total.altered) };
    let sentence = format!(
        "{} records at the API, {} in the bucket: {} lost, {} twice, {altered} altered.",
        count(total.api),
        count(total.bucket),
        count(total.lost),
        count(total.twice),
    );
    if comparison.rewritten > 0 {
        return Err(format!("{sentence} {} objects were overwritten or deleted.", comparison.rewritten).into());
    }
    if !comparison.is_equal() {
        return Err(sentence.into());
    }
    screen.marked(Style::Good, "✓", &sentence);
    screen.marked(Style::Good, "✓", "No object was overwritten or deleted.");
    screen.text(
        "Each version of a user, an agent, a session or a case is a record, and so is each record that was set aside.",
    );
    Ok(())
}

/// Shows what a user can verify without the API, and what `verify` finds if somebody has changed the bucket.
async fn proof(screen: &Screen, stage: &Stage) -> Result<(), Failure> {
    screen.heading("5. The proof");
    screen.text("Each run writes a manifest that names the one before it by its hash. An operator sends {\"action\": \"verify\"}.");
    let told = stage.verify(screen).await;
    show::verified(screen, &told);
    if told["status"] != "whole" {
        return Err("The collected records should be whole.".into());
    }
    let (key, bytes) = stage.take_one_away().await.ok_or("There is no object to take away.")?;
    screen.space();
    screen.text("One of the objects is deleted. The operator sends the same event:");
    let told = stage.verify(screen).await;
    show::verified(screen, &told);
    stage.put_back(&key, bytes).await;
    let names_it = told["findings"].as_array().is_some_and(|found| found.iter().any(|found| found["key"] == key));
    if told["status"] != "broken" || !names_it {
        return Err(format!("verify should have found that {key} is missing.").into());
    }
    screen.text("The object is put back.");
    Ok(())
}
