//! The link below a network.

use pintle_contract::{DriverError, ErrorKind};
use pintle_netlink::{
    ErrorKind as Kernel, Handle, IpvlanFlag, IpvlanMode, LinkChange, LinkKind, LinkName, Namespace, NewLink,
};

use super::{Kind, options::Settings};

const MARK: &str = "pintle-parent";

/// The note on a parent that we made.
fn note(mark: &str, network: &str) -> String {
    format!("{MARK} {mark} {network}")
}

/// The network for which we made a link with this note.
pub(super) fn noted<'a>(alias: &'a str, mark: &str) -> Option<&'a str> {
    alias.strip_prefix(MARK)?.strip_prefix(' ')?.strip_prefix(mark)?.strip_prefix(' ')
}

/// Finds the parent of a network, or makes it: a tagged part of a link, `LINK.TAG`, or one with nothing below.
pub(super) fn raise(
    handle: &Handle,
    mark: &str,
    network: &str,
    settings: &Settings,
    kind: Kind,
) -> Result<(), DriverError> {
    let name = &settings.parent;
    if let Some(link) = handle.link(name)? {
        if noted(&link.alias, mark).is_some() && noted(&link.alias, mark) != Some(network) {
            // Of a network that is gone, or of another one that shares it: then that one removes it last.
            let alias = Some(note(mark, network));
            handle.change_link(name, &LinkChange { alias, ..LinkChange::default() })?;
        }
        return Ok(());
    }
    let mut made = if settings.detached {
        NewLink::new(name.clone(), LinkKind::Dummy).up()
    } else {
        tagged(handle, name, kind)?
    };
    made.with.alias = Some(note(mark, network));
    match handle.add_link(&made) {
        // A bridge without ports is as good a place with nothing below.
        Err(error) if error.kind() == Kernel::Unsupported && settings.detached => {
            made.kind = LinkKind::Bridge;
            Ok(handle.add_link(&made)?)
        }
        Err(error) if error.kind() == Kernel::Unsupported => {
            let text =
                format!("cannot make the parent interface {name}: there is no support for VLANs ({error})");
            Err(DriverError::new(ErrorKind::Unsupported, text))
        }
        other => Ok(other?),
    }
}

fn tagged(handle: &Handle, name: &LinkName, kind: Kind) -> Result<NewLink, DriverError> {
    let missing = || {
        let text = format!(
            "invalid subinterface {kind} network: -o parent interface does not exist on the host: {name}"
        );
        DriverError::invalid(text)
    };
    let (below, tag) = name.as_str().rsplit_once('.').ok_or_else(missing)?;
    let id: u16 = tag.parse().ok().filter(|id| (1..=4094).contains(id)).ok_or_else(|| {
        DriverError::invalid(format!("vlan id must be between 1-4094, received: {tag:.16}"))
    })?;
    let below: LinkName = below.parse()?;
    if handle.link(&below)?.is_none() {
        return Err(missing());
    }
    Ok(NewLink::new(name.clone(), LinkKind::Vlan { parent: below, id }).up())
}

/// Removes the parent of a network, if we made it for that one.
pub(super) fn raze(handle: &Handle, mark: &str, network: &str, parent: &LinkName) -> Result<(), DriverError> {
    if let Some(link) = handle.link(parent)?
        && noted(&link.alias, mark) == Some(network)
    {
        handle.remove_link(parent)?;
    }
    Ok(())
}

/// Why this kernel cannot make such links, by trying in a namespace that ends with the attempt.
pub(super) fn refusal(kind: Kind) -> Result<Option<String>, DriverError> {
    let place = Namespace::create()?;
    let handle = place.handle()?;
    let name = |text: &str| text.parse::<LinkName>();
    handle.add_link(&NewLink::new(name("below")?, LinkKind::Bridge))?;
    let parent = name("below")?;
    let tried = match kind {
        Kind::Macvlan => LinkKind::Macvlan { parent, mode: pintle_netlink::MacvlanMode::Bridge },
        Kind::Ipvlan => LinkKind::Ipvlan { parent, mode: IpvlanMode::L2, flag: IpvlanFlag::Bridge },
    };
    match handle.add_link(&NewLink::new(name("above")?, tried)) {
        Err(error) if error.kind() == Kernel::Unsupported => Ok(Some(error.to_string())),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(None),
    }
}
