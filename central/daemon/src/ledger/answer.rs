//! Answers: the account, and the account held against the stores.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json as Body, Router};
use efd_central_feed::FeedOptions;
use efd_central_ledger::{Book, Stage};
use efd_central_log::{BlockLog, Progress};
use efd_shared_daemon::clock::utc_now;
use efd_shared_daemon::shutdown::Stop;
use efd_shared_daemon::when::Named;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::report::Night;
use super::{Asked, LedgerStatus, Question, TraceQuestion};
use crate::fleet::Fleet;
use crate::roles::{FeedWorkers, LakeStatus, feed_progress};

/// Who answers, and where it looks.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) ledger: LedgerStatus,
    pub(crate) log: Arc<dyn BlockLog>,
    pub(crate) lake: Option<LakeStatus>,
    pub(crate) feed: Option<FeedWorkers>,
    /// Where the public topics are; `None` where there are none.
    pub(crate) public: Option<FeedOptions>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) stop: Stop,
    /// A reading of all stores at a time.
    pub(crate) verifying: Arc<Mutex<()>>,
}

pub(crate) fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/api/v1/account", get(account))
        .route("/api/v1/report", get(report))
        .route("/api/v1/trace", get(trace))
        .with_state(desk)
}

async fn account(State(desk): State<Desk>, Query(question): Query<Question>) -> Response {
    let asked = match question.understand(utc_now(), Named::PARAMETERS) {
        Ok(asked) => asked,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    on_a_thread("account", move |is_wanted| {
        Ok(Body(desk.answer(&asked, is_wanted)?).into_response())
    })
    .await
}

async fn trace(State(desk): State<Desk>, Query(question): Query<TraceQuestion>) -> Response {
    let sought = match question.understand("time") {
        Ok(sought) => sought,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    on_a_thread("trace", move |is_wanted| {
        let go_on = || is_wanted() && !desk.stop.is_asked();
        Ok(Body(desk.trace(&sought, &go_on)?).into_response())
    })
    .await
}

/// Asked often while an answer is made; `false` ends it.
pub(super) type GoOn<'a> = &'a dyn Fn() -> bool;

/// Dropped with the request, by whoever is gone.
struct Asker(Arc<AtomicBool>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Reading books and stores blocks. `work` is told whether anybody still waits for it.
async fn on_a_thread(
    what: &'static str,
    work: impl FnOnce(GoOn<'_>) -> Result<Response> + Send + 'static,
) -> Response {
    let is_gone = Arc::<AtomicBool>::default();
    let _asker = Asker(Arc::clone(&is_gone));
    let work = move || work(&|| !is_gone.load(Ordering::Acquire));
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            let error = format!("{error:#}");
            tracing::error!(error, what, "An answer could not be made");
            (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
        }
        Err(_) => {
            let body = format!("the {what} could not be made\n");
            (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
        }
    }
}

/// `html=true`: a page, else text.
#[derive(Debug, Deserialize)]
struct ReportQuestion {
    site: Option<String>,
    day_obs: String,
    #[serde(default)]
    html: bool,
}

async fn report(State(desk): State<Desk>, Query(asked): Query<ReportQuestion>) -> Response {
    let question = Question {
        site: asked.site,
        day_obs: Some(asked.day_obs.clone()),
        ..Question::default()
    };
    let understood = match question.understand(utc_now(), Named::PARAMETERS) {
        Ok(understood) => understood,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    on_a_thread("report", move |_| {
        let told = desk.report(asked.day_obs, &understood, asked.html)?;
        Ok(match asked.html {
            true => Html(told).into_response(),
            false => told.into_response(),
        })
    })
    .await
}

impl Desk {
    fn report(&self, title: String, asked: &Asked, html: bool) -> Result<String> {
        let book = Book::open(&self.ledger.folder)?;
        let stages = self.stages(&book)?;
        let account = book.account(&asked.filter, &stages)?.by_topic();
        let link = book.link(&asked.filter)?;
        let night = Night {
            title,
            account: &account,
            link: &link,
            edges: &self.fleet.to_json(),
        };
        Ok(match html {
            true => night.to_html(),
            false => night.to_text(),
        })
    }

    fn answer(&self, asked: &Asked, is_wanted: GoOn<'_>) -> Result<Json> {
        let book = Book::open(&self.ledger.folder)?;
        let stages = self.stages(&book)?;
        let account = book.account(&asked.filter, &stages)?;
        let account = match asked.with_hours {
            true => account,
            false => account.by_topic(),
        };
        let mut answer = account.to_json(asked.with_hours);
        let time =
            |hour: Option<efd_central_ledger::Hour>| hour.map(|hour| hour.begin().to_string());
        answer["from"] = time(asked.filter.from).into();
        answer["until"] = time(asked.filter.until).into();
        let unknown = |stage: &Stage| Some((stage.name, stage.lacks.as_ref().err()?.clone()));
        answer["unknown"] = json!(
            stages
                .iter()
                .filter_map(unknown)
                .collect::<BTreeMap<_, _>>()
        );
        answer["statements"] = json!(book.statements()?);
        answer["behind_blocks"] = self.ledger.to_json(&*self.log)["behind_blocks"].clone();
        if asked.verify {
            answer["verify"] = self.verify(&book, &asked.filter, is_wanted)?;
        }
        Ok(answer)
    }

    /// The stores that this process can speak for.
    pub(super) fn stages(&self, book: &Book) -> Result<Vec<Stage>> {
        let mut progress: Vec<(&'static str, Result<Progress, String>)> = Vec::new();
        if let Some(feed) = &self.feed {
            let elsewhere = || "another process runs the feed".to_owned();
            progress.push(("feed", feed_progress(feed).ok_or_else(elsewhere)));
        }
        if let Some(lake) = &self.lake {
            let elsewhere = || "another process writes the lake".to_owned();
            progress.push(("lake", lake.settled().ok_or_else(elsewhere)));
        }
        let stage = |(name, progress): (&'static str, Result<Progress, String>)| {
            let lacks = match progress {
                Ok(progress) => book.lacks(&*self.log, &progress)?,
                Err(why) => Err(why),
            };
            Ok(Stage { name, lacks })
        };
        progress.into_iter().map(stage).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn work_ends_when_nobody_waits_for_it() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (send, ended) = channel();
        let answer = on_a_thread("test", move |is_wanted| {
            while is_wanted() {
                std::thread::sleep(Duration::from_millis(1));
            }
            send.send(()).unwrap();
            Ok(StatusCode::OK.into_response())
        });
        // As a request whose client closes the connection.
        let waited = runtime
            .block_on(async { tokio::time::timeout(Duration::from_millis(50), answer).await });
        assert!(waited.is_err());
        ended.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}
