"""The files for clusters: read as those read them that they are for; neither was run on a cluster."""

import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import ray.autoscaler
import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"


def test_the_cluster_file_is_one_for_ray():
    cluster = yaml.safe_load((DEPLOY / "cluster.yaml").read_text())
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    assert cluster["head_node_type"] in cluster["available_node_types"]
    for name, node in cluster["available_node_types"].items():
        assert node["node_config"].get("ImageId"), (
            f"{name}: Ray's default image is Ubuntu 18.04, whose Python is too old"
        )
    gpu = cluster["available_node_types"]["gpu"]
    assert gpu["min_workers"] == gpu["max_workers"] == cluster["max_workers"], "a study asks for no machine"
    started = [line for part in ("head", "worker") for line in cluster[f"{part}_start_ray_commands"] if "start" in line]
    assert len(started) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in started)
    assert "--dashboard-host=127.0.0.1" in started[0]


def test_the_slurm_script_is_bash_with_a_token():
    script = DEPLOY / "slurm.sh"
    subprocess.run([shutil.which("bash"), "-n", str(script)], check=True)
    text = script.read_text()
    assert text.startswith("#!/bin/bash\n")
    assert "RAY_AUTH_MODE=token" in text
    assert "--dashboard-host=127.0.0.1" in text
    assert text.index("umask 077") < text.index("TOKEN_FILE=")


def test_the_slurm_script_starts_ray_on_every_node_and_hands_its_arguments_on(tmp_path):
    """With stand-ins for SLURM and Ray that write down how they were called."""
    called, commands = tmp_path / "called", tmp_path / "bin"
    commands.mkdir()
    called.touch()
    write = f'echo "$(basename "$0") $*" >> {called}'
    inside = f'echo "srun $*" >> {called}; '
    inside += 'while [[ "$1" == -* ]]; do [[ "$1" == -w ]] && shift; shift; done; exec "$@"'
    scripts = {
        "scontrol": "printf 'one\\ntwo\\n'",
        "srun": inside,
        "hostname": "echo 10.0.0.1",
        "ray": f'if [[ "$1" == status ]]; then grep -q -e --head {called}; else {write}; exec tail -f /dev/null; fi',
        "python": f'if [[ "$1" == *.py ]]; then [[ "$(grep -c "^ray" {called})" == "$3" ]]; else {write}; exit 3; fi',
    }
    for name, body in scripts.items():
        (commands / name).write_text(f"#!/bin/bash\n{body}\n")
        (commands / name).chmod(0o755)
    environment = {
        "PATH": f"{commands}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "HEM_STUDY_BIN": str(commands),
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "one,two",
        "SLURM_CPUS_PER_TASK": "32",
        "SLURM_GPUS_ON_NODE": "4",
    }
    arguments = ["--task", "imbalanced", "--output", "/shared/a run"]
    finished = subprocess.run(
        ["/bin/bash", str(DEPLOY / "slurm.sh"), *arguments], env=environment, capture_output=True, text=True, timeout=60
    )
    assert finished.returncode == 3, finished.stderr
    lines = called.read_text().splitlines()
    head = [line for line in lines if line.startswith("ray start --block") and "--head" in line]
    assert len(head) == 1
    assert sum(line.startswith("ray start --block --disable") and "--address=10.0.0.1" in line for line in lines) == 1
    steps = [line for line in lines if line.startswith("srun ") and "/ray start" in line]
    assert len(steps) == 2
    assert all("--cpus-per-task=32 " in line for line in steps), "srun takes none of the job's CPUs by itself"
    assert "--num-cpus=32 --num-gpus=4 --head --node-ip-address=10.0.0.1 --port=20007" in head[0]
    (study,) = [line for line in lines if line.startswith("python ")]
    assert study.endswith("--address 10.0.0.1:20007 --gpus-per-trial 0.25 --task imbalanced --output /shared/a run")
    assert not list(tmp_path.glob(".hem-study-token*")), "the token stays behind"
    for wide, more in ((["--workers-per-trial", "4"], "--gpus-per-worker 1 "), (["--gpus-per-trial", "1"], "")):
        called.write_text("")
        line = ["/bin/bash", str(DEPLOY / "slurm.sh"), *wide]
        subprocess.run(line, env=environment, capture_output=True, timeout=60, check=False)
        (study,) = [line for line in called.read_text().splitlines() if line.startswith("python ")]
        assert study.endswith(f"--address 10.0.0.1:20007 {more}{' '.join(wide)}")
