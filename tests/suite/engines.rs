//! Parts as tasks of real engines: Slurm with four nodes on this machine, Open MPI, and network namespaces. If
//! one is not installed its test prints `skipped: …` and passes, unless `FLOWBENCH_REQUIRE_SLURM=1` (or
//! `…_MPI=1`, `…_NETNS=1`) is set.

mod deployed;
mod elsewhere;
mod statistics;

use std::ffi::OsString;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::interop::python::manifests;
use crate::meet::free_address;
use crate::parts::{Place, same_timeline, text};

const FLOWBENCH: &str = env!("CARGO_BIN_EXE_flowbench");

/// The load that four parts send together.
const LOAD: &str =
    "load: {rate: 50/s, arrivals: poisson, duration: 6s}, thresholds: [requests > 200]";

/// Its rate: gaps of 20 ms can be measured even on a busy machine.
const RATE: f64 = 50.0;

/// The PATH with the folder of our program in front.
fn path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = Path::new(FLOWBENCH).parent().expect("it is in a folder");
    std::env::join_paths([own.to_owned()].into_iter().chain(std::env::split_paths(&path)))
        .expect("a path")
}

/// The output of the program.
fn flowbench(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(FLOWBENCH).args(arguments).current_dir(folder).output();
    let output = output.expect("the binary was built");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// Whether all these programs are installed; prints a message if not.
fn are_there(programs: &[&str], variable: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Daemons may be in folders that are not on everyone's PATH.
    let folders: Vec<_> =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    let missing = programs
        .iter()
        .find(|program| !folders.iter().any(|folder| folder.join(program).is_file()));
    let Some(missing) = missing else { return true };
    skipped(variable, &format!("no {missing}"));
    false
}

fn skipped(variable: &str, why: &str) {
    let variable = format!("FLOWBENCH_REQUIRE_{variable}");
    assert_ne!(std::env::var(&variable).as_deref(), Ok("1"), "{why}");
    // Bypasses the test harness, which would capture it.
    let _ = writeln!(std::io::stderr(), "skipped: {why} to send parts of a load with");
}

/// Daemons, which are stopped when this is dropped.
struct Daemons(Vec<Child>);

impl Daemons {
    fn start(&mut self, command: &mut Command) {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.0.push(command.spawn().expect("it is there"));
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        // Later daemons need the earlier ones, so stop them in reverse order.
        for daemon in self.0.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Slurm with four nodes, all of them on this machine.
struct Slurm {
    folder: TempDir,
    _daemons: Daemons,
}

impl Slurm {
    fn start() -> Slurm {
        let folder = TempDir::new().expect("a folder");
        let here = folder.path().display().to_string();
        let host = rustix::system::uname();
        let host = host.nodename().to_str().expect("a name");
        let host = host.split('.').next().expect("a name");
        let ports = free_ports();
        let nodes: String = (1..=4)
            .map(|n| {
                format!(
                    "NodeName=n{n} NodeHostname={host} NodeAddr=127.0.0.1 Port={} CPUs=1 State=UNKNOWN\n",
                    ports[n]
                )
            })
            .collect();
        let settings = format!(
            "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nAuthType=auth/munge\n\
             AuthInfo=socket={here}/munge.sock\nCredType=cred/munge\nSlurmUser=root\nSlurmdUser=root\n\
             StateSaveLocation={here}/state\nSlurmdSpoolDir={here}/spool-%n\n\
             SlurmctldPidFile={here}/slurmctld.pid\nSlurmdPidFile={here}/slurmd-%n.pid\n\
             SlurmctldLogFile={here}/slurmctld.log\nSlurmdLogFile={here}/slurmd-%n.log\n\
             SlurmctldPort={}\nCommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n\
             ProctrackType=proctrack/pgid\nTaskPlugin=task/none\nSchedulerType=sched/builtin\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\n\
             JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
             MpiDefault=none\nReturnToService=2\n{nodes}\
             PartitionName=all Nodes=n[1-4] Default=YES MaxTime=INFINITE State=UP\n",
            ports[0]
        );
        std::fs::write(folder.path().join("slurm.conf"), settings).expect("written");
        std::fs::create_dir(folder.path().join("state")).expect("a folder");
        let key = folder.path().join("munge.key");
        let random: [u8; 128] = std::array::from_fn(|_| rand::random());
        std::fs::write(&key, random).expect("written");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o400);
        std::fs::set_permissions(&key, private).expect("it is ours");
        let mut daemons = Daemons(Vec::new());
        daemons.start(Command::new("/usr/sbin/munged").args(["--foreground", "--force"]).args([
            format!("--key-file={here}/munge.key"),
            format!("--socket={here}/munge.sock"),
            format!("--pid-file={here}/munged.pid"),
            format!("--log-file={here}/munged.log"),
            format!("--seed-file={here}/munged.seed"),
        ]));
        until(|| folder.path().join("munge.sock").exists(), "munged listens");
        let conf = format!("{here}/slurm.conf");
        daemons.start(Command::new("/usr/sbin/slurmctld").args(["-D", "-f", &conf]));
        for n in 1..=4 {
            let name = format!("n{n}");
            daemons.start(Command::new("/usr/sbin/slurmd").args(["-D", "-f", &conf, "-N", &name]));
        }
        let slurm = Slurm { folder, _daemons: daemons };
        until(
            || {
                let nodes = slurm.command("sinfo").args(["-h", "-t", "idle", "-o", "%D"]).output();
                text(&nodes.expect("it is there").stdout).trim() == "4"
            },
            "four nodes are idle",
        );
        slurm
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.folder.path().join("slurm.conf")).stdin(Stdio::null());
        command
    }
}

/// Free ports.
fn free_ports() -> [u16; 5] {
    let listen = || TcpListener::bind("127.0.0.1:0").expect("a port");
    // Bound at the same time, so that no two are equal.
    let ports: [TcpListener; 5] = std::array::from_fn(|_| listen());
    ports.map(|port| port.local_addr().expect("an address").port())
}

fn until(happened: impl Fn() -> bool, what: &str) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A time in the near future, but after all parts have started.
fn soon() -> String {
    (jiff::Timestamp::now() + Duration::from_secs(8)).to_string()
}

/// Checks that the four connected parts together sent the load that one machine would send.
fn is_the_load_of_one_machine(place: Place) {
    let (merged, code) = place.merged();
    let scenario = &merged["scenarios"][0];
    // Part 1 already had that result.
    let told = crate::parts::report(&place.path("out"));
    let told = &told["scenarios"][0];
    for key in ["requests", "thresholds", "verdict"] {
        assert_eq!(told[key], scenario[key], "{key}");
    }
    for figure in ["p50", "p99", "p99.9", "max"] {
        let [told, merged] = [told, scenario].map(|of| &of["response_time_ms"][figure]);
        assert!(told.is_number() && told == merged, "{figure}: {told} and {merged}");
    }
    same_timeline(told, scenario);
    assert_eq!(code, Some(0), "{:#}", scenario["validity"]);
    let states: Vec<&Value> = (0..4).map(|part| &scenario["parts"][part]["state"]).collect();
    assert_eq!(states, ["complete"; 4]);
    for part in scenario["parts"].as_array().expect("parts") {
        assert!(part["start_skew_ms"].as_f64().is_some_and(|late| late >= 0.0), "{part}");
    }
    let sent = scenario["requests"]["sent"].as_u64().expect("a number");
    // The seed determines how many requests one machine sends, and when.
    let plan = place.run(&["run", "suite.yaml", "--out", "whole", "--quiet"]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stderr));
    let whole = crate::parts::report(&place.path("whole"));
    assert_eq!(whole["scenarios"][0]["requests"]["sent"].as_u64(), Some(sent));
    let arrivals = place.arrivals();
    assert_eq!(arrivals.len() as u64, 2 * sent, "each came once");
    if scenario["validity"]["valid"] != true {
        // The run itself reports that requests were not sent when due.
        let _ = writeln!(std::io::stderr(), "skipped: the machine is too busy to look at gaps");
        return;
    }
    // Gaps are exponential within random variation; twice that is allowed for a busy machine.
    let gaps = statistics::spans(&arrivals[..sent as usize], 1);
    let limit = 2.0 * statistics::limit(gaps.len());
    let distance = statistics::distance(gaps, |gap| statistics::erlang(1, RATE, gap));
    assert!(distance < limit, "{distance}");
}

