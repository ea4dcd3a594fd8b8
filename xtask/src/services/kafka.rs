//! Kafka: three controllers and two brokers, with the settings in `deploy/kafka/`.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use super::java::{Java, Library};
use super::kafka_ask::{Quorum, brokers, quorum};
use super::process::{self, Process};
use super::wait::{LIMIT, output};
use super::{Environment, Service, at_once, join_addresses};

const URL: &str = "HOLDFAST_TEST_KAFKA";

/// Ports from 32768 up are given to anybody who connects, and these are not.
const CONTROLLERS: [(&str, u16); 3] =
    [("controller-1", 19191), ("controller-2", 19192), ("controller-3", 19193)];
const BROKERS: [(&str, u16); 2] = [("kafka-1", 19092), ("kafka-2", 19093)];

/// The ids of the first controller and the first broker; the others follow.
const CONTROLLER_ID: i32 = 1;
const BROKER_ID: i32 = 11;

const CONTROLLER_HEAP_MIB: u32 = 128;
const BROKER_HEAP_MIB: u32 = 256;

/// Any name of 16 bytes in base64 will do. It keeps nodes of different clusters apart.
const CLUSTER_ID: &str = "SG9sZGZhc3RLYWZrYTAwMQ";

pub struct Kafka {
    library: Library,
    deploy: PathBuf,
    /// The controllers and then the brokers.
    processes: Vec<Process>,
    /// How many of them are controllers.
    controllers: usize,
}

/// A node of Kafka and the programs that it needs.
struct Node<'n> {
    process: &'n Process,
    java: &'n Java,
    /// Where the settings are.
    deploy: &'n Path,
    /// The files with the settings of its roles.
    files: &'n [&'static str],
    /// The settings that only this node has.
    own: String,
    heap_mib: u32,
}

impl Kafka {
    pub fn new(state: &Path, deploy: &Path) -> Self {
        let process = |(name, port)| Process::new(name, port, state);
        Self::of(CONTROLLERS.map(process).into(), BROKERS.map(process).into(), deploy)
    }

    /// A cluster of these nodes.
    pub fn of(controllers: Vec<Process>, brokers: Vec<Process>, deploy: &Path) -> Self {
        let deploy = deploy.join("kafka");
        let library = Library { title: "Kafka", name: "kafka", pom: deploy.join("pom.xml") };
        let count = controllers.len();
        let processes = controllers.into_iter().chain(brokers).collect();
        Self { library, deploy, processes, controllers: count }
    }

    fn controllers(&self) -> &[Process] {
        &self.processes[..self.controllers]
    }

    fn brokers(&self) -> &[Process] {
        &self.processes[self.controllers..]
    }

    fn id(&self, process: &Process) -> i32 {
        let ids = (CONTROLLER_ID..).zip(self.controllers()).chain((BROKER_ID..).zip(self.brokers()));
        ids.filter(|(_, of)| of.name == process.name).map(|(id, _)| id).sum()
    }

    /// The programs, fetched if need be. Those that are there are checked on request.
    fn programs(&self, check: bool) -> Result<Java, String> {
        let present = if check { Ok(None) } else { self.library.present() };
        let found = present.and_then(|java| java.map_or_else(|| self.library.install(), Ok));
        let java = found.map_err(|error| {
            format!(
                "Kafka is not to be had here: {error}; or run Kafka 4 or later yourself, and name its brokers in {URL}"
            )
        })?;
        if let Err(error) = java.keep_classes(|scratch, option| self.run_once(&java, scratch, option)) {
            println!("# Kafka starts more slowly than it could: {error}");
        }
        Ok(java)
    }

    /// Runs a node that is a whole cluster, for as long as it takes to start and to end.
    fn run_once(&self, java: &Java, scratch: &Path, option: &str) -> Result<(), String> {
        let any = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let (broker, controller) = any()
            .and_then(|broker| Ok((broker, any()?)))
            .map_err(|error| format!("no free port: {error}"))?;
        // One spelling, because processes are recognised by it.
        let scratch = fs::canonicalize(scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
        let process = Process::new("kafka-once", broker.port(), &scratch);
        let own = format!(
            "process.roles=broker,controller\nlisteners=PLAINTEXT://{broker},CONTROLLER://{controller}\n\
             node.id=1\ncontroller.quorum.voters=1@{controller}\n"
        );
        let node = Node {
            process: &process,
            java,
            deploy: &self.deploy,
            files: &["controller.properties", "broker.properties"],
            own,
            heap_mib: BROKER_HEAP_MIB,
        };
        node.initialize()?;
        node.spawn(&[option.to_owned()])?;
        process.wait_until("to answer", || brokers(broker).is_ok_and(|brokers| brokers == [1]))?;
        process::end(&[&process])
    }

    fn node<'n>(&'n self, process: &'n Process, java: &'n Java) -> Node<'n> {
        let voters = self.controllers().iter().map(|voter| format!("{}@{}", self.id(voter), voter.address()));
        let voters = voters.collect::<Vec<_>>().join(",");
        let is_controller = self.is_controller(process);
        let (listener, heap_mib) =
            if is_controller { ("CONTROLLER", CONTROLLER_HEAP_MIB) } else { ("PLAINTEXT", BROKER_HEAP_MIB) };
        let own = format!(
            "listeners={listener}://{}\nnode.id={}\ncontroller.quorum.voters={voters}\n",
            process.address(),
            self.id(process)
        );
        let files: &[_] = if is_controller { &["controller.properties"] } else { &["broker.properties"] };
        Node { process, java, deploy: &self.deploy, files, own, heap_mib }
    }

    fn is_controller(&self, process: &Process) -> bool {
        self.controllers().iter().any(|controller| controller.name == process.name)
    }

    /// Whether enough controllers run to decide anything.
    fn has_majority(&self) -> bool {
        let running = self.controllers().iter().filter(|controller| controller.pid().is_some()).count();
        running > self.controllers / 2
    }

    /// The controllers that work, if one of them leads.
    fn quorum(&self) -> Option<Quorum> {
        let running = self.controllers().iter().filter(|controller| controller.pid().is_some());
        running.filter_map(|controller| quorum(controller.address()).ok()?).next()
    }
}

