//! What happens to the paths of our own stack, as it goes over the control socket.

use anabranch_sockets::{Change, FlowInfo, Host, PathEvent, Protocol, SubflowId, SubflowInfo};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::own::called;
use crate::connect::report::why_ended;
use crate::control::PathNews;
use crate::control::server::News;

/// News that wait for a slow reader; then those of the host wait, and are lost at last.
const MAX_WAITING: usize = 64;

/// The news of all hosts together.
pub(super) fn of(hosts: &[Host]) -> News {
    let (sender, news) = mpsc::channel(MAX_WAITING);
    for (shard, host) in hosts.iter().enumerate() {
        let name = (hosts.len(), shard);
        tokio::spawn(pass_on(name, host.news(), sender.clone()));
    }
    news
}

async fn pass_on(
    (shards, shard): (usize, usize),
    mut from: tokio::sync::broadcast::Receiver<anabranch_sockets::News>,
    to: mpsc::Sender<PathNews>,
) {
    loop {
        let next = tokio::select! {
            next = from.recv() => next,
            () = to.closed() => return,
        };
        let news = match next {
            Ok(news) => told(&news, called(shards, shard, news.flow)),
            Err(RecvError::Lagged(count)) => Some(PathNews {
                event: "lost".into(),
                reason: Some(format!("{count} events")),
                ..PathNews::default()
            }),
            Err(RecvError::Closed) => return,
        };
        if let Some(news) = news
            && to.send(news).await.is_err()
        {
            return;
        }
    }
}

fn told(news: &anabranch_sockets::News, connection: String) -> Option<PathNews> {
    let info = news.info.as_deref()?;
    let Protocol::Mptcp(mptcp) = info.protocol else {
        return None;
    };
    let base = PathNews {
        connection,
        token: Some(mptcp.local_token),
        ..PathNews::default()
    };
    let whole = |event: &str| PathNews {
        event: event.to_owned(),
        local: Some(info.local),
        remote: Some(info.remote),
        ..base.clone()
    };
    Some(match &news.change {
        Change::Established => whole("established"),
        Change::Closed(reason) => PathNews {
            reason: Some(reason.to_string()),
            ..whole("closed")
        },
        Change::Path(event) => path(event, info, base),
    })
}

fn path(event: &PathEvent, info: &FlowInfo, base: PathNews) -> PathNews {
    let named = |event: &str| PathNews {
        event: event.to_owned(),
        ..base.clone()
    };
    match event {
        PathEvent::SubflowUp(id) => about(named("sf_established"), find(info, *id)),
        PathEvent::SubflowGone(id, end) => PathNews {
            reason: Some(why_ended(*end)),
            ..about(named("sf_closed"), find(info, *id))
        },
        PathEvent::Announced { id, addr } => PathNews {
            remote_id: Some(*id),
            remote: Some(*addr),
            ..named("announced")
        },
        PathEvent::Withdrawn { id } => PathNews {
            remote_id: Some(*id),
            ..named("removed")
        },
        PathEvent::Priority { subflow, backup } => PathNews {
            backup: Some(*backup),
            ..about(named("sf_priority"), find(info, *subflow))
        },
        PathEvent::Fallback(reason) => PathNews {
            reason: Some(format!("{reason:?}")),
            ..named("fallback")
        },
        PathEvent::Stuck(why) => PathNews {
            reason: Some(why.to_string()),
            ..named("stuck")
        },
    }
}

/// A subflow there is, or was.
fn find(info: &FlowInfo, id: SubflowId) -> Option<&SubflowInfo> {
    let gone = info.gone.iter().map(|(subflow, _)| subflow);
    info.subflows.iter().chain(gone).find(|s| s.id == id)
}

fn about(news: PathNews, subflow: Option<&SubflowInfo>) -> PathNews {
    let Some(subflow) = subflow else {
        return news;
    };
    PathNews {
        local: Some(subflow.local),
        remote: Some(subflow.remote),
        local_id: Some(subflow.local_id),
        remote_id: Some(subflow.remote_id),
        backup: Some(subflow.backup),
        ..news
    }
}
