//! Every promise, in the words of [`Suite`].

use std::collections::BTreeSet;

use futures_util::future::join_all;
use pintle_contract::{
    ErrorKind, Value,
    network::{EndpointId, label},
};

use super::suite::{Container, Suite};
use crate::check::{Result, checks, fail, said, skip};

checks! {
    Suite:
    capabilities: "the same each time",
    network_again: "a network that is made twice is one, and one that is deleted twice is none",
    network_unknown: "deleting a network that never was succeeds",
    networks_apart: "two networks on two subnets stand beside each other",
    endpoint_again: "an endpoint that is made twice is one, and one that is deleted twice is none",
    endpoint_settled: "what was given is kept, what was left open is settled",
    endpoint_unknown: "taking back what never was succeeds",
    endpoint_no_network: "there is no endpoint without its network",
    join_no_endpoint: "there is no joining without an endpoint",
    join_interface: "the interface can be moved in, named, addressed and brought up, with its routes",
    join_again: "a repeated join gives the same answer",
    join_anew: "an endpoint that left can join another sandbox",
    leave_again: "a repeated leave succeeds, before and after the endpoint is gone",
    external_again: "opening to the outside and closing can be repeated",
    info: "an endpoint at work can be asked about",
    sandbox_gone: "an endpoint whose sandbox is gone can be taken back",
    mac_given: "a link-layer address that was given is the interface's",
    reach: "two containers of a network reach each other",
    together: "containers that come and go at once do not disturb each other",
    ipv6: "addresses of both families",
    options_unknown: "an option that nobody knows is ignored or refused, and harms nobody",
    restart: "the driver's successor knows what to take back",
}

async fn capabilities(suite: &Suite<'_>) -> Result {
    let (first, second) = (suite.capabilities().await?, suite.capabilities().await?);
    if first == second { Ok(()) } else { fail(format!("first {first:?}, then {second:?}")) }
}

async fn network_again(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    suite.create(&network).await?;
    let container = suite.start(&network).await?;
    suite.create(&network).await?;
    suite.disconnect(&container).await?;
    suite.delete_network(&network.request.network).await?;
    suite.delete_network(&network.request.network).await
}

async fn network_unknown(suite: &Suite<'_>) -> Result {
    suite.delete_network(&suite.id()).await
}

async fn networks_apart(suite: &Suite<'_>) -> Result {
    let mut running = Vec::new();
    for pool in suite.options.pools {
        let network = suite.request(&[pool]).await?;
        suite.create(&network).await?;
        running.push((suite.start(&network).await?, network));
    }
    for (container, network) in &running {
        if let Some(entered) = &container.entered {
            container.sandbox.look(entered)?;
        }
        suite.disconnect(container).await?;
        suite.delete_network(&network.request.network).await?;
    }
    Ok(())
}

async fn endpoint_again(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    let request = suite.endpoint_request(&network);
    let first = suite.create_endpoint(&request).await?;
    let second = suite.create_endpoint(&request).await?;
    if first != second {
        return fail(format!("first {first:?}, then {second:?}"));
    }
    suite.delete_endpoint(&request.id).await?;
    suite.delete_endpoint(&request.id).await
}

async fn endpoint_settled(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    let mut request = suite.endpoint_request(&network);
    request.interface.mac = Some(suite.mac());
    let settled = suite.create_endpoint(&request).await?;
    if settled == request.interface {
        Ok(())
    } else {
        fail(format!("{:?} was given, {settled:?} came of it", request.interface))
    }
}

async fn endpoint_unknown(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    for of in [network.request.network.clone(), suite.id()] {
        let id = EndpointId { network: of, endpoint: suite.id() };
        said("closing it to the outside", suite.driver.revoke_external_connectivity(&id).await)?;
        suite.leave(&id).await?;
        suite.delete_endpoint(&id).await?;
    }
    Ok(())
}

async fn endpoint_no_network(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    let mut request = suite.endpoint_request(&network);
    request.id.network = suite.id();
    let outcome = suite.driver.create_endpoint(request).await;
    suite.expect_not_found("making an endpoint in a network that never was", outcome)?;
    let request = suite.endpoint_request(&network);
    suite.delete_network(&network.request.network).await?;
    let outcome = suite.driver.create_endpoint(request).await;
    suite.expect_not_found("making an endpoint in a network that was deleted", outcome)
}

