# Sourced by the steps of a grid, with two numbers: of GPUs to make visible to the step, among those that are visible, and
# of steps that may share one (1). They are held until the step ends, however it ends.

ikd_take_gpus() {
  local gpu gpus lock place taken=()
  (($1 > 0)) || {
    export CUDA_VISIBLE_DEVICES= # many steps at once would train on all that there are
    return 0
  }
  gpus=$(nvidia-smi ${CUDA_VISIBLE_DEVICES:+-i "$CUDA_VISIBLE_DEVICES"} --query-gpu=uuid --format=csv,noheader) || {
    echo "take_gpus.sh: error: nvidia-smi lists no GPUs (${gpus:-it says nothing}): give gpus=0 in --config" >&2
    return 1
  }
  for ((place = 1; place <= ${2:-1}; place++)); do # each has a step before one has two
    for gpu in $gpus; do
      exec {lock}>"/tmp/ikd-$(id -un)-$gpu.$place.lock"
      if ((${#taken[@]} < $1)) && flock --nonblock "$lock"; then
        taken+=("$gpu")
      else
        exec {lock}>&-
      fi
    done
  done
  ((${#taken[@]} == $1)) || {
    echo "take_gpus.sh: error: $1 GPUs are needed and ${#taken[@]} are free: give --resources gpu=N to snakemake" >&2
    return 1
  }
  # fairseq takes its port from the number of the job: the same for all steps that run within one.
  unset SLURM_JOB_ID
  export CUDA_VISIBLE_DEVICES=$(IFS=, && echo "${taken[*]}")
}

ikd_take_gpus "$@"
