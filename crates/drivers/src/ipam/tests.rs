use std::collections::BTreeMap;

use pintle_contract::ipam::label;

use super::*;

fn ipam() -> Ipam {
    Ipam::new(AddressPools::standard("engine"))
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

async fn pool(ipam: &Ipam, subnet: &str, range: Option<&str>) -> Result<Pool, DriverError> {
    let request = PoolRequest { pool: Some(net(subnet)), sub_pool: range.map(net), ..PoolRequest::default() };
    ipam.request_pool(request).await
}

async fn any(ipam: &Ipam, v6: bool, avoid: &[&str]) -> Result<Pool, DriverError> {
    let avoid = avoid.iter().map(|text| net(text)).collect();
    ipam.request_pool(PoolRequest { v6, avoid, ..PoolRequest::default() }).await
}

async fn address(ipam: &Ipam, pool: &Pool, wanted: Option<&str>) -> Result<String, DriverError> {
    let address = wanted.map(|text| text.parse().unwrap());
    let request = AddressRequest { pool: pool.id.clone(), address, options: BTreeMap::new() };
    Ok(ipam.request_address(request).await?.address.to_string())
}

#[tokio::test]
async fn pools_are_chosen_in_docker_s_order_around_what_the_host_uses() {
    let ipam = ipam();
    assert_eq!(any(&ipam, false, &["172.17.0.0/16"]).await.unwrap().pool, net("172.18.0.0/16"));
    assert_eq!(any(&ipam, false, &[]).await.unwrap().pool, net("172.17.0.0/16"));
    assert_eq!(any(&ipam, false, &["172.16.0.0/12"]).await.unwrap().pool, net("192.168.0.0/20"));
    assert_eq!(
        any(&ipam, false, &["172.16.0.0/12", "192.168.17.0/24"]).await.unwrap().pool,
        net("192.168.32.0/20")
    );
    for expected in 19..=31 {
        assert_eq!(any(&ipam, false, &[]).await.unwrap().pool, net(&format!("172.{expected}.0.0/16")));
    }
    let mut left = 0;
    let error = loop {
        match any(&ipam, false, &[]).await {
            Ok(pool) => assert!(net("192.168.0.0/16").contains(&pool.pool)),
            Err(error) => break error,
        }
        left += 1;
    };
    assert_eq!(left, 14);
    assert_eq!(error.message, "all predefined address pools have been fully subnetted");
    // One that came back is there again.
    ipam.release_pool("LocalDefault/172.20.0.0/16").await.unwrap();
    assert_eq!(any(&ipam, false, &[]).await.unwrap().pool, net("172.20.0.0/16"));
    // The other space is its own.
    let request = PoolRequest { address_space: GLOBAL.into(), ..PoolRequest::default() };
    assert_eq!(ipam.request_pool(request).await.unwrap().pool, net("10.0.0.0/24"));
    let request = PoolRequest { address_space: "other".into(), ..PoolRequest::default() };
    assert_eq!(ipam.request_pool(request).await.unwrap_err().kind, ErrorKind::InvalidArgument);
    assert!(any(&ipam, false, &["0.0.0.0/0"]).await.is_err());
}

#[tokio::test]
async fn ipv6_pools_are_the_same_after_a_restart_and_others_on_another_host() {
    let first = any(&ipam(), true, &[]).await.unwrap().pool;
    assert_eq!(first, any(&ipam(), true, &[]).await.unwrap().pool);
    assert_ne!(first, any(&Ipam::new(AddressPools::standard("other")), true, &[]).await.unwrap().pool);
    assert_eq!(first.prefix_len(), 64);
    assert!(net("fd00::/8").contains(&first));
    let ipam = ipam();
    let (one, two) = (any(&ipam, true, &[]).await.unwrap(), any(&ipam, true, &[]).await.unwrap());
    assert_ne!(one.pool, two.pool);
    assert_eq!(net(&one.pool.to_string()).supernet().unwrap(), two.pool.supernet().unwrap());
    assert!(any(&ipam, true, &["::/0"]).await.is_err());
}

#[tokio::test]
async fn configured_pools_take_the_place_of_docker_s() {
    let base = |text: &str, size| PoolBase::new(net(text), size);
    assert!(base("10.0.0.0/16", 8).is_err() && base("10.0.0.0/16", 33).is_err());
    let bases = vec![base("10.10.0.0/23", 24).unwrap(), base("10.20.0.0/30", 30).unwrap()];
    let ipam = Ipam::new(AddressPools::configured(bases, "engine"));
    for expected in ["10.10.0.0/24", "10.10.1.0/24", "10.20.0.0/30"] {
        assert_eq!(any(&ipam, false, &[]).await.unwrap().pool, net(expected));
    }
    assert!(any(&ipam, false, &[]).await.is_err());
    assert!(any(&ipam, true, &[]).await.is_ok());
}

#[tokio::test]
async fn pools_do_not_overlap() {
    let ipam = ipam();
    pool(&ipam, "10.1.0.0/16", None).await.unwrap();
    for other in ["10.1.0.0/16", "10.1.5.0/24", "10.0.0.0/8"] {
        let error = pool(&ipam, other, None).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.message.contains("Pool overlaps with other one on this address space"), "{error}");
    }
    pool(&ipam, "10.2.0.0/16", None).await.unwrap();
    assert!(pool(&ipam, "10.3.0.0/24", Some("10.4.0.0/24")).await.is_err());
    let request = PoolRequest { sub_pool: Some(net("10.4.0.0/24")), ..PoolRequest::default() };
    assert!(ipam.request_pool(request).await.is_err());
    // Networks may share a subnet if each has a range of its own.
    let one = pool(&ipam, "10.5.0.0/16", Some("10.5.1.0/24")).await.unwrap();
    let two = pool(&ipam, "10.5.0.0/16", Some("10.5.2.0/24")).await.unwrap();
    assert!(pool(&ipam, "10.5.0.0/16", Some("10.5.2.0/24")).await.is_err());
    assert!(pool(&ipam, "10.5.0.0/16", None).await.is_err());
    assert_eq!(address(&ipam, &one, None).await.unwrap(), "10.5.1.0/16");
    assert_eq!(address(&ipam, &two, None).await.unwrap(), "10.5.2.0/16");
    assert!(address(&ipam, &two, Some("10.5.1.0")).await.is_err());
    ipam.release_pool(&one.id).await.unwrap();
    assert_eq!(address(&ipam, &one, None).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(address(&ipam, &two, None).await.unwrap(), "10.5.2.1/16");
}

#[tokio::test]
async fn a_pool_without_an_address_is_any_of_that_size() {
    let ipam = ipam();
    assert_eq!(pool(&ipam, "0.0.0.0/24", None).await.unwrap().pool, net("172.17.0.0/24"));
    assert_eq!(pool(&ipam, "0.0.0.0/24", None).await.unwrap().pool, net("172.17.1.0/24"));
    // Too large for every block but the last of these.
    assert_eq!(pool(&ipam, "0.0.0.0/13", None).await.unwrap().pool, net("172.24.0.0/13"));
    assert!(pool(&ipam, "0.0.0.0/8", None).await.is_err());
    let six = pool(&ipam, "::/120", None).await.unwrap().pool;
    assert!(net("fd00::/8").contains(&six) && six.prefix_len() == 120, "{six}");
}

#[tokio::test]
async fn addresses_come_lowest_first_and_end() {
    let ipam = ipam();
    let small = pool(&ipam, "10.1.0.0/29", None).await.unwrap();
    assert_eq!(small.id, "LocalDefault/10.1.0.0/29");
    let gateway = AddressRequest {
        pool: small.id.clone(),
        address: None,
        options: BTreeMap::from([(label::REQUEST_ADDRESS_TYPE.to_owned(), label::GATEWAY.to_owned())]),
    };
    assert_eq!(ipam.request_address(gateway).await.unwrap().address, net("10.1.0.1/29"));
    assert_eq!(address(&ipam, &small, Some("10.1.0.3")).await.unwrap(), "10.1.0.3/29");
    for expected in ["10.1.0.2/29", "10.1.0.4/29", "10.1.0.5/29", "10.1.0.6/29"] {
        assert_eq!(address(&ipam, &small, None).await.unwrap(), expected);
    }
    let error = address(&ipam, &small, None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(error.message, "no available IPv4 addresses on this network's address pools");
    assert_eq!(address(&ipam, &small, Some("10.1.0.3")).await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(address(&ipam, &small, Some("10.1.0.9")).await.unwrap_err().kind, ErrorKind::InvalidArgument);
    assert!(address(&ipam, &small, Some("fd00::1")).await.is_err());
    let release = |text: &str| ipam.release_address("LocalDefault/10.1.0.0/29", text.parse().unwrap());
    for text in ["10.1.0.4", "10.1.0.4", "10.1.0.0", "10.1.0.7", "10.9.0.1", "::1"] {
        release(text).await.unwrap();
    }
    assert_eq!(address(&ipam, &small, None).await.unwrap(), "10.1.0.4/29");
    assert!(address(&ipam, &small, None).await.is_err());
}

#[tokio::test]
async fn serially_an_address_that_came_back_is_given_last() {
    let ipam = ipam();
    let small = pool(&ipam, "10.1.0.0/29", None).await.unwrap();
    let next = async || {
        let options = BTreeMap::from([(SERIAL.to_owned(), "true".to_owned())]);
        let request = AddressRequest { pool: small.id.clone(), address: None, options };
        ipam.request_address(request).await.unwrap().address.addr().to_string()
    };
    for expected in ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.1"] {
        assert_eq!(next().await, expected);
        ipam.release_address(&small.id, expected.parse().unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn the_smallest_subnets() {
    let ipam = ipam();
    let two = pool(&ipam, "10.1.0.0/31", None).await.unwrap();
    assert_eq!(address(&ipam, &two, None).await.unwrap(), "10.1.0.0/31");
    assert_eq!(address(&ipam, &two, None).await.unwrap(), "10.1.0.1/31");
    assert!(address(&ipam, &two, None).await.is_err());
    let one = pool(&ipam, "10.1.1.7/32", None).await.unwrap();
    assert_eq!(address(&ipam, &one, None).await.unwrap(), "10.1.1.7/32");
    assert!(address(&ipam, &one, None).await.is_err());
    ipam.release_address(&one.id, "10.1.1.7".parse().unwrap()).await.unwrap();
    assert!(address(&ipam, &one, None).await.is_ok());
    let v6 = pool(&ipam, "fd00::/127", None).await.unwrap();
    assert_eq!(address(&ipam, &v6, None).await.unwrap(), "fd00::1/127");
    let text = address(&ipam, &v6, None).await.unwrap_err().message;
    assert_eq!(text, "no available IPv6 addresses on this network's address pools");
}

#[tokio::test]
async fn large_subnets_are_as_good_as_small_ones() {
    let ipam = ipam();
    for subnet in ["10.0.0.0/8", "fd00::/64", "fc00::/8"] {
        let large = pool(&ipam, subnet, None).await.unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..20_000 {
            assert!(seen.insert(address(&ipam, &large, None).await.unwrap()));
        }
        ipam.release_pool(&large.id).await.unwrap();
    }
    let everything = pool(&ipam, "::/0", None).await.unwrap();
    assert_eq!(address(&ipam, &everything, None).await.unwrap(), "::1/0");
}

/// What the engine wrote down, asked for again, gives the same state; what it did not is free.
#[tokio::test]
async fn a_replay_is_the_same_state() {
    let before = ipam();
    let held = any(&before, false, &[]).await.unwrap();
    let first = address(&before, &held, None).await.unwrap();
    let second = address(&before, &held, None).await.unwrap();
    let after = ipam();
    assert!(after.capabilities().await.unwrap().requires_request_replay);
    let again = pool(&after, &held.pool.to_string(), None).await.unwrap();
    assert_eq!(again.id, held.id);
    let bare = second.split('/').next().unwrap();
    assert_eq!(address(&after, &again, Some(bare)).await.unwrap(), second);
    assert_eq!(address(&after, &again, None).await.unwrap(), first);
}

#[tokio::test]
async fn hostile_names_of_pools_are_unknown() {
    let ipam = ipam();
    for name in [
        "",
        "/",
        "LocalDefault",
        "LocalDefault/x/y",
        "LocalDefault/10.0.0.0/99",
        "a/b/c/d/e/f",
        "LocalDefault/10.0.0.0/8/",
    ] {
        let request = AddressRequest { pool: name.into(), ..AddressRequest::default() };
        assert_eq!(ipam.request_address(request).await.unwrap_err().kind, ErrorKind::NotFound, "{name}");
        ipam.release_pool(name).await.unwrap();
        ipam.release_address(name, "10.0.0.1".parse().unwrap()).await.unwrap();
    }
}