impl Slurm {
    /// Runs a batch script to its end; returns its exit code.
    fn batch(&self, script: &str, path: OsString, place: &Place) -> Option<i32> {
        std::fs::write(place.path("job.sh"), script).expect("written");
        let job = self
            .command("sbatch")
            .args(["--wait", "job.sh"])
            .env("PATH", path)
            .current_dir(place.path(""))
            .output()
            .expect("it is there");
        job.status.code()
    }
}

#[test]
fn four_tasks_of_slurm_send_the_load_of_one_machine() {
    if !are_there(&["slurmctld", "slurmd", "munged", "srun"], "SLURM") {
        return;
    }
    let slurm = Slurm::start();
    let place = Place::new(LOAD);
    let log = place.path("flowbench-load-1.log");
    // The names of its nodes do not resolve.
    let meet = free_address();
    let arguments =
        ["deploy", "slurm", "suite.yaml", "--parts", "4", "--cpus", "1", "--meet", &meet];
    let script = flowbench(&arguments, &place.path(""));
    let code = slurm.batch(&script, path(), &place);
    assert_eq!(code, Some(0), "{:?}", std::fs::read_to_string(log));
    std::fs::rename(place.path("flowbench-load-1"), place.path("out")).expect("the results");
    // The variables are also set in a batch script, which runs only once: that would send a quarter of the
    // load.
    let script = format!(
        "#!/bin/sh\n#SBATCH -n4 -O --output=/dev/null\n{FLOWBENCH} run suite.yaml --part auto > batch.txt 2>&1\n"
    );
    assert_ne!(slurm.batch(&script, path(), &place), Some(0));
    let told = std::fs::read_to_string(place.path("batch.txt")).expect("its output");
    assert!(
        told.contains("a Slurm batch script outside `srun`, so there is one process and not 4"),
        "{told}"
    );
    is_the_load_of_one_machine(place);
    tasks_find_the_first_host_by_themselves(&slurm);
    what_they_send_and_measure_is_that_of_one_machine(&slurm);
    they_begin_together(&slurm);
}

