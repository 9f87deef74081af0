use crate::{Error, Handle, LinkName, link::head_of_family, message::Message};

const SET_LINK: u16 = 19;
const FAMILY_BRIDGE: u8 = 7;
const PORT: u16 = 12;

const STATE: u16 = 1;
const FLUSH: u16 = 24;
const DISABLED: u8 = 0;

/// How a link is a port of its bridge; what is `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortOptions {
    /// Frames may go back out where they came in.
    pub hairpin: Option<bool>,
    /// Nothing is forwarded between isolated ports.
    pub isolated: Option<bool>,
    /// Requests for neighbours that the bridge knows are answered by it and not forwarded to this port.
    pub neighbour_suppression: Option<bool>,
    /// Addresses are learnt from frames.
    pub learning: Option<bool>,
    /// Frames to unknown addresses are sent here too.
    pub flood: Option<bool>,
}

impl Handle {
    /// Changes how a link is a port of its bridge.
    pub fn change_port(&self, name: &LinkName, options: PortOptions) -> Result<(), Error> {
        let index = self.index("change bridge port", name)?;
        self.tell(SET_LINK, 0, &head_of_family(FAMILY_BRIDGE, index, 0, 0), |message| {
            message.nest(PORT, |port| write(port, options));
        })
        .map_err(|refusal| refusal.of("change bridge port", name))
    }

    /// Ends all traffic through a port of a bridge, and forgets what was learnt of it. Unlike removing the link it takes
    /// microseconds, since nothing waits for packets on their way.
    pub fn silence_port(&self, name: &LinkName) -> Result<(), Error> {
        let index = self.index("silence bridge port", name)?;
        self.tell(SET_LINK, 0, &head_of_family(FAMILY_BRIDGE, index, 0, 0), |message| {
            message.nest(PORT, |port| {
                port.u8(STATE, DISABLED);
                port.bytes(FLUSH, &[]);
            });
        })
        .map_err(|refusal| refusal.of("silence bridge port", name))
    }
}

fn write(port: &mut Message, options: PortOptions) {
    let numbers = [
        (4, options.hairpin),
        (8, options.learning),
        (9, options.flood),
        (32, options.neighbour_suppression),
        (33, options.isolated),
    ];
    for (number, wanted) in numbers {
        if let Some(wanted) = wanted {
            port.u8(number, wanted.into());
        }
    }
}