impl Service for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn variables(&self) -> &'static [&'static str] {
        &[URL]
    }

    fn processes(&self) -> &[Process] {
        &self.processes
    }

    fn environment(&self) -> Environment {
        vec![(URL.to_owned(), format!("kafka://{}", join_addresses(self.brokers())))]
    }

    fn up(&self) -> Result<Vec<&'static str>, String> {
        let missing: Vec<_> = self.processes.iter().filter(|process| process.pid().is_none()).collect();
        // What runs was checked when it was started.
        if !missing.is_empty() {
            let java = self.programs(true)?;
            let spawned = at_once(&missing, |process| {
                let node = self.node(process, &java);
                node.initialize()?;
                node.spawn(&[])
            });
            spawned.into_iter().collect::<Result<(), _>>()?;
        }
        // A broker answers when it has been let into the cluster. A list of all of them may be older than that.
        for process in self.brokers().iter().chain(self.controllers()) {
            process.wait_until("to work in the cluster", || self.role(process).is_some())?;
        }
        let all = |known: Vec<i32>| self.brokers().iter().all(|broker| known.contains(&self.id(broker)));
        for broker in self.brokers() {
            broker.wait_until("to know the other", || brokers(broker.address()).is_ok_and(all))?;
        }
        Ok(missing.iter().map(|process| process.name).collect())
    }

    fn start(&self, process: &Process) -> Result<(), String> {
        self.node(process, &self.programs(false)?).spawn(&[])?;
        if self.has_majority() {
            return process.wait_until("to work in the cluster", || self.role(process).is_some());
        }
        // Without the others there is no cluster to work in, and a broker does not even listen.
        if self.is_controller(process) {
            process.wait_until("to listen", || TcpStream::connect(process.address()).is_ok())?;
        }
        Ok(())
    }

    /// Brokers first: they hand over what they lead. Without controllers to tell, they would wait for minutes.
    fn stop(&self, processes: &[&Process]) -> Result<(), String> {
        let (controllers, brokers): (Vec<_>, Vec<_>) =
            processes.iter().partition(|process| self.is_controller(process));
        if self.has_majority() {
            process::end(&brokers)?;
        } else {
            brokers.iter().try_for_each(|broker| broker.kill())?;
        }
        process::end(&controllers)
    }

    /// What the node does in a cluster that has a leader.
    fn role(&self, process: &Process) -> Option<&'static str> {
        let id = self.id(process);
        if self.is_controller(process) {
            let quorum = self.quorum()?;
            if quorum.leader == id {
                Some("active controller")
            } else {
                quorum.in_step.contains(&id).then_some("following controller")
            }
        } else {
            let is_listed = brokers(process.address()).is_ok_and(|brokers| brokers.contains(&id));
            // What brokers know may be old when no controller tells them.
            (is_listed && self.quorum().is_some()).then_some("broker")
        }
    }
}

impl Node<'_> {
    /// Makes the data folder, if there is none.
    fn initialize(&self) -> Result<(), String> {
        let data = self.process.data();
        if data.exists() {
            return Ok(());
        }
        // It gets its name when it is complete.
        let part = self.process.folder().join("data.part");
        let prepare = || {
            fs::create_dir_all(self.process.folder())?;
            if part.exists() { fs::remove_dir_all(&part) } else { Ok(()) }
        };
        prepare().map_err(|error| format!("{}: {error}", part.display()))?;
        let settings = self.write_settings(&part)?;
        let mut command = self.java.command(&self.options(), "kafka.tools.StorageTool");
        command.args(["format", "--cluster-id", CLUSTER_ID, "--config"]).arg(settings);
        output(&mut command, &format!("making the data of {}", self.process.name), LIMIT)?;
        fs::rename(&part, &data).map_err(|error| format!("{}: {error}", data.display()))
    }

    /// Starts the node, without waiting for it.
    fn spawn(&self, options: &[String]) -> Result<(), String> {
        let data = self.process.data();
        let settings = self.write_settings(&data)?;
        // Kafka does not read this. The process is recognised by it.
        let mark = format!("-Dholdfast.data={}", data.display());
        let mut command = self.java.command(&[&self.options(), options, &[mark]].concat(), "kafka.Kafka");
        command.arg(settings);
        self.process.spawn(&command)
    }

    fn options(&self) -> Vec<String> {
        let log = self.deploy.join("log4j2.properties");
        vec![
            format!("-Xmx{}m", self.heap_mib),
            format!("-Dlog4j2.configurationFile={}", log.display()),
            // Java leaves its folder for a moment when it makes the file with its counters. The folder says that a
            // process is ours.
            "-XX:-UsePerfData".to_owned(),
        ]
    }

    /// Puts all settings of the node into one file; the last one of a name counts.
    fn write_settings(&self, data: &Path) -> Result<PathBuf, String> {
        let path = self.process.folder().join("server.properties");
        let mut text = String::new();
        for name in ["common.properties"].iter().chain(self.files) {
            let file = self.deploy.join(name);
            let part = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            text.push_str(&part);
            text.push('\n');
        }
        text.push_str(&self.own);
        text.push_str(&format!("log.dirs={}\n", data.display().to_string().replace('\\', "\\\\")));
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }
}