/// Uses the script as printed, which does not say where to meet.
fn tasks_find_the_first_host_by_themselves(slurm: &Slurm) {
    let place = Place::new("load: {rate: 100/s, duration: 1s}");
    let names = TempDir::new().expect("a folder");
    statistics::with_names(names.path(), FLOWBENCH).expect("written");
    let can = Command::new(names.path().join("flowbench")).arg("--version").output();
    if !can.is_ok_and(|ran| ran.status.success()) {
        return skipped("NAMES", "no names of nodes, without `unshare --mount`,");
    }
    let script = flowbench(
        &["deploy", "slurm", "suite.yaml", "--parts", "4", "--cpus", "1"],
        &place.path(""),
    );
    assert!(script.contains("--meet auto"), "{script}");
    let path = std::env::join_paths(
        [names.path().to_owned()].into_iter().chain(std::env::split_paths(&path())),
    );
    let code = slurm.batch(&script, path.expect("a path"), &place);
    let outputs = std::fs::read_dir(place.path("")).expect("it is there").flatten();
    let output = |extension: &str| {
        let is = |path: &std::path::PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("flowbench-load-") && name.ends_with(".log") == (extension == "log")
        };
        outputs.map(|entry| entry.path()).find(is).expect("what the job left")
    };
    let results = match code {
        Some(0) => output("folder"),
        _ => panic!("{code:?}: {:?}", std::fs::read_to_string(output("log"))),
    };
    let whole = crate::parts::report(&results);
    assert_eq!(whole["scenarios"][0]["requests"]["ok"], 100);
    assert_eq!(whole["parts"].as_array().map(Vec::len), Some(4));
}

