#!/usr/bin/env bash
# Launches a job for each combination of some keys' values, each with a separate workdir.
#
#   launch/sweep.sh [--dry-run] --launch='sbatch launch/slurm.sbatch' --workdir=DIR \
#       --sweep.KEY=VALUE,VALUE,… [--sweep.KEY=VALUE,… …] --config=FILE.py [ARGUMENT …]
#
# Each command starts with the words of --launch. When all jobs have ended, tfx_jax.main with
# --mode=sweep and the same --workdir, --config and --sweep.KEY compares their results. A tuple is
# written in brackets: --sweep.task.metrics=(bleu,chrf),(chrf).
set -euo pipefail

dry_run=false
launch="" workdir=""
keys=() lists=() arguments=()

fail() {
  echo "error: $1" >&2
  exit 2
}

for word in "$@"; do
  case $word in
    --dry-run) dry_run=true ;;
    --launch=*) launch=${word#*=} ;;
    --workdir=*) workdir=${word#*=} ;;
    --sweep.*=*)
      key=${word%%=*}
      keys+=("${key#--sweep.}")
      lists+=("${word#*=}")
      ;;
    *) arguments+=("$word") ;;
  esac
done
[[ $launch ]] || fail "--launch=COMMAND is missing"
[[ $workdir ]] || fail "--workdir=DIR is missing"
((${#keys[@]})) || fail "--sweep.KEY=VALUE,VALUE,… is missing"
read -ra begin <<<"$launch"

# Prints the values of a list, one per line; commas within brackets belong to a value.
values() {
  local list=$1 depth=0 value="" i letter
  for ((i = 0; i < ${#list}; i++)); do
    letter=${list:i:1}
    case $letter in
      "(" | "[") depth=$((depth + 1)) ;;
      ")" | "]") depth=$((depth - 1)) ;;
    esac
    if [[ $letter == , && $depth -eq 0 ]]; then
      printf '%s\n' "$value"
      value=""
    else
      value+=$letter
    fi
  done
  printf '%s\n' "$value"
}

# Launches all combinations of the keys from a number on; the other arguments are chosen settings.
combine() {
  local number=$1 value
  shift
  if ((number < ${#keys[@]})); then
    while IFS= read -r value; do
      combine $((number + 1)) "$@" "${keys[number]}=$value"
    done < <(values "${lists[number]}")
    return
  fi
  local folder
  folder=$(IFS=, && echo "$*")
  local command=("${begin[@]}" "${arguments[@]}" "--workdir=$workdir/$folder" "${@/#/--config.}")
  if $dry_run; then
    printf '%q ' "${command[@]}"
    printf '\n'
  else
    "${command[@]}"
  fi
}

combine 0
