#!/bin/bash
# A study on SLURM: one Ray over all nodes of a job.
#
#   sbatch deploy/slurm.sh --task imbalanced --preset paper --dataset cifar10 --model resnet32 --output /shared/runs/lt
#   sbatch deploy/slurm.sh --resume /shared/runs/lt        # after the time limit: nothing finished is done twice
#
# Everything after the script's name goes to study.tune. The project, its environment and --output must lie where every
# node sees them. Lines that begin with #SBATCH are yours to change.
#SBATCH --job-name=hem-study
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --signal=B:INT@120
set -euo pipefail

PROJECT=${HEM_STUDY_PROJECT:-$SLURM_SUBMIT_DIR}
BIN=${HEM_STUDY_BIN:-$PROJECT/.venv/bin}
GPUS_PER_TRIAL=${HEM_STUDY_GPUS_PER_TRIAL:-0.25}
PORT=$((20000 + SLURM_JOB_ID % 20000))
cd "$PROJECT"
export RAY_USAGE_STATS_ENABLED=${RAY_USAGE_STATS_ENABLED:-0}

# One token for this job's nodes; whoever has it may run code there, so no one else may read it.
umask 077
TOKEN_FILE=$(mktemp "$HOME/.hem-study-token.XXXXXX")
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$TOKEN_FILE"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$TOKEN_FILE

mapfile -t NODES < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
HEAD=${NODES[0]}
HEAD_IP=$(srun --nodes=1 --ntasks=1 -w "$HEAD" hostname -I | awk '{print $1}')
STARTED=()
clean() {
    for process in "${STARTED[@]}"; do kill "$process" 2> /dev/null || true; done
    rm -f "$TOKEN_FILE" "$TOKEN_FILE.py"
}
trap clean EXIT

start() {  # a node's Ray, until the job ends
    # Since version 22.05 srun does not take the job's --cpus-per-task: where tasks are bound, Ray would have one core.
    srun --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" --overlap -w "$1" \
        "$BIN/ray" start --block --disable-usage-stats \
        --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" "${@:2}" &
    STARTED+=($!)
}
start "$HEAD" --head --node-ip-address="$HEAD_IP" --port="$PORT" --dashboard-host=127.0.0.1
until "$BIN/ray" status --address="$HEAD_IP:$PORT" > /dev/null 2>&1; do
    kill -0 "${STARTED[0]}"  # ends the script if the head's Ray has ended
    sleep 2
done
for node in "${NODES[@]:1}"; do start "$node" --address="$HEAD_IP:$PORT"; done

# A study counts the cluster's places when a stage begins: all nodes have to be there.
cat > "$TOKEN_FILE.py" << 'END'
import sys
import ray
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
sys.exit(sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]))
END
until "$BIN/python" "$TOKEN_FILE.py" "$HEAD_IP:$PORT" "${#NODES[@]}"; do
    for process in "${STARTED[@]}"; do kill -0 "$process"; done
    sleep 5
done

# The signal that comes two minutes before the end goes to the study: it stops cleanly and says how to go on.
case " $* " in
    *" --gpus-per-"*) ;;
    *" --workers-per-trial"*) set -- --gpus-per-worker 1 "$@" ;;
    *) set -- --gpus-per-trial "$GPUS_PER_TRIAL" "$@" ;;
esac
"$BIN/python" -m study.tune --address "$HEAD_IP:$PORT" "$@" &
STUDY=$!
trap 'kill -TERM "$STUDY"' INT TERM
CODE=0
wait "$STUDY" || CODE=$?
if kill -0 "$STUDY" 2> /dev/null; then CODE=0; wait "$STUDY" || CODE=$?; fi
exit "$CODE"