async fn join_no_endpoint(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    let (id, sandbox) = (suite.endpoint_request(&network).id, suite.sandbox()?);
    let outcome = suite.driver.join(Suite::join_request(&id, &sandbox)).await;
    suite.expect_not_found("joining with an endpoint that never was", outcome)?;
    let request = suite.endpoint_request(&network);
    suite.create_endpoint(&request).await?;
    suite.delete_endpoint(&request.id).await?;
    let outcome = suite.driver.join(Suite::join_request(&request.id, &sandbox)).await;
    suite.expect_not_found("joining with an endpoint that was deleted", outcome)
}

async fn join_interface(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    let container = suite.start(&network).await?;
    let Some(entered) = &container.entered else { return skip("the driver gives containers no interface") };
    suite.disconnect(&container).await?;
    let left = container.sandbox.links()?.into_iter().find(|link| link.name == entered.name.as_str());
    match left {
        Some(link) => fail(format!("the interface {} is still in the sandbox", link.name)),
        None => Ok(()),
    }
}

async fn join_again(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    let request = suite.endpoint_request(&network);
    let (interface, sandbox) = (suite.create_endpoint(&request).await?, suite.sandbox()?);
    let first = suite.join(&request.id, &sandbox).await?;
    let second = suite.join(&request.id, &sandbox).await?;
    if first != second {
        return fail(format!("first {first:?}, then {second:?}"));
    }
    let entered = sandbox.enter(&suite.host_handle()?, &interface, &second)?;
    let container = Container { id: request.id, interface, entered, sandbox };
    suite.disconnect(&container).await
}

async fn join_anew(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    let first = suite.start(&network).await?;
    suite.leave(&first.id).await?;
    if let Some(entered) = &first.entered {
        first.sandbox.give_back(&suite.host()?, entered)?;
    }
    let sandbox = suite.sandbox()?;
    let joined = suite.join(&first.id, &sandbox).await?;
    let entered = sandbox.enter(&suite.host_handle()?, &first.interface, &joined)?;
    if let Some(entered) = &entered {
        sandbox.look(entered)?;
    }
    let second = Container { entered, sandbox, id: first.id, interface: first.interface };
    suite.disconnect(&second).await
}

async fn leave_again(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    let container = suite.start(&network).await?;
    suite.leave(&container.id).await?;
    suite.leave(&container.id).await?;
    suite.disconnect(&container).await?;
    suite.leave(&container.id).await
}

async fn external_again(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    let container = suite.start(&network).await?;
    let options = Suite::join_request(&container.id, &container.sandbox).options;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let opened = suite.driver.program_external_connectivity(&container.id, &options).await;
        answers.push(said("opening it to the outside again", opened)?);
    }
    if answers[0] != answers[1] {
        return fail(format!("first {:?}, then {:?}", answers[0], answers[1]));
    }
    for _ in 0..2 {
        let closed = suite.driver.revoke_external_connectivity(&container.id).await;
        said("closing it to the outside", closed)?;
    }
    suite.disconnect(&container).await
}

async fn info(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    let container = suite.start(&network).await?;
    said("the question about an endpoint", suite.driver.endpoint_info(&container.id).await)?;
    suite.disconnect(&container).await
}

async fn sandbox_gone(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    let Container { id, sandbox, .. } = suite.start(&network).await?;
    drop(sandbox);
    said("closing it to the outside", suite.driver.revoke_external_connectivity(&id).await)?;
    suite.leave(&id).await?;
    suite.delete_endpoint(&id).await?;
    // And its addresses and names are free for another.
    let container = suite.start(&network).await?;
    suite.disconnect(&container).await
}

async fn mac_given(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    let mut request = suite.endpoint_request(&network);
    request.interface.mac = Some(suite.mac());
    let container = suite.start_with(request).await?;
    if container.entered.is_none() {
        return skip("the driver gives containers no interface");
    }
    suite.disconnect(&container).await
}

async fn reach(suite: &Suite<'_>) -> Result {
    if !suite.options.reach {
        return skip("containers of this driver's networks are not meant to reach each other");
    }
    let network = suite.network().await?;
    let (one, other) = (suite.start(&network).await?, suite.start(&network).await?);
    if one.entered.is_none() {
        return skip("the driver gives containers no interface");
    }
    let (one, other) = suite.expect_reach(one, other).await?;
    suite.disconnect(&one).await?;
    suite.disconnect(&other).await
}

