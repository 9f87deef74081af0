//! Passage through what others filter.
//!
//! A packet has to be let through by every table. Ours lets ours through, but a dockerd, or an administrator, may drop
//! all that is forwarded and is not theirs (`ip filter FORWARD`, policy drop). Then a chain of ours in that table says
//! which packets are ours, and is jumped to from where local rules belong: from the end of `DOCKER-USER`, so that
//! what the administrator forbids there stays forbidden, or else from the top of `FORWARD`.
//!
//! It lets nothing in that our own table keeps out, and nothing out to the bridges of a dockerd: what its containers
//! accept is for its own rules to say. No other rule is touched.

use pintle_contract::DriverError;
use pintle_netlink::{
    LinkName,
    nft::{Family, Ident, Nft, Policy, Rule, Script},
};

use super::filter::Families;

/// Our chain in the tables of others.
#[derive(Debug)]
pub(super) struct Passage {
    nft: Nft,
    chain: Ident,
    filter: Ident,
    docker_user: Ident,
    forward: Ident,
    families: Vec<Family>,
}

impl Passage {
    /// `table` is the name of our own table, from which the chain's is made.
    pub(super) fn new(nft: Nft, table: &str, families: Families) -> Result<Self, DriverError> {
        let families = [(families.v4, Family::Ip), (families.v6, Family::Ip6)];
        Ok(Self {
            nft,
            // As long as iptables allows.
            chain: table.to_uppercase().chars().take(28).collect::<String>().parse()?,
            filter: "filter".parse()?,
            docker_user: "DOCKER-USER".parse()?,
            forward: "FORWARD".parse()?,
            families: families.into_iter().filter(|(on, _)| *on).map(|(_, family)| family).collect(),
        })
    }

    /// Whether somebody filters, and our chain is not there yet. Takes microseconds.
    pub(super) fn is_missing(&self) -> Result<bool, DriverError> {
        for family in &self.families {
            if self.place(*family)?.is_some() && self.there(*family, &self.chain)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets packets of these bridges through, and of no others.
    pub(super) fn open(&self, bridges: &[LinkName], uplinks: &[String]) -> Result<(), DriverError> {
        for family in &self.families {
            match self.place(*family)? {
                Some(place) if !bridges.is_empty() => self.open_at(*family, place, bridges, uplinks)?,
                _ => self.close_in(*family)?,
            }
        }
        Ok(())
    }

    /// The chain from which ours is to be jumped to, if that is needed at all.
    fn place(&self, family: Family) -> Result<Option<&Ident>, DriverError> {
        if self.there(family, &self.docker_user)?.is_some() {
            return Ok(Some(&self.docker_user));
        }
        let policy = self.there(family, &self.forward)?.and_then(|info| info.policy);
        Ok((policy == Some(Policy::Drop)).then_some(&self.forward))
    }

    fn there(
        &self,
        family: Family,
        chain: &Ident,
    ) -> Result<Option<pintle_netlink::nft::ChainInfo>, DriverError> {
        Ok(self.nft.look_up(family, &self.filter, chain)?)
    }

    fn open_at(
        &self,
        family: Family,
        place: &Ident,
        bridges: &[LinkName],
        uplinks: &[String],
    ) -> Result<(), DriverError> {
        let (filter, chain) = (&self.filter, &self.chain);
        let mut script = Script::new();
        script.line(format_args!("add chain {family} {filter} {chain}"));
        script.line(format_args!("flush chain {family} {filter} {chain}"));
        for bridge in bridges {
            script.line(format_args!("add rule {family} {filter} {chain} oifname \"{bridge}\" accept"));
        }
        // The names that dockerd gives; unless the way out of this host has one of them.
        for (name, begins) in
            [("docker0", "docker0"), ("docker_gwbridge", "docker_gwbridge"), ("br-*", "br-")]
        {
            if !uplinks.iter().any(|uplink| uplink.starts_with(begins)) {
                script.line(format_args!("add rule {family} {filter} {chain} oifname \"{name}\" return"));
            }
        }
        for bridge in bridges {
            script.line(format_args!("add rule {family} {filter} {chain} iifname \"{bridge}\" accept"));
        }
        let rules = self.nft.rules(family, filter, place)?.unwrap_or_default();
        if !rules.iter().any(|rule| self.is_ours(rule)) {
            let end = rules.last().filter(|rule| rule.always && rule.verdict == "return");
            match end {
                _ if place == &self.forward => {
                    script.line(format_args!("insert rule {family} {filter} {place} jump {chain}"));
                }
                Some(Rule { handle, .. }) => {
                    script.line(format_args!(
                        "insert rule {family} {filter} {place} position {handle} jump {chain}"
                    ));
                }
                None => script.line(format_args!("add rule {family} {filter} {place} jump {chain}")),
            }
        }
        Ok(self.nft.apply(&script)?)
    }

    fn close_in(&self, family: Family) -> Result<(), DriverError> {
        let (filter, chain) = (&self.filter, &self.chain);
        if self.there(family, chain)?.is_none() {
            return Ok(());
        }
        let mut script = Script::new();
        for place in [&self.docker_user, &self.forward] {
            if self.there(family, place)?.is_none() {
                continue;
            }
            let rules = self.nft.rules(family, filter, place)?.unwrap_or_default();
            for Rule { handle, .. } in rules.iter().filter(|rule| self.is_ours(rule)) {
                script.line(format_args!("delete rule {family} {filter} {place} handle {handle}"));
            }
        }
        script.line(format_args!("flush chain {family} {filter} {chain}"));
        script.line(format_args!("delete chain {family} {filter} {chain}"));
        Ok(self.nft.apply(&script)?)
    }

    fn is_ours(&self, rule: &Rule) -> bool {
        rule.verdict == format!("jump {}", self.chain)
    }
}
