//! Every promise, in the words of [`Suite`].

use std::{collections::BTreeSet, net::IpAddr};

use futures_util::future::join_all;
use ipnet::IpNet;
use pintle_contract::{
    ErrorKind,
    ipam::{AddressRequest, Pool, label},
};

use super::suite::Suite;
use crate::check::{Result, checks, fail, said, skip};

checks! {
    Suite:
    capabilities: "the same each time",
    address_spaces: "the same each time",
    pool_named: "a subnet that is asked for is the one that is given",
    pool_chosen: "a subnet of the driver's choice overlaps none that is held",
    pool_overlap: "a subnet that overlaps a held one is refused",
    pool_freed: "a pool that was given back can be had again",
    pool_release_unknown: "giving back what is not held succeeds, again and again",
    address_any: "addresses of the driver's choice are in the pool, and each is another",
    address_together: "addresses given at once are all different",
    address_named: "an address that is asked for is the one that is given, and only once",
    address_outside: "an address outside of the pool is refused",
    address_unknown_pool: "there are no addresses in a pool that is not held",
    address_freed: "an address that was given back can be had again",
    address_release_unknown: "giving back what is not held succeeds, and takes nothing from others",
    gateway: "the gateway's address is one of the pool, and nobody else's",
    sub_pool: "with a range, containers get addresses of the range and others may be asked for",
    exhaustion: "a pool that is used up says so, and has what was given back",
    pool_release_frees: "a pool that is given back takes its addresses along",
    ipv6: "subnets and addresses of IPv6",
    options_unknown: "an option that nobody knows is ignored or refused",
    restart: "what was given is held by the driver's successor, or by its engine's telling",
}

async fn capabilities(suite: &Suite<'_>) -> Result {
    let first = said("the question for capabilities", suite.driver.capabilities().await)?;
    let second = said("the question for capabilities", suite.driver.capabilities().await)?;
    if first == second { Ok(()) } else { fail(format!("first {first:?}, then {second:?}")) }
}

async fn address_spaces(suite: &Suite<'_>) -> Result {
    let (first, second) = (suite.spaces().await?, suite.spaces().await?);
    if first == second { Ok(()) } else { fail(format!("first {first:?}, then {second:?}")) }
}

async fn pool_named(suite: &Suite<'_>) -> Result {
    let [one, other] = suite.options.pools;
    let (one, other) = (suite.pool(one).await?, suite.pool(other).await?);
    if one.id == other.id { fail(format!("two pools are called {:?}", one.id)) } else { Ok(()) }
}

