#!/usr/bin/env bash
# Cloud TPU VMs: creates them, runs on all workers, resumes after preemption, deletes them.
#
#   launch/tpu_vm.sh create|setup|run|watch|delete --name=NAME --zone=ZONE [OPTION …] [-- ARGUMENT …]
#
# watch creates the VM if it is missing and runs, repeatedly until the run has ended. Arguments
# after -- are those of tfx_jax.main; its --workdir must be on storage that outlives the VM and that
# all workers share, such as a file share that --setup mounts.
#
#   --accelerator=TYPE   v5litepod-16 …: gcloud compute tpus accelerator-types list --zone=ZONE
#   --runtime=VERSION    v2-alpha-tpuv5-lite …: gcloud compute tpus versions list --zone=ZONE
#   --project=PROJECT    by default that of gcloud's configuration
#   --spot               cheaper, but may be preempted at any time
#   --setup=FILE         script to run on every worker before the package is installed
#   --dry-run            print the commands only
set -euo pipefail

name="" zone="" accelerator="v5litepod-16" runtime="v2-alpha-tpuv5-lite" setup_file=""
dry_run=false
place=() extra=() arguments=()

fail() {
  echo "error: $1" >&2
  exit 2
}

command=${1:-}
case $command in
  create | setup | run | watch | delete) shift ;;
  *) fail "the first argument must be create, setup, run, watch or delete" ;;
esac
while (($#)); do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --accelerator=*) accelerator=${1#*=} ;;
    --runtime=*) runtime=${1#*=} ;;
    --project=*) place+=("$1") ;;
    --spot) extra+=("$1") ;;
    --setup=*) setup_file=${1#*=} ;;
    --dry-run) dry_run=true ;;
    --)
      shift
      arguments=("$@")
      break
      ;;
    *) fail "unknown option $1" ;;
  esac
  shift
done
[[ $name ]] || fail "--name=NAME is missing"
[[ $zone ]] || fail "--zone=ZONE is missing"
place+=("--zone=$zone")

execute() {
  if $dry_run; then
    printf '%q ' "$@"
    printf '\n'
  else
    "$@"
  fi
}

on_all_workers() {
  execute gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" --worker=all --command="$1"
}

create() {
  execute gcloud compute tpus queued-resources create "$name" --node-id="$name" "${place[@]}" \
    --accelerator-type="$accelerator" --runtime-version="$runtime" "${extra[@]}"
}

delete() {
  execute gcloud compute tpus queued-resources delete "$name" "${place[@]}" --force --quiet
}

state() {
  $dry_run && return
  gcloud compute tpus queued-resources describe "$name" "${place[@]}" \
    --format="value(state.state)" 2>/dev/null || echo MISSING
}

setup() {
  local root archive
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  archive=${TMPDIR:-/tmp}/$name.tar.gz
  execute git -C "$root" archive --format=tar.gz --output="$archive" HEAD
  execute gcloud compute tpus tpu-vm scp "$archive" "$name:tfx_jax.tar.gz" "${place[@]}" --worker=all
  if [[ $setup_file ]]; then
    execute gcloud compute tpus tpu-vm scp "$setup_file" "$name:setup.sh" "${place[@]}" --worker=all
    on_all_workers "bash setup.sh"
  fi
  on_all_workers "mkdir -p tfx_jax && tar -xzf tfx_jax.tar.gz -C tfx_jax && \
python3 -m venv venv && venv/bin/pip install -q -e './tfx_jax[tfds]' 'jax[tpu]'"
}

run() {
  local words
  words=$(printf '%q ' "${arguments[@]}")
  on_all_workers "cd tfx_jax && ../venv/bin/python -m tfx_jax.main --coordinator=auto $words"
}

watch() {
  if $dry_run; then
    create
    setup
    run
    echo "# when it has been preempted:"
    delete
    return
  fi
  local code ready=false
  while true; do
    case $(state) in
      ACTIVE)
        $ready || setup
        ready=true code=0
        run || code=$?
        # 2 is an error of the user; with any other code the VM may have been preempted.
        ((code == 0 || code == 2)) && return "$code"
        ;;
      MISSING) create ;;
      SUSPENDED | FAILED)
        delete
        ready=false
        ;;
      *) ready=false ;;
    esac
    sleep 60
  done
}

[[ ${#arguments[@]} -gt 0 || ! $command =~ ^(run|watch)$ ]] || fail "$command needs -- ARGUMENT …"
"$command"