fn what_they_send_and_measure_is_that_of_one_machine(slurm: &Slurm) {
    let place = Place::new(statistics::LOAD);
    let meet = free_address();
    let script = format!(
        "#!/bin/sh\n#SBATCH --ntasks=4 --ntasks-per-node=1 --output=printed.txt\n\
         export FLOWBENCH_MEET_TOKEN=0123456789abcdef0123\n\
         srun {FLOWBENCH} run suite.yaml --part auto --meet {meet} --out out --quiet\n"
    );
    let code = slurm.batch(&script, path(), &place);
    let printed = std::fs::read_to_string(place.path("printed.txt")).expect("its output");
    let end: String = printed.lines().rev().take(5).collect();
    assert!(matches!(code, Some(0 | 4)), "{code:?}: {end}");
    statistics::is_the_load_of_one_machine(place, &printed);
}

fn they_begin_together(slurm: &Slurm) {
    const RUNS: usize = 5;
    let place = Place::new(statistics::AT_ONCE);
    let meet = free_address();
    let script = format!(
        "#!/bin/sh\n#SBATCH --ntasks=4 --ntasks-per-node=1 --output=printed.txt\n\
         export FLOWBENCH_MEET_TOKEN=0123456789abcdef0123\n\
         for run in $(seq 0 {}); do\n\
         srun {FLOWBENCH} run suite.yaml --part auto --meet {meet} --out out-$run --quiet || exit 1\n\
         done\n",
        RUNS - 1
    );
    let code = slurm.batch(&script, path(), &place);
    assert_eq!(code, Some(0), "{:?}", std::fs::read_to_string(place.path("printed.txt")));
    statistics::begin_together(place, RUNS);
}

#[test]
fn four_processes_of_mpi_send_the_load_of_one_machine() {
    if !are_there(&["mpirun"], "MPI") {
        return;
    }
    let place = Place::new(LOAD);
    let meet = free_address();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/mpi.sh");
    let run = Command::new(script)
        .args(["suite.yaml", "4", "out"])
        .env("PATH", path())
        .env("FLOWBENCH_MEET", &meet)
        // Allows running as root, on one host, with no other listening address.
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .env("OMPI_MCA_oob_tcp_if_include", "lo")
        .env("OMPI_MCA_btl", "self")
        .current_dir(place.path(""))
        .stdin(Stdio::null())
        .output()
        .expect("it is there");
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    is_the_load_of_one_machine(place);
}

/// Network namespaces, which are removed when this is dropped.
struct Namespaces(Vec<String>);

impl Namespaces {
    /// Creates one for a Flow, at 10.231.77.1, and four with their own addresses, on a bridge.
    fn new() -> Result<Namespaces, String> {
        let prefix = format!("fb{}", std::process::id());
        let mut all = Namespaces(Vec::new());
        let flow = format!("{prefix}f");
        all.add(&flow)?;
        ip(&["-n", &flow, "link", "set", "lo", "up"])?;
        ip(&["-n", &flow, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &flow, "addr", "add", "10.231.77.1/24", "dev", "br0"])?;
        ip(&["-n", &flow, "link", "set", "br0", "up"])?;
        for n in 1..=4 {
            let name = format!("{prefix}p{n}");
            let (port, address) = (format!("p{n}"), format!("10.231.77.{}/24", 10 + n));
            all.add(&name)?;
            ip(&[
                "-n", &flow, "link", "add", &port, "type", "veth", "peer", "name", "e0", "netns",
                &name,
            ])?;
            ip(&["-n", &flow, "link", "set", &port, "master", "br0", "up"])?;
            ip(&["-n", &name, "addr", "add", &address, "dev", "e0"])?;
            ip(&["-n", &name, "link", "set", "e0", "up"])?;
        }
        Ok(all)
    }

