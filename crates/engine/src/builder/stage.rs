//! A build as it goes on: stage by stage, step by step.

use std::sync::Arc;

use pintle_image::{
    Commit, ContainerConfig, Digest, ImageId, Platform, Progress, Reference,
    dockerfile::{self, Dockerfile, Expander, Instruction, Stage, Step, variable},
};

use super::{
    Builder, Built, Context, Failed, Held, Request,
    arguments::Arguments,
    context::{self, Workplace},
};
use crate::{EngineError, ErrorKind, containers::check_signal};

/// More stages or steps than anybody writes.
const MAX_STEPS: usize = 10_000;
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a stage has come to.
#[derive(Default)]
pub(super) struct State {
    /// `None`: nothing yet, on nothing.
    pub image: Option<ImageId>,
    /// What its image says, or will.
    pub config: ContainerConfig,
    cmd_set: bool,
    author: String,
}

/// One build.
pub(super) struct Build<'a> {
    pub builder: &'a Builder,
    pub request: &'a Request,
    pub out: &'a Progress,
    pub place: Arc<Workplace>,
    pub arguments: Arguments,
    pub state: State,
    /// How many folders for single files there are.
    pub asides: usize,
    escape: char,
    platform: Platform,
    /// Stages that are done: their names and images.
    done: Vec<(Option<String>, Option<ImageId>)>,
    held: Vec<Held>,
    /// What `--cache-from` names, as far as steps may still come from it.
    sources: Vec<ImageId>,
    step: usize,
    steps: usize,
}

pub(super) async fn build(
    builder: &Builder,
    context: Context,
    request: Request,
    out: &Progress,
) -> Result<Built, Failed> {
    let place = Workplace::new(builder).await?;
    let text = context::receive(&builder.0.images, &place, context, &request.dockerfile, out).await?;
    let mut file = dockerfile::parse(&text)?;
    let last = target(&file, &request.target)?;
    file.stages.truncate(last + 1);
    if let Some(stage) = file.stages.last_mut()
        && !request.labels.is_empty()
    {
        stage.steps.push(labels(&request));
    }
    let steps = file.arguments.len() + file.stages.iter().map(|stage| 1 + stage.steps.len()).sum::<usize>();
    if steps > MAX_STEPS {
        return Err(EngineError::invalid(format!("more than {MAX_STEPS} steps")).into());
    }
    for warning in &file.warnings {
        out.output(format!("{warning}\n"));
    }
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let mut build = Build {
        builder,
        request: &request,
        out,
        place,
        arguments: Arguments::new(request.arguments.clone(), &platform),
        state: State::default(),
        asides: 0,
        escape: file.escape,
        platform,
        done: Vec::new(),
        held: Vec::new(),
        sources: Vec::new(),
        step: 0,
        steps,
    };
    let image = build.all(&file).await?;
    let unused = build.arguments.unused();
    if !unused.is_empty() {
        let unused = unused.join(" ");
        out.output(format!("[Warning] One or more build-args [{unused}] were not consumed\n"));
    }
    out.output(format!("Successfully built {}\n", image.short()));
    for tag in &request.tags {
        builder.0.images.tag(image.as_str(), tag)?;
        out.output(format!("Successfully tagged {}\n", tag.familiar()));
    }
    Ok(Built { image, tags: request.tags.clone() })
}

/// `--label`, as the step that it stands for.
fn labels(request: &Request) -> Step {
    let shown: Vec<String> =
        request.labels.iter().map(|(name, value)| format!("{name:?}='{value}'")).collect();
    let literal = |text: &String| format!("'{}'", text.replace('\'', "'\"'\"'"));
    let pairs = request.labels.iter().map(|(name, value)| (literal(name), literal(value))).collect();
    Step { line: 0, text: format!("LABEL {}", shown.join(" ")), instruction: Instruction::Label(pairs) }
}

/// Which stage is the last to be built.
fn target(file: &Dockerfile, name: &str) -> Result<usize, EngineError> {
    if name.is_empty() {
        return Ok(file.stages.len() - 1);
    }
    let named = file.stages.iter().position(|stage| stage.name.as_deref() == Some(&name.to_lowercase()));
    named
        .or_else(|| name.parse().ok().filter(|index| *index < file.stages.len()))
        .ok_or_else(|| EngineError::invalid(format!("target stage {name:?} could not be found")))
}

