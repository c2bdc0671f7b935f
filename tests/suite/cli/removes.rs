//! Commands that remove or replace snapshots: forget and tag, on a repository that restic wrote for them.

use std::path::Path;

use serde_json::json;
use tests::fixtures::Fixture;
use tests::larder::larder;
use tests::program::Ran;
use tests::restic::{self, restic};

use super::{check, compare};

fn run(repository: &Path, line: &str) -> Ran {
    larder().on(repository).args(line.split(' ').map(|word| word.trim_matches('\''))).run()
}

#[test]
fn forget_says_what_goes_and_why_the_rest_stays() {
    let fixture = Fixture::unpack("forget");
    for (name, line) in [
        ("forget", "forget --dry-run --host h2 --host h3 --keep-last 1 --keep-daily 2 --allow-future"),
        ("forget_short", "forget --dry-run --host h2 -c -g '' -l 2 -y unlimited"),
        ("forget_verbose", "forget -v --dry-run --no-lock --host h2 --keep-within 1m --keep-tag a,b"),
        ("forget_by_tags", "forget -v --dry-run --host h2 --path /fixture/f -g tags,host -w 1"),
        ("forget_json", "forget --dry-run --json --host h2 --keep-yearly 1"),
        ("forget_all_json", "forget --dry-run --json --host h2 --unsafe-allow-remove-all"),
        ("forget_ids", "forget --dry-run 595160f7 00ff latest"),
        ("forget_nobody", "forget --host nobody --keep-last 1"),
        ("forget_without_rules", "forget"),
        ("forget_last_of_a_group", "forget --host h2 --keep-tag nope"),
        ("forget_from_the_future", "forget --host h3 --keep-last 1"),
        ("forget_all_without_filter", "forget --unsafe-allow-remove-all"),
        ("forget_without_lock", "forget --keep-last 1 --no-lock"),
        ("forget_negative", "forget --keep-last -1"),
        ("forget_weeks", "forget --keep-within 1w"),
        ("forget_nowhere", "forget --keep-last 1 --time-zone Nowhere"),
    ] {
        let ran = run(&fixture.repo(), line);
        compare(name, &format!("exit code {}\n{}{}", ran.code, ran.stdout, ran.stderr));
    }
    assert_eq!(
        run(&fixture.repo(), "snapshots --json").json().as_array().unwrap().len(),
        37,
        "all are there"
    );
    let larder = larder();
    let call = larder.on(&fixture.repo()).env("LARDER_COMPATIBILITY", "strict");
    let ran = call.args(["forget", "--dry-run", "--host", "h3", "--keep-last", "1"]).run();
    assert_eq!(ran.code, 0, "restic takes dates as they are\n{ran}");
}

/// Wrappers read these tables, and people compare them.
#[test]
fn forget_says_it_in_restics_words() {
    let fixture = Fixture::unpack("forget");
    if restic::version() < (0, 19, 0) {
        // Older ones have other columns and no rule for the oldest; the JSON is compared with all of them.
        return;
    }
    for line in [
        "--host h2 --keep-last 1 --keep-daily 2",
        "--host h1 --path /fixture/g -d 1 -w 2 -m 3 -y 4 -l 5",
        "--host h2 --keep-within 2y5m7d3h --keep-within-daily 1d --keep-tag a,b --keep-tag '' -v",
        "--host h2 -c -l unlimited",
        "--host h2 -g '' --unsafe-allow-remove-all",
        "--host h2 -q -l 1",
        "--host h2 --json -g tags,host -l 1",
        "29bfac97 5010def3",
    ] {
        let words = || line.split(' ').map(|word| word.trim_matches('\''));
        let said = |ran: Ran| ran.stdout.replace("shown in UTC", "shown in local time");
        let theirs = said(restic().on(&fixture.repo()).args(["forget", "--dry-run"]).args(words()).ok());
        let ours = said(larder().on(&fixture.repo()).args(["forget", "--dry-run"]).args(words()).ok());
        assert_eq!(ours, theirs, "{line}");
    }
}