    fn add(&mut self, name: &str) -> Result<(), String> {
        ip(&["netns", "add", name])?;
        self.0.push(name.to_owned());
        Ok(())
    }

    /// A program in the namespace of the Flow (0) or of a part.
    fn command(&self, n: usize) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0[n]]);
        command
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {}: {}", arguments.join(" "), text(&output.stderr).trim())),
    }
}

#[test]
fn parts_with_addresses_of_their_own_send_the_load_of_one_machine() {
    if !are_there(&["ip", "tc"], "NETNS") {
        return;
    }
    let namespaces = match Namespaces::new() {
        Ok(namespaces) => namespaces,
        Err(why) => return skipped("NETNS", &why),
    };
    // Adds delay and loss on the network, if the kernel supports that.
    let netem = [
        "tc", "qdisc", "add", "dev", "e0", "root", "netem", "delay", "20ms", "2ms", "loss", "0.1%",
    ];
    let delayed = (1..=4).all(|part| {
        namespaces.command(part).args(netem).output().is_ok_and(|output| output.status.success())
    });
    if !delayed {
        let _ =
            writeln!(std::io::stderr(), "skipped: no netem in this kernel, so no delay and loss");
    }
    let folder = TempDir::new().expect("a folder");
    let suite = format!(
        "name: load\nseed: 7\nflows: {{f: {{host: 'grpc://10.231.77.1:7000'}}}}\nscenarios:\n  - \
         {{name: s, flow: f, {LOAD}}}\n"
    );
    std::fs::write(folder.path().join("suite.yaml"), suite).expect("written");
    let mut flow = Daemons(Vec::new());
    flow.start(
        namespaces
            .command(0)
            .args([
                FLOWBENCH,
                "serve",
                "--host",
                "10.231.77.1",
                "--protocol",
                "grpc",
                "--port",
                "7000",
            ])
            .current_dir(folder.path()),
    );
    let ready = namespaces
        .command(1)
        .args([FLOWBENCH, "ready", "grpc://10.231.77.1:7000", "--wait", "30s"])
        .output()
        .expect("it is there");
    assert_eq!(ready.status.code(), Some(0), "{}", text(&ready.stderr));
    let at = soon();
    let parts: Vec<Child> = (1..=4)
        .map(|part| {
            namespaces
                .command(part)
                .args([FLOWBENCH, "run", "suite.yaml", "--part", &format!("{part}/4"), "--at", &at])
                .args(["--out", "out", "--quiet"])
                .current_dir(folder.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it is there")
        })
        .collect();
    for part in parts {
        let output = part.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let merged = merged(folder.path());
    let scenario = &merged["scenarios"][0];
    assert_eq!(scenario["verdict"], "held", "{:#}", scenario["validity"]);
    let p50 = scenario["response_time_ms"]["p50"].as_f64().expect("a number");
    assert!(!delayed || p50 > 19.0, "{p50}");
}

fn merged(folder: &Path) -> Value {
    let output = Command::new(FLOWBENCH)
        .args(["merge", "out", "--json", "--out", "merged"])
        .current_dir(folder)
        .output()
        .expect("the binary was built");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

/// The examples in `deploy/` are the output of the command.
#[test]
fn what_is_deployed_is_what_kubernetes_and_slurm_take() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let print =
        |engine: &str| flowbench(&["deploy", engine, "suite.yaml", "--parts", "4"], &deploy);
    let (manifest, script) = (print("kubernetes"), print("slurm"));
    let kept = |name: &str| std::fs::read_to_string(deploy.join(name)).expect("it is there");
    assert_eq!(kept("kubernetes.yaml"), manifest, "flowbench deploy kubernetes, in deploy/");
    assert_eq!(kept("slurm.sh"), script, "flowbench deploy slurm, in deploy/");
    for script in ["slurm.sh", "mpi.sh"] {
        let checked = Command::new("bash").arg("-n").arg(deploy.join(script)).status();
        assert!(checked.expect("bash is there").success(), "{script}");
    }
    // The volume has the suite and its data, byte for byte.
    let documents: Vec<Value> =
        manifest.split("---\n").map(|text| serde_yaml::from_str(text).expect("YAML")).collect();
    let [config, service, job] = documents.as_slice() else { panic!("{}", documents.len()) };
    let items = &job["spec"]["template"]["spec"]["volumes"][0]["configMap"]["items"];
    let items = items.as_array().expect("items");
    assert_eq!(items.len(), 2);
    for item in items {
        let path = item["path"].as_str().expect("a path");
        let data = &config["data"][item["key"].as_str().expect("a key")];
        assert_eq!(data.as_str(), Some(&*kept(path)), "{path}");
    }
    // Pods find the first one through the Service, which has the name of the Job, and part of their own name.
    let pod = &job["spec"]["template"];
    assert_eq!(service["metadata"]["name"], job["metadata"]["name"]);
    assert_eq!(pod["spec"]["subdomain"], service["metadata"]["name"]);
    assert_eq!(service["spec"]["selector"], pod["metadata"]["labels"]);
    assert_eq!(service["spec"]["clusterIP"], "None");
    // Each pod is one part, and there are as many parts as pods.
    let container = &pod["spec"]["containers"][0];
    let count = job["spec"]["completions"].to_string();
    assert_eq!(container["env"][0], serde_json::json!({"name": "FLOWBENCH_PARTS", "value": count}));
    assert_eq!(container["env"][1]["name"], "FLOWBENCH_MEET_TOKEN");
    let arguments: Vec<&str> =
        container["args"].as_array().expect("words").iter().filter_map(Value::as_str).collect();
    let folder = TempDir::new().expect("a folder");
    let suite = kept("suite.yaml").replace("grpc://flow:54321", "grpc://127.0.0.1:9");
    std::fs::write(folder.path().join("suite.yaml"), suite).expect("written");
    std::fs::copy(deploy.join("queries.jsonl"), folder.path().join("queries.jsonl"))
        .expect("copied");
    let (meet, auto) = (free_address(), arguments.iter().rposition(|word| *word == "auto"));
    let pods = ["0", "1", "2", "3"].map(|index| {
        let results = folder.path().join(index).display().to_string();
        let arguments = arguments.iter().enumerate().map(|(place, word)| match *word {
            "/results" => results.as_str(),
            // Here the first pod has no name that resolves.
            "auto" if Some(place) == auto => meet.as_str(),
            word => word,
        });
        Command::new(FLOWBENCH)
            .args(arguments)
            .current_dir(folder.path())
            .env("JOB_COMPLETION_INDEX", index)
            .env("FLOWBENCH_PARTS", &count)
            .env("FLOWBENCH_MEET_TOKEN", "0123456789abcdef")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built")
    });
    let [first, others @ ..] = pods.map(|pod| pod.wait_with_output().expect("it ends"));
    assert_eq!(first.status.code(), Some(3), "nothing is at that port: {}", text(&first.stderr));
    let whole: Value = serde_json::from_slice(&first.stdout).expect("the result of the whole");
    assert_eq!(whole["parts"].as_array().map(Vec::len), Some(4));
    assert_eq!(whole["scenarios"][0]["end"]["reason"], "unreachable");
    for (index, pod) in others.iter().enumerate() {
        let head = text(&pod.stdout).lines().next().expect("a journal");
        let head: Value = serde_json::from_str(head).expect("JSON");
        assert_eq!(head["summary"]["part"]["number"], index + 2);
    }

    let Some(python) = manifests() else { return };
    let checked = Command::new(python)
        .args(["-m", "kubernetes_validate", "--strict"])
        .arg(deploy.join("kubernetes.yaml"))
        .output()
        .expect("it is there");
    assert!(checked.status.success(), "{}{}", text(&checked.stdout), text(&checked.stderr));
}
