use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use pintle_wire::{authorization, ipam, log, network, volume};

/// Something that a plugin is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `/Plugin.Activate`
    Activate,
    /// A method of the volume interface.
    Volume(volume::Method),
    /// A method of the network interface.
    Network(network::Method),
    /// A method of the IPAM interface.
    Ipam(ipam::Method),
    /// A method of the authorization interface.
    Authorization(authorization::Method),
    /// A method of the log interface.
    Log(log::Method),
}

impl From<volume::Method> for Call {
    fn from(method: volume::Method) -> Self {
        Self::Volume(method)
    }
}

impl From<network::Method> for Call {
    fn from(method: network::Method) -> Self {
        Self::Network(method)
    }
}

impl From<ipam::Method> for Call {
    fn from(method: ipam::Method) -> Self {
        Self::Ipam(method)
    }
}

impl From<authorization::Method> for Call {
    fn from(method: authorization::Method) -> Self {
        Self::Authorization(method)
    }
}

impl From<log::Method> for Call {
    fn from(method: log::Method) -> Self {
        Self::Log(method)
    }
}

impl Call {
    /// Every call but the activation.
    pub fn all() -> impl Iterator<Item = Self> {
        let volume = volume::Method::ALL.map(Self::Volume);
        let network = network::Method::ALL.map(Self::Network);
        let ipam = ipam::Method::ALL.map(Self::Ipam);
        let authorization = authorization::Method::ALL.map(Self::Authorization);
        let log = log::Method::ALL.map(Self::Log);
        volume.into_iter().chain(network).chain(ipam).chain(authorization).chain(log)
    }

    /// Its name on the wire: `VolumeDriver.Mount`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Activate => "Plugin.Activate",
            Self::Volume(method) => method.name(),
            Self::Network(method) => method.name(),
            Self::Ipam(method) => method.name(),
            Self::Authorization(method) => method.name(),
            Self::Log(method) => method.name(),
        }
    }

    pub(super) fn from_path(path: &str) -> Option<Self> {
        let name = path.strip_prefix('/')?;
        Self::all().chain([Self::Activate]).find(|call| call.name() == name)
    }

    /// By its name on the wire, or by the method alone: the first interface that has it, volumes before networks
    /// before addresses.
    fn from_word(word: &str) -> Option<Self> {
        let named = |call: &Self| {
            let (whole, method) = (call.name(), call.name().rsplit('.').next().unwrap_or_default());
            whole.eq_ignore_ascii_case(word) || method.eq_ignore_ascii_case(word)
        };
        Self::all().chain([Self::Activate]).find(named)
    }
}

/// A way to misbehave. Where it says that the call works, the volume is really made, mounted and so on,
/// the network, the endpoint, the address likewise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// `hang`: read the request and never answer. The call does nothing.
    Hang,
    /// `hang-after`: the call works, the answer never comes.
    HangAfter,
    /// `slow:2s`: the call works, after a while.
    Slow(Duration),
    /// `half-body`: promise a whole answer, send half of it, close. The call works.
    HalfBody,
    /// `half-body-hang`: the same, and keep the connection open.
    HalfBodyHang,
    /// `wrong-json`: an answer that is not JSON.
    WrongJson,
    /// `wrong-shape`: JSON of which every value is of the wrong type.
    WrongShape,
    /// `wrong-content`: a web page.
    WrongContent,
    /// `garbage`: not even HTTP.
    Garbage,
    /// `lie`: a well-formed untruth. The call does nothing.
    Lie,
    /// `empty`: status 200 and no body.
    Empty,
    /// `err500:text`: status 500 and `{"Err": text}`.
    Err500(String),
    /// `err200:text`: status 200 and `{"Err": text}`.
    Err200(String),
    /// `status:404`: that status, and a body that says nothing in JSON.
    Status(u16),
    /// `close`: close the connection without an answer.
    Close,
    /// `die`: end before the call does anything.
    Die,
    /// `die-after`: the call works, the answer is sent, then the plugin ends.
    DieAfter,
    /// `huge:1000000000`: an answer of that many bytes, in time and in form.
    Huge(u64),
}

/// Which calls misbehave, and how often. Written `mount=hang,list=slow:2s,get=err500:no*3`; `*3` means that
/// only the first three calls do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script(pub(super) BTreeMap<Call, (Fault, Option<u32>)>);

impl Script {
    /// Nothing misbehaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every call of a method misbehaves.
    #[must_use]
    pub fn fault(mut self, call: impl Into<Call>, fault: Fault) -> Self {
        self.0.insert(call.into(), (fault, None));
        self
    }

    /// The first `times` calls misbehave.
    #[must_use]
    pub fn times(mut self, call: impl Into<Call>, fault: Fault, times: u32) -> Self {
        self.0.insert(call.into(), (fault, Some(times)));
        self
    }

    /// Every call of every method misbehaves, activation excepted.
    #[must_use]
    pub fn every(mut self, fault: &Fault) -> Self {
        self.0.extend(Call::all().map(|call| (call, (fault.clone(), None))));
        self
    }
}

/// A script that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError(String);

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScriptError {}

impl FromStr for Script {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let mut script = Self::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (call, fault) =
                item.split_once('=').ok_or_else(|| ScriptError(format!("{item:?} has no =")))?;
            let (fault, times) = match fault.rsplit_once('*') {
                Some((fault, times)) => (fault, Some(number(times)?)),
                None => (fault, None),
            };
            let fault: Fault = fault.parse()?;
            if call == "every" {
                script = script.every(&fault);
                continue;
            }
            let call = Call::from_word(call).ok_or_else(|| ScriptError(format!("{call:?} is no method")))?;
            script.0.insert(call, (fault, times));
        }
        Ok(script)
    }
}

impl FromStr for Fault {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let (word, detail) = text.split_once(':').unwrap_or((text, ""));
        Ok(match word {
            "hang" => Self::Hang,
            "hang-after" => Self::HangAfter,
            "slow" => Self::Slow(duration(detail)?),
            "half-body" => Self::HalfBody,
            "half-body-hang" => Self::HalfBodyHang,
            "wrong-json" => Self::WrongJson,
            "wrong-shape" => Self::WrongShape,
            "wrong-content" => Self::WrongContent,
            "garbage" => Self::Garbage,
            "lie" => Self::Lie,
            "empty" => Self::Empty,
            "err500" => Self::Err500(detail.to_owned()),
            "err200" => Self::Err200(detail.to_owned()),
            "status" => Self::Status(number(detail)?),
            "close" => Self::Close,
            "die" => Self::Die,
            "die-after" => Self::DieAfter,
            "huge" => Self::Huge(number(detail)?),
            _ => return Err(ScriptError(format!("{word:?} is no fault"))),
        })
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, ScriptError> {
    text.parse().map_err(|_| ScriptError(format!("{text:?} is no number")))
}

/// `500ms`, `2s`
pub fn duration(text: &str) -> Result<Duration, ScriptError> {
    match text.strip_suffix("ms") {
        Some(digits) => number(digits).map(Duration::from_millis),
        None => number(text.trim_end_matches('s')).map(Duration::from_secs),
    }
}
