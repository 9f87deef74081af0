//! Events as clients of every version read them.

use pintle_api::event::{Actor, Event};
use pintle_engine::events::{self, Kind};

/// One event. Containers' and images' events repeat their action and id in the fields of old clients, as Docker
/// does.
pub(crate) fn event(event: &events::Event) -> Event {
    let legacy = matches!(event.kind, Kind::Container | Kind::Image);
    Event {
        status: if legacy { event.action.clone() } else { String::new() },
        id: if legacy { event.actor_id.clone() } else { String::new() },
        from: match event.kind {
            Kind::Container => event.attributes.get("image").cloned().unwrap_or_default(),
            _ => String::new(),
        },
        kind: event.kind.as_str().to_owned(),
        action: event.action.clone(),
        actor: Actor { id: event.actor_id.clone(), attributes: event.attributes.clone() },
        scope: event.scope.as_str().to_owned(),
        time: event.time(),
        time_nano: event.time_nano,
    }
}