impl Build<'_> {
    async fn all(&mut self, file: &Dockerfile) -> Result<ImageId, Failed> {
        for step in &file.arguments {
            self.say_step(&step.text);
            let Instruction::Arg(pairs) = &step.instruction else { continue };
            for (name, default) in pairs {
                let lookup = |name: &str| self.arguments.global(name);
                let expander = Expander { escape: self.escape, lookup: &lookup };
                let default = default.as_ref().map(|text| expander.word(text)).transpose()?;
                self.arguments.declare_global(name, default);
            }
        }
        for stage in &file.stages {
            self.begin(stage).await?;
            for step in &stage.steps {
                self.say_step(&step.text);
                self.dispatch(&step.instruction).await.map_err(|failed| located(failed, step))?;
                self.say_image();
            }
            let image = self.state.image.clone();
            if let Some(image) = &image {
                self.out.aux(serde_json::json!({ "ID": image.as_str() }));
            }
            self.done.push((stage.name.clone(), image));
        }
        self.state
            .image
            .clone()
            .ok_or_else(|| EngineError::invalid("No image was generated. Is your Dockerfile empty?").into())
    }

    fn say_step(&mut self, text: &str) {
        self.step += 1;
        self.out.output(format!("Step {}/{} : {text}\n", self.step, self.steps));
    }

    /// `FROM`, and what the base wants done then.
    async fn begin(&mut self, stage: &Stage) -> Result<(), Failed> {
        self.say_step(&stage.text);
        self.arguments.begin_stage();
        self.find_sources();
        let lookup = |name: &str| self.arguments.global(name);
        let expander = Expander { escape: self.escape, lookup: &lookup };
        let base = expander.word(&stage.base)?;
        let platform = stage.platform.as_ref().map(|text| expander.word(text)).transpose()?;
        if base.is_empty() {
            return Err(
                EngineError::invalid(format!("base name ({}) should not be blank", stage.base)).into()
            );
        }
        let platform: Option<Platform> = match platform.filter(|text| !text.is_empty()) {
            Some(text) => Some(text.parse()?),
            None => self.request.platform.clone(),
        };
        let image = match self.stage_named(&base) {
            Some(image) => image,
            None if base.eq_ignore_ascii_case("scratch") => None,
            None => Some(self.image(&base, platform.as_ref()).await?),
        };
        self.state = State::default();
        let mut triggers = Vec::new();
        if let Some(id) = &image {
            let known = self.builder.0.images.get(id.as_str())?;
            self.state.config = known.config.config.clone();
            triggers = std::mem::take(&mut self.state.config.on_build);
            self.held.push(self.builder.hold(id));
        }
        if variable(&self.state.config.env, "PATH").is_none() {
            self.state.config.env.push(DEFAULT_PATH.to_owned());
        }
        self.state.image = image;
        if !triggers.is_empty() {
            let plural = if triggers.len() == 1 { "" } else { "s" };
            self.out.output(format!("# Executing {} build trigger{plural}\n", triggers.len()));
        }
        for trigger in triggers {
            for step in dockerfile::parse_steps(&trigger)? {
                if matches!(step.instruction, Instruction::From { .. } | Instruction::Onbuild(_)) {
                    return Err(EngineError::invalid(format!(
                        "{trigger:.100} isn't allowed as an ONBUILD trigger"
                    ))
                    .into());
                }
                self.dispatch(&step.instruction).await?;
            }
        }
        self.say_image();
        Ok(())
    }

    fn say_image(&self) {
        self.out.output(format!(" ---> {}\n", self.state.image.as_ref().map_or("", ImageId::short)));
    }

    /// A stage that is done, by its name. Its image may be none.
    fn stage_named(&self, name: &str) -> Option<Option<ImageId>> {
        let named = |(own, _): &&(Option<String>, _)| own.as_deref() == Some(&name.to_lowercase());
        self.done.iter().find(named).map(|(_, image)| image.clone())
    }

    /// What `COPY --from` names: a stage by name or number, else an image.
    pub async fn source_image(&mut self, from: &str) -> Result<ImageId, Failed> {
        let number = from.parse::<usize>().ok();
        let stage = match number {
            Some(number) if number == self.done.len() => {
                let text = format!("invalid from flag value {from}: refers to current build stage");
                return Err(EngineError::invalid(text).into());
            }
            Some(number) => self.done.get(number).map(|(_, image)| image.clone()),
            None => self.stage_named(from),
        };
        match stage {
            Some(Some(image)) => Ok(image),
            Some(None) => Err(EngineError::invalid(format!("stage {from} has no files")).into()),
            None if number.is_some() => {
                Err(EngineError::invalid(format!("invalid from flag value {from}: no such stage")).into())
            }
            None => self.image(from, self.request.platform.as_ref()).await,
        }
    }

    /// An image, pulled if it is not here or if the client wants so.
    async fn image(&self, name: &str, platform: Option<&Platform>) -> Result<ImageId, Failed> {
        let images = &self.builder.0.images;
        let fits = |image: &pintle_image::Image| {
            platform.is_none_or(|wanted| wanted.accepts(&image.config.platform()).is_some())
        };
        match images.get(name) {
            Ok(image) if !self.request.pull && fits(&image) => return Ok(image.id),
            Err(error) if error.kind() == pintle_image::ErrorKind::InvalidArgument => {
                return Err(EngineError::from(error)
                    .context(format!("failed to parse stage name {name:?}"))
                    .into());
            }
            // An id is of something that is here, or of nothing.
            Ok(image) if name.parse::<ImageId>().is_ok() => return Ok(image.id),
            _ => {}
        }
        let reference: Reference = name.parse()?;
        let auth = self.request.credentials_for(reference.domain());
        Ok(images.pull(&reference.or_latest(), platform, &auth, self.out).await?.id)
    }

    async fn dispatch(&mut self, instruction: &Instruction) -> Result<(), Failed> {
        match instruction {
            Instruction::Run(command) => self.run(command).await,
            Instruction::Copy(transfer) => self.copy(false, transfer).await,
            Instruction::Add(transfer) => self.copy(true, transfer).await,
            Instruction::Arg(pairs) => self.declare(pairs).await,
            Instruction::From { .. } => Err(EngineError::invalid("FROM cannot stand here").into()),
            other => self.configure(other).await,
        }
    }

    async fn declare(&mut self, pairs: &[(String, Option<String>)]) -> Result<(), Failed> {
        let mut told = "ARG".to_owned();
        for (name, default) in pairs {
            let name = self.word(name)?;
            let default = default.as_ref().map(|text| self.word(text)).transpose()?;
            told.push(' ');
            told.push_str(&name);
            if let Some(default) = &default {
                told.push_str(&format!("={default}"));
            }
            self.arguments.declare(&name, default);
        }
        self.commit(&told).await
    }

    async fn configure(&mut self, instruction: &Instruction) -> Result<(), Failed> {
        let env = self.state.config.env.clone();
        let lookup = |name: &str| self.arguments.variable(&env, name);
        let expander = Expander { escape: self.escape, lookup: &lookup };
        let told =
            dockerfile::apply(&mut self.state.config, instruction, &expander, &mut self.state.cmd_set)?;
        match instruction {
            Instruction::StopSignal(_) => check_signal(&self.state.config.stop_signal)?,
            Instruction::Maintainer(name) => self.state.author.clone_from(name),
            Instruction::Workdir(_) => return self.make_workdir(&told).await,
            _ => {}
        }
        self.commit(&told).await
    }

    /// The directory is there from then on.
    async fn make_workdir(&mut self, told: &str) -> Result<(), Failed> {
        let told = self.nop(told);
        if self.cached(&told).await? {
            return Ok(());
        }
        let scratch = super::scratch::Scratch::open(self.builder, self.state.image.as_ref()).await?;
        let (root, path) = (scratch.root().to_owned(), self.state.config.working_dir.clone());
        crate::containers::blocking(move || Ok(pintle_image::archive::make_directory(&root, &path)?)).await?;
        let made = scratch.commit(Commit { created_by: told.clone(), ..self.commit_of(&told) }).await?;
        self.arrive(made);
        Ok(())
    }

    /// An image that differs in its configuration alone.
    async fn commit(&mut self, told: &str) -> Result<(), Failed> {
        let told = self.nop(&format!(" {told}"));
        if self.cached(&told).await? {
            return Ok(());
        }
        let commit = Commit { created_by: told.clone(), ..self.commit_of(&told) };
        let made = self.builder.0.images.commit_config(self.state.image.as_ref(), commit).await?;
        self.arrive(made);
        Ok(())
    }

    /// One word, variables put in.
    pub fn word(&self, text: &str) -> Result<String, Failed> {
        let lookup = |name: &str| self.arguments.variable(&self.state.config.env, name);
        Ok(Expander { escape: self.escape, lookup: &lookup }.word(text)?)
    }

    /// A line for the stage's shell.
    pub fn shell_words(&self, line: &str) -> Vec<String> {
        let mut words = self.state.config.shell.clone().unwrap_or_else(dockerfile::default_shell);
        words.push(line.to_owned());
        words
    }

    /// How the history tells a step that runs nothing. Those that touch files have one space, as in Docker.
    pub fn nop(&self, told: &str) -> String {
        self.shell_words(&format!("#(nop) {told}")).join(" ")
    }

    /// The image of a step, its history's text apart.
    pub fn commit_of(&self, told: &str) -> Commit {
        Commit {
            config: self.state.config.clone(),
            author: self.state.author.clone(),
            step: Some(self.identity(told)),
            platform: Some(self.platform.clone()),
            ..Commit::default()
        }
    }

    /// What makes a step the same as another on the same image.
    fn identity(&self, told: &str) -> String {
        let config = serde_json::to_string(&self.state.config).unwrap_or_default();
        let author = &self.state.author;
        let whole = format!("{told}\0{author}\0{}\0{config}", self.platform);
        Digest::of(whole.as_bytes()).hex().to_owned()
    }

    /// Takes the image that the same step made before, if there is one and it may be used.
    pub async fn cached(&mut self, told: &str) -> Result<bool, Failed> {
        if !self.request.use_cache {
            return Ok(false);
        }
        let Some(image) = self.known(told).await? else { return Ok(false) };
        self.out.output(" ---> Using cache\n");
        self.arrive(image);
        Ok(true)
    }

    /// What was built here, or with `--cache-from` what those images are made of.
    async fn known(&mut self, told: &str) -> Result<Option<ImageId>, Failed> {
        let images = &self.builder.0.images;
        let parent = self.state.image.as_ref();
        let built = images.built(parent, &self.identity(told));
        if self.request.cache_from.is_empty() {
            return Ok(built);
        }
        if let Some(built) = built
            && self.sources.iter().any(|source| *source == built || images.stands_on(source, &built))
        {
            return Ok(Some(built));
        }
        for source in &self.sources {
            let commit = Commit { created_by: told.to_owned(), ..self.commit_of(told) };
            if let Some(image) = images.restored(parent, source, commit).await? {
                // Steps of one image are not mixed with another's.
                self.sources = vec![source.clone()];
                return Ok(Some(image));
            }
        }
        Ok(None)
    }

    /// The images that `--cache-from` names. One that is not here is none.
    fn find_sources(&mut self) {
        self.sources.clear();
        for name in &self.request.cache_from {
            match self.builder.0.images.get(name) {
                Ok(image) => {
                    self.held.push(self.builder.hold(&image.id));
                    self.sources.push(image.id);
                }
                Err(error) => tracing::warn!(%name, %error, "--cache-from: going on without it"),
            }
        }
    }

    /// The stage has come to this image.
    pub fn arrive(&mut self, image: ImageId) {
        self.held.push(self.builder.hold(&image));
        self.state.image = Some(image);
    }
}

/// A failed instruction that does not say where it stands.
fn located(failed: Failed, step: &Step) -> Failed {
    let syntax = failed.code.is_none()
        && failed.error.kind() == ErrorKind::InvalidArgument
        && failed.error.message.starts_with("failed to process ");
    match syntax {
        true => Failed {
            error: failed.error.context(format!("dockerfile parse error on line {}", step.line)),
            ..failed
        },
        false => failed,
    }
}