async fn pool_chosen(suite: &Suite<'_>) -> Result {
    let mut pools: Vec<Pool> = Vec::new();
    for _ in 0..3 {
        let request = suite.request(None).await?;
        let pool = suite.pool_if_any("pool of its own choice", request).await?;
        if !matches!(pool.pool, IpNet::V4(_)) {
            return fail(format!("a request that does not ask for IPv6 is answered with {}", pool.pool));
        }
        // The one subnet that is none.
        if pool.pool.prefix_len() == 0 {
            return skip("the driver leaves addresses to others");
        }
        if let Some(other) = pools.iter().find(|other| overlap(other.pool, pool.pool)) {
            return fail(format!("{} was given, and {} is held", pool.pool, other.pool));
        }
        pools.push(pool);
    }
    Ok(())
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

async fn pool_overlap(suite: &Suite<'_>) -> Result {
    let [subnet, other] = suite.options.pools;
    let held = suite.pool(subnet).await?;
    let half = IpNet::new(subnet.network(), subnet.prefix_len() + 1).unwrap_or(subnet);
    let around = subnet.supernet().unwrap_or(subnet);
    for wanted in [subnet, half, around] {
        let outcome = suite.try_pool(suite.request(Some(wanted)).await?).await;
        // A driver that gives only some subnets refuses the others before it looks who holds them.
        let kinds: &[_] = match wanted == subnet {
            true => &[ErrorKind::Conflict],
            false => &[
                ErrorKind::Conflict,
                ErrorKind::InvalidArgument,
                ErrorKind::NotFound,
                ErrorKind::Unsupported,
            ],
        };
        suite.expect_error(&format!("a request for {wanted} while {subnet} is held"), kinds, outcome)?;
    }
    suite.pool(other).await?;
    suite.address(&held).await.map(drop)
}

async fn pool_freed(suite: &Suite<'_>) -> Result {
    let [subnet, _] = suite.options.pools;
    for _ in 0..3 {
        let pool = suite.pool(subnet).await?;
        suite.release_pool(&pool.id).await?;
    }
    Ok(())
}

async fn pool_release_unknown(suite: &Suite<'_>) -> Result {
    let [subnet, _] = suite.options.pools;
    let pool = suite.pool(subnet).await?;
    for id in ["pintle-suite/no/such/pool", ""] {
        suite.release_pool(id).await?;
    }
    suite.release_pool(&pool.id).await?;
    suite.release_pool(&pool.id).await
}

async fn address_any(suite: &Suite<'_>) -> Result {
    let [subnet, _] = suite.options.pools;
    let pool = suite.pool(subnet).await?;
    let mut given = BTreeSet::new();
    for _ in 0..4 {
        let address = suite.address(&pool).await?;
        if !given.insert(address) {
            return fail(format!("{address} was given twice"));
        }
    }
    Ok(())
}

async fn address_together(suite: &Suite<'_>) -> Result {
    let [subnet, _] = suite.options.pools;
    let pool = suite.pool(subnet).await?;
    let mut given = BTreeSet::new();
    for address in join_all((0..suite.options.crowd).map(|_| suite.address(&pool))).await {
        let address = address?;
        if !given.insert(address) {
            return fail(format!("{address} was given twice"));
        }
    }
    Ok(())
}

/// An address that nobody asks for by chance: far from both ends.
fn middle(pool: &Pool) -> IpAddr {
    let subnet = pool.pool;
    match subnet {
        IpNet::V4(subnet) => {
            let half = 1_u32 << (32 - subnet.prefix_len()).saturating_sub(1).min(31);
            IpAddr::V4((u32::from(subnet.network()) + half + 1).into())
        }
        IpNet::V6(subnet) => IpAddr::V6((u128::from(subnet.network()) + 0x1234).into()),
    }
}

async fn address_named(suite: &Suite<'_>) -> Result {
    let [subnet, _] = suite.options.pools;
    let pool = suite.pool(subnet).await?;
    let wanted = middle(&pool);
    suite.named(&pool, wanted).await?;
    let again = suite.try_address(suite.address_request(&pool, Some(wanted))).await;
    suite.expect_error(&format!("a request for {wanted}, which is held,"), &[ErrorKind::Conflict], again)
}

async fn address_outside(suite: &Suite<'_>) -> Result {
    let [subnet, other] = suite.options.pools;
    let (pool, other) = (suite.pool(subnet).await?, suite.pool(other).await?);
    let outcome = suite.try_address(suite.address_request(&pool, Some(middle(&other)))).await;
    let kinds = [ErrorKind::InvalidArgument, ErrorKind::NotFound, ErrorKind::Unsupported];
    suite.expect_error(&format!("a request for {} of {subnet}", middle(&other)), &kinds, outcome)
}

async fn address_unknown_pool(suite: &Suite<'_>) -> Result {
    let [subnet, _] = suite.options.pools;
    let pool = suite.pool(subnet).await?;
    let unknown = Pool { id: "pintle-suite/no/such/pool".to_owned(), ..pool.clone() };
    let outcome = suite.try_address(suite.address_request(&unknown, None)).await;
    suite.expect_error("a request to an unknown pool", &[ErrorKind::NotFound], outcome)?;
    suite.release_pool(&pool.id).await?;
    let outcome = suite.try_address(suite.address_request(&pool, None)).await;
    suite.expect_error("a request to a pool that was given back", &[ErrorKind::NotFound], outcome)
}

async fn address_freed(suite: &Suite<'_>) -> Result {
    let [subnet, _] = suite.options.pools;
    let pool = suite.pool(subnet).await?;
    let address = suite.address(&pool).await?;
    suite.release(&pool.id, address).await?;
    suite.named(&pool, address).await?;
    suite.release(&pool.id, address).await?;
    suite.named(&pool, address).await
}

async fn address_release_unknown(suite: &Suite<'_>) -> Result {
    let [subnet, _] = suite.options.pools;
    let pool = suite.pool(subnet).await?;
    let (held, free) = (suite.address(&pool).await?, middle(&pool));
    suite.release(&pool.id, free).await?;
    suite.release(&pool.id, free).await?;
    suite.release("pintle-suite/no/such/pool", held).await?;
    let outcome = suite.try_address(suite.address_request(&pool, Some(held))).await;
    suite.expect_error(&format!("a request for {held}, which is held,"), &[ErrorKind::Conflict], outcome)?;
    suite.named(&pool, free).await
}

async fn gateway(suite: &Suite<'_>) -> Result {
    let [subnet, _] = suite.options.pools;
    let pool = suite.pool(subnet).await?;
    let gateway = match pool.data.get(label::GATEWAY) {
        Some(text) => {
            let chosen: IpNet = text
                .parse()
                .or_else(|_| fail(format!("the gateway that came with the pool is no address: {text:?}")))?;
            if !subnet.contains(&chosen.addr()) {
                return fail(format!("the gateway that came with {subnet} is {chosen}"));
            }
            chosen.addr()
        }
        None => {
            let request = AddressRequest {
                pool: pool.id.clone(),
                address: None,
                options: [(label::REQUEST_ADDRESS_TYPE.to_owned(), label::GATEWAY.to_owned())].into(),
            };
            let given = said("the request for the gateway's address", suite.try_address(request).await)?;
            suite.fits(&pool, &given)?;
            given.address.addr()
        }
    };
    for _ in 0..4 {
        if suite.address(&pool).await? == gateway {
            return fail(format!("a container was given {gateway}, which is the gateway's"));
        }
    }
    Ok(())
}

async fn sub_pool(suite: &Suite<'_>) -> Result {
    let [subnet, _] = suite.options.pools;
    let length = subnet.prefix_len() + 2;
    let Some(range) = subnet.subnets(length).ok().and_then(|mut quarters| quarters.nth(1)) else {
        return skip(format!("{subnet} has no parts"));
    };
    let mut request = suite.request(Some(subnet)).await?;
    request.sub_pool = Some(range);
    let pool = suite.pool_if_any("addresses of a range", request).await?;
    for _ in 0..4 {
        let address = suite.address(&pool).await?;
        if !range.contains(&address) {
            return fail(format!("{address} is not in the range {range}"));
        }
    }
    suite.named(&pool, middle(&pool)).await
}

async fn exhaustion(suite: &Suite<'_>) -> Result {
    let subnet = suite.small();
    let request = suite.request(Some(subnet)).await?;
    let pool = suite.pool_if_any("small pools", request).await?;
    let most = subnet.hosts().take(4096).count();
    let mut given = BTreeSet::new();
    let error = loop {
        match suite.try_address(suite.address_request(&pool, None)).await {
            Err(error) => break error,
            Ok(address) => {
                suite.fits(&pool, &address)?;
                if !given.insert(address.address.addr()) || given.len() > most {
                    return fail(format!(
                        "{subnet} has {most} addresses and gave {} once more",
                        address.address
                    ));
                }
            }
        }
    };
    let exhausted: std::result::Result<(), _> = Err(error);
    suite.expect_error("the request that is one too many", &[ErrorKind::Unavailable], exhausted)?;
    let Some(back) = given.iter().nth(given.len() / 2).copied() else {
        return fail(format!("{subnet} had no address to give"));
    };
    suite.release(&pool.id, back).await?;
    let again = suite.address(&pool).await?;
    if again != back {
        return fail(format!("{back} was given back, and yet {again} was free"));
    }
    let outcome = suite.try_address(suite.address_request(&pool, None)).await;
    suite.expect_error("the request that is one too many again", &[ErrorKind::Unavailable], outcome)
}

async fn pool_release_frees(suite: &Suite<'_>) -> Result {
    let [subnet, _] = suite.options.pools;
    let pool = suite.pool(subnet).await?;
    let wanted = middle(&pool);
    suite.named(&pool, wanted).await?;
    suite.release_pool(&pool.id).await?;
    let again = suite.pool(subnet).await?;
    suite.named(&again, wanted).await
}

async fn ipv6(suite: &Suite<'_>) -> Result {
    let Some(subnet) = suite.options.v6 else { return skip("no IPv6 subnet was given to the suite") };
    let request = suite.request(Some(subnet)).await?;
    let pool = suite.pool_if_any("pools of IPv6", request).await?;
    let given: Vec<_> = [suite.address(&pool).await?, suite.address(&pool).await?].into();
    if given[0] == given[1] {
        return fail(format!("{} was given twice", given[0]));
    }
    suite.named(&pool, middle(&pool)).await?;
    let again = suite.try_address(suite.address_request(&pool, Some(middle(&pool)))).await;
    suite.expect_error("a request for an address that is held", &[ErrorKind::Conflict], again)
}

async fn options_unknown(suite: &Suite<'_>) -> Result {
    let [subnet, _] = suite.options.pools;
    let mut request = suite.request(Some(subnet)).await?;
    request.options.insert("pintle.suite.no such option\u{0}\"'".to_owned(), "\u{7f}$(reboot)".to_owned());
    match suite.try_pool(request).await {
        Ok(pool) => suite.release_pool(&pool.id).await?,
        Err(error) if suite.refuses(&error) => {}
        Err(error) => return fail(format!("it breaks the driver: {error}")),
    }
    suite.pool(subnet).await.map(drop)
}

async fn restart(suite: &Suite<'_>) -> Result {
    let Some(restart) = suite.options.restart else { return skip("this run cannot restart the driver") };
    let [subnet, _] = suite.options.pools;
    let pool = suite.pool(subnet).await?;
    let (any, wanted) = (suite.address(&pool).await?, middle(&pool));
    suite.named(&pool, wanted).await?;
    let capabilities = said("the question for capabilities", suite.driver.capabilities().await)?;
    let successor =
        restart().await.or_else(|error| fail(format!("the driver does not come back: {error}")))?;
    let after = suite.after(successor.as_ref());
    if capabilities.requires_request_replay {
        let told = after.pool(subnet).await?;
        if told.id != pool.id {
            return fail(format!(
                "told of {subnet} again, it calls the pool {:?}, not {:?}",
                told.id, pool.id
            ));
        }
        after.named(&told, any).await?;
        after.named(&told, wanted).await?;
    }
    let outcome = after.try_pool(after.request(Some(subnet)).await?).await;
    after.expect_error(
        &format!("a request for {subnet}, which is held,"),
        &[ErrorKind::Conflict],
        outcome,
    )?;
    for held in [any, wanted] {
        let outcome = after.try_address(after.address_request(&pool, Some(held))).await;
        after.expect_error(
            &format!("a request for {held}, which is held,"),
            &[ErrorKind::Conflict],
            outcome,
        )?;
    }
    let next = after.address(&pool).await?;
    if [any, wanted].contains(&next) {
        return fail(format!("{next} is held, and was given again"));
    }
    for address in [any, wanted, next] {
        after.release(&pool.id, address).await?;
    }
    after.named(&pool, wanted).await?;
    after.release_pool(&pool.id).await
}