async fn together(suite: &Suite<'_>) -> Result {
    let network = suite.network().await?;
    let kept = suite.start(&network).await?;
    let started: Vec<Container> = join_all((0..suite.options.crowd).map(|_| suite.start(&network)))
        .await
        .into_iter()
        .collect::<Result<_>>()?;
    let sources: BTreeSet<_> =
        started.iter().filter_map(|one| one.entered.as_ref()?.source.clone()).collect();
    let expected =
        started.iter().filter(|one| one.entered.as_ref().is_some_and(|e| e.source.is_some())).count();
    if sources.len() != expected {
        return fail(format!("{expected} containers share the interfaces {sources:?}"));
    }
    for outcome in join_all(started.iter().map(|container| suite.disconnect(container))).await {
        outcome?;
    }
    if let Some(entered) = &kept.entered {
        kept.sandbox.look(entered)?;
    }
    suite.disconnect(&kept).await
}

async fn ipv6(suite: &Suite<'_>) -> Result {
    let Some(subnet) = suite.options.v6 else { return skip("no IPv6 subnet was given to the suite") };
    let network = suite.request(&[suite.options.pools[0], subnet]).await?;
    match suite.driver.create_network(network.request.clone()).await {
        Err(error) if matches!(error.kind, ErrorKind::Unsupported | ErrorKind::InvalidArgument) => {
            return skip(format!("the driver makes no such network: {error}"));
        }
        _ => suite.create(&network).await?,
    }
    let (one, other) = (suite.start(&network).await?, suite.start(&network).await?);
    if one.interface.address_v6.is_none() && suite.capabilities().await?.own_addresses {
        return skip("the driver gives addresses of its own");
    }
    let (one, other) = match suite.options.reach && one.entered.is_some() {
        true => suite.expect_reach(one, other).await?,
        false => (one, other),
    };
    suite.disconnect(&one).await?;
    suite.disconnect(&other).await
}

async fn options_unknown(suite: &Suite<'_>) -> Result {
    let known = suite.network().await?;
    let mut odd = suite.request(&suite.options.pools[1..]).await?;
    let hostile = ("pintle.suite/../no such option\u{0}".to_owned(), Value::from("$(reboot)\n; \u{7f}"));
    odd.request.options.insert(hostile.0.clone(), hostile.1.clone());
    if let Some(Value::Map(generic)) = odd.request.options.get_mut(label::GENERIC) {
        generic.insert(hostile.0.clone(), hostile.1.clone());
    }
    match suite.driver.create_network(odd.request.clone()).await {
        Ok(()) => {
            suite.create(&odd).await?;
            let mut request = suite.endpoint_request(&odd);
            request.options.insert(hostile.0, hostile.1);
            match suite.driver.create_endpoint(request.clone()).await {
                Ok(_) => suite.delete_endpoint(&request.id).await?,
                Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout) => {
                    return fail(format!("it breaks the driver: {error}"));
                }
                Err(_) => {}
            }
            suite.delete_network(&odd.request.network).await?;
        }
        Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout) => {
            return fail(format!("it breaks the driver: {error}"));
        }
        Err(_) => {}
    }
    let container = suite.start(&known).await?;
    suite.disconnect(&container).await
}

async fn restart(suite: &Suite<'_>) -> Result {
    let Some(restart) = suite.options.restart else { return skip("this run cannot restart the driver") };
    let network = suite.network().await?;
    let request = suite.endpoint_request(&network);
    let kept = suite.start_with(request.clone()).await?;
    let successor =
        restart().await.or_else(|error| fail(format!("the driver does not come back: {error}")))?;
    let after = suite.after(successor.as_ref());
    if suite.options.told_again {
        after.create(&network).await?;
        after.create_endpoint(&request).await?;
    }
    if let Some(entered) = &kept.entered {
        kept.sandbox.look(entered)?;
    }
    let new = after.start(&network).await?;
    let (kept, new) = match suite.options.reach && new.entered.is_some() {
        true => after.expect_reach(kept, new).await?,
        false => (kept, new),
    };
    after.disconnect(&new).await?;
    after.disconnect(&kept).await?;
    after.delete_network(&network.request.network).await
}