#[test]
fn what_is_forgotten_is_gone_and_the_rest_is_there() {
    let fixture = Fixture::unpack("forget");
    let count = || run(&fixture.repo(), "snapshots --json").json().as_array().unwrap().len();
    let before = count();
    check("forget_done", &run(&fixture.repo(), "forget --host h2 --keep-last 1"), &[]);
    assert_eq!(count(), before - 2);
    assert_eq!(run(&fixture.repo(), "forget 595160f7 00ff").code, 1, "one of the ids names nothing");
    assert_eq!(count(), before - 3);
    restic().on(&fixture.repo()).arg("check").ok();
}

#[test]
fn policies_show_what_they_will_leave() {
    let fixture = Fixture::unpack("forget");
    let ran = run(&fixture.repo(), "forget --host h2 --keep-daily 7 --keep-yearly 2 --simulate 1y --json");
    let groups = ran.json();
    let rows = groups[0]["future"].as_array().unwrap();
    assert_eq!((ran.code, rows.len()), (0, 13), "{ran}");
    assert_eq!(rows[0]["snapshots"], 3);
    let last = rows[12]["snapshots"].as_u64().unwrap();
    assert!((4..=9).contains(&last) && rows[12]["removed"].as_u64() > Some(0), "{ran}");
    let ran = run(&fixture.repo(), "forget --host h2 --keep-daily 7 --simulate 1y");
    assert!(ran.stdout.contains("\nTime                 Snapshots  Removed  Oldest\n"), "{ran}");
    assert_eq!(run(&fixture.repo(), "forget --host h2 --simulate 1y").code, 1, "no rules, no future");
}

#[test]
fn tags_are_changed_as_restic_does_it() {
    let fixture = Fixture::unpack("forget");
    let repository = fixture.repo();
    for (name, line) in [
        ("tag_nothing", "tag"),
        ("tag_contradiction", "tag --set a --add b"),
        ("tag_both_ways", "tag --protect --unprotect"),
        ("tag_add", "tag --add x,z --host h2"),
        ("tag_add_again", "tag --add x,z --host h2"),
        ("tag_add_json", "tag --add q --host h2 --json"),
        ("tag_unknown", "tag --add q 00ff"),
        ("tag_verbose", "tag --set 'u' --host h2 --path /fixture/f latest -v"),
    ] {
        check(name, &run(&repository, line), &[]);
    }
    let tags = |line: &str| {
        let ran = run(&repository, line);
        assert_eq!(ran.code, 0, "{ran}");
        run(&repository, "snapshots --json latest --host h2").json()[0].clone()
    };
    let one = tags("tag --add a,,b --remove u --host h2");
    assert_eq!(one["tags"], json!(["b", "a"]), "{one}");
    let original = "29bfac97e93bf303914cd4c9ad60f279d7e0b80b7101ccb1d250f2200a4b3513";
    assert_eq!(one["original"], original, "the first name is remembered");
    assert_eq!(tags("tag --set '' --host h2").get("tags"), None);
    restic().on(&repository).arg("check").ok();
}

#[test]
fn protected_snapshots_stay_until_they_are_unprotected() {
    let fixture = Fixture::unpack("forget");
    let repository = fixture.repo();
    let oldest = || run(&repository, "snapshots --json --host h2").json()[0].clone();
    let id = || oldest()["short_id"].as_str().unwrap().to_owned();
    assert_eq!(run(&repository, &format!("tag --protect {}", id())).code, 0);
    // What restic makes of the snapshot keeps the protection.
    restic().on(&repository).args(["tag", "--add", "theirs", &id()]).ok();
    assert_eq!(oldest()["tags"], json!(["larder-protected", "theirs"]));
    assert_eq!(run(&repository, &format!("tag --set mine {}", id())).code, 0);

    let ran = run(&repository, &format!("forget {}", id()));
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.stderr.contains("the snapshot is protected"), "{ran}");
    let kept = run(&repository, "forget --host h2 --keep-last 1 --json").json();
    assert_eq!(kept[0]["reasons"][1]["matches"], json!(["protected"]), "{kept}");
    assert_eq!(run(&repository, "forget --host h2 --unsafe-allow-remove-all").code, 0);
    assert_eq!(run(&repository, "snapshots --json --host h2").json().as_array().unwrap().len(), 1);

    assert_eq!(run(&repository, &format!("tag --unprotect {}", id())).code, 0);
    assert_eq!(run(&repository, &format!("forget {}", id())).code, 0);
    assert_eq!(run(&repository, "snapshots --json --host h2").json(), json!([]));
}
